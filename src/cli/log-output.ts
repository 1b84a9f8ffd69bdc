/** What the commands `caisson log …` share: their options read, their lines and times as text. */
import { resolve } from 'node:path';
import type { LogCopy, LogReport, LogShownEntry } from '../admin/broker-tools.ts';
import { CaissonError } from '../lib/errors.ts';
import type { CommandOptions } from './command.ts';

export function copyOf(file: string, options: CommandOptions): LogCopy {
  return { file: resolve(file), key: keyOf(options), since: pathOf(options['since']) };
}

/** Digits stay as they are; anything else is a path. */
export function keyOf(options: CommandOptions): string | undefined {
  const text = options['key'] as string | undefined;
  return text === undefined || /^[0-9a-f]{64}$/i.test(text) ? text : resolve(text);
}

export function pathOf(value: unknown): string | undefined {
  return typeof value === 'string' ? resolve(value) : undefined;
}

export function countOf(text: string, what: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new CaissonError('invalid', 'argument-invalid', `${what} is a whole number, not ${JSON.stringify(text)}`, {
    remedy: 'Lines are counted from 0.',
  });
}

export function timeText(milliseconds: number): string {
  // Beyond what a date can be, the number itself is the better text.
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? String(milliseconds) : date.toISOString();
}

export function entryText({ index, at, kind, tenant, facts }: LogShownEntry): string {
  const parts = Object.entries(facts).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  // Whoever wrote the copy may have put line feeds into names.
  const who = tenant === '' ? '-' : /^[\w.-]+$/.test(tenant) ? tenant : JSON.stringify(tenant);
  return [index, timeText(at), who, kind, ...parts].join('  ');
}

/** What was proved, and by what it was not. */
export function verdictText({ log, key, isKeyGiven, isContinuation, size, root, time }: LogReport): string {
  return [
    `log      ${log}`,
    `key      ${key}${isKeyGiven ? '' : '   (from the copy itself: compare it with what the broker told you)'}`,
    `lines    ${size}`,
    `root     ${root}`,
    `signed   ${timeText(time)}`,
    isContinuation ? 'continues the earlier head' : 'earlier head: none given; what was dropped before is not seen',
  ].join('\n');
}
