/**
 * What a command says: its result on stdout, everything else on stderr. With `-o json` the result
 * is one line of JSON with stable fields, an error is one line on stderr, and nothing else is said.
 *
 * Invariant: text that came from a store or a daemon is stripped of control characters before a
 * terminal sees it.
 */
import { writeSync } from 'node:fs';
import { errorToBody, toCaissonError } from '../admin/error-body.ts';
import { formatBytes } from '../lib/sizes.ts';
import { exitCodeOf } from './exit-code.ts';

export type OutputFormat = 'text' | 'json';

export interface Progress {
  update(done: number, total: number, unit: string): void;
  stop(): void;
}

export class Output {
  readonly format: OutputFormat;
  readonly isDebug: boolean;

  constructor(format: OutputFormat, isDebug: boolean) {
    this.format = format;
    this.isDebug = isDebug;
  }

  result(value: unknown, text: () => string): void {
    write(1, this.format === 'json' ? JSON.stringify(value) : text());
  }

  /** A result where standard output carries data. */
  beside(value: unknown, text: () => string): void {
    write(2, this.format === 'json' ? JSON.stringify(value) : text());
  }

  /** A script or a metrics page: the same in either format. */
  verbatim(text: string): void {
    write(1, text.replace(/\n$/, ''));
  }

  /** For people; silent with `-o json`. */
  note(text: string): void {
    if (this.format === 'text') write(2, text);
  }

  /** Says what went wrong and gives the exit code. */
  failure(thrown: unknown): number {
    const error = toCaissonError(thrown);
    if (this.format === 'json') {
      write(2, JSON.stringify(errorToBody(error)));
    } else {
      const remedy = error.remedy === undefined ? '' : `\n  what to do: ${printable(error.remedy)}`;
      write(2, `caisson: ${printable(error.message)}${remedy}`);
    }
    if (this.isDebug) write(2, stackOf(error));
    return exitCodeOf(error);
  }

  /** A bar on a terminal, now and then a line elsewhere, nothing with `-o json`. */
  async progress(title: string): Promise<Progress> {
    if (this.format === 'json') return silentProgress;
    if (process.stderr.isTTY) return barProgress(title);
    return lineProgress(title, (line) => write(2, line));
  }
}

const silentProgress: Progress = { update: () => undefined, stop: () => undefined };

/**
 * Drawn here, in place: @clack/prompts takes Ctrl-C away from the program and ends it with success, so
 * nothing would be cleaned up.
 */
function barProgress(title: string): Progress {
  const width = 24;
  let shown = '';
  return {
    update: (done, total, unit) => {
      const share = total === 0 ? 1 : Math.min(1, done / total);
      const bar = '━'.repeat(Math.round(share * width)).padEnd(width, '─');
      const known = `${bar} ${Math.floor(share * 100)} %, ${amountOf(done, total, unit)}`;
      // Of a pipe nobody knows the end.
      const line = `${title} ${total === 0 ? amount(done, unit) : known}`;
      if (line === shown) return;
      shown = line;
      process.stderr.write(`\r${line}\x1b[K`);
    },
    stop: () => {
      if (shown !== '') process.stderr.write('\r\x1b[K');
      shown = '';
    },
  };
}

function amount(count: number, unit: string): string {
  return unit === 'bytes' ? formatBytes(count) : `${count} ${unit}`;
}

/** `1 GiB of 2 GiB`, `1 GiB of 2 GiB checked`, `3 objects of 4 objects`. */
function amountOf(done: number, total: number, unit: string): string {
  if (unit === 'bytes checked') return `${formatBytes(done)} of ${formatBytes(total)} checked`;
  return `${amount(done, unit)} of ${amount(total, unit)}`;
}

const lineBytesOfUnknown = 2 ** 30;

/** One line for every tenth of the work; where nobody knows its end, for every GiB. */
function lineProgress(title: string, say: (line: string) => void): Progress {
  let shown = 0;
  let shownUnit = '';
  return {
    update: (done, total, unit) => {
      if (unit !== shownUnit) shown = 0;
      shownUnit = unit;
      const step = total === 0 ? Math.floor(done / lineBytesOfUnknown) : Math.floor((done / total) * 10);
      if (step <= shown) return;
      shown = step;
      say(`${title}: ${total === 0 ? amount(done, unit) : amountOf(done, total, unit)}`);
    },
    stop: () => undefined,
  };
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '),
    )
    .join('\n');
}

export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '?');
}

/** Synchronous: process.exit must not cut the last line, and a closed pipe must not be an error of ours. */
function write(descriptor: 1 | 2, text: string): void {
  let rest = Buffer.from(`${text}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      if (code === 'EAGAIN') continue;
      if (code === 'EPIPE') return;
      throw error;
    }
  }
}

function stackOf(error: Error): string {
  const own = error.stack ?? String(error);
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}
