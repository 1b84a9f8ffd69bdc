/** Bounds of a capability as options: sizes, rights, moments. What may be granted is for whoever signs. */
import { resolve } from 'node:path';
import type { CapabilityAnswer, CapabilityBounds, CapabilitySnapshot, Showing } from '../admin/capability-tools.ts';
import { CaissonError } from '../lib/errors.ts';
import { formatBytes, parseBytes } from '../lib/sizes.ts';
import type { CommandOptions } from './command.ts';
import { textOption } from './keys.ts';
import { printable, table } from './output.ts';

export const capabilityRightNames = ['read', 'write', 'trim', 'snapshot', 'resize', 'export', 'delegate'] as const;
export type CapabilityRightName = (typeof capabilityRightNames)[number];

interface GivenBounds extends CapabilityBounds {
  readonly rights?: CapabilityRightName[];
}

const millisecondsOf: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export function boundsOf(options: CommandOptions, now: number): GivenBounds {
  const base = textOption(options, 'base');
  const length = textOption(options, 'length');
  const rights = textOption(options, 'rights');
  const notBefore = textOption(options, 'notBefore');
  const expires = textOption(options, 'expires');
  const snapshot = textOption(options, 'ofSnapshot');
  return {
    ...(base === undefined ? {} : { base: parseBytes(base) }),
    ...(length === undefined ? {} : { length: lengthOf(length) }),
    ...(rights === undefined ? {} : { rights: rightsOf(rights) }),
    ...(notBefore === undefined ? {} : { notBefore: momentOf(notBefore, '--not-before', now) }),
    ...(snapshot === undefined ? {} : { snapshot: snapshotIdOf(snapshot) }),
    ...(expires === undefined ? {} : { expiresAt: momentOf(expires, '--expires', now) }),
  };
}

/** A name could lead to another snapshot tomorrow. */
function snapshotIdOf(text: string): string {
  if (/^[0-9a-f]{32}$/.test(text)) return text;
  throw argumentInvalid(
    `--of-snapshot: ${JSON.stringify(text.substring(0, 40))} is no id of a snapshot`,
    'Give the id of 32 hexadecimal digits that "caisson snapshot ls" shows.',
  );
}

/** What is shown, by whom, and where. */
export function showingOf(file: string, options: CommandOptions): Showing {
  return {
    file: resolve(file),
    holderKeyFile: resolve(textOption(options, 'holderKey') ?? ''),
    socket: resolve(textOption(options, 'socket') ?? ''),
  };
}

/** In the bytes of a token no length means all of the rest, which nobody means by 0. */
function lengthOf(text: string): number {
  const length = parseBytes(text);
  if (length > 0) return length;
  throw argumentInvalid('--length 0 is no part', 'Leave --length out for all that follows.');
}

function rightsOf(text: string): CapabilityRightName[] {
  const words = text.split(',').map((word) => word.trim());
  return words.map((word) => {
    const right = capabilityRightNames.find((known) => known === word);
    if (right !== undefined) return right;
    throw argumentInvalid(
      `--rights: ${JSON.stringify(word.substring(0, 40))} is no right`,
      `Give some of ${capabilityRightNames.join(',')}.`,
    );
  });
}

/** `90m`, `12h`, `7d` from now, or a date with or without a time; without a zone it is UTC. */
function momentOf(text: string, option: string, now: number): number {
  const span = /^(\d{1,6})([smhd])$/.exec(text);
  if (span !== null) return now + Number(span[1]) * (millisecondsOf[span[2] ?? ''] ?? 0);
  const date = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?)?$/.exec(text);
  const moment =
    date === null ? Number.NaN : Date.parse(date[1] !== undefined && date[4] === undefined ? `${text}Z` : text);
  if (moment >= 0) return moment;
  throw argumentInvalid(
    `${option} ${JSON.stringify(text.substring(0, 40))} is no moment`,
    'Write 90m, 12h or 7d from now, or a date such as 2027-01-31 or 2027-01-31T08:00:00Z.',
  );
}

export function snapshotLine({ name, time, manifestNumber, id }: CapabilitySnapshot): readonly string[] {
  return [printable(name), dateOf(time), String(manifestNumber), id];
}

export function capabilityText({ id, volumeId, epoch, grants }: CapabilityAnswer, now: number): string {
  const rows = grants.map(({ base, length, rights, notBefore, expiresAt, holder, snapshot }, index) => [
    String(index),
    `${formatBytes(base)} - ${length === null ? 'end' : formatBytes(base + length)}${snapshot === null ? '' : ` of ${snapshot}`}`,
    rights.join(','),
    notBefore === 0 ? '-' : dateOf(notBefore),
    `${dateOf(expiresAt)}${expiresAt <= now ? ' (expired)' : ''}`,
    holder,
  ]);
  return [
    `volume  ${volumeId}, capability epoch ${epoch}`,
    `token   ${id}`,
    table([['block', 'part', 'rights', 'from', 'until', 'holder'], ...rows]),
  ].join('\n');
}

function dateOf(milliseconds: number): string {
  return milliseconds <= 8.64e15 ? new Date(milliseconds).toISOString() : String(milliseconds);
}

function argumentInvalid(message: string, remedy: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', message, { remedy });
}
