/** Values of claims in policies: read by kind, compared, and shown (spec/policy.md, section 3). */
import { toHex } from '../../lib/hex.ts';
import { policyValueCharactersMax } from '../../lib/limits.ts';
import type { ClaimDefinition, ClaimValue } from '../attest/verifier.ts';
import type { ScalarTree } from './document.ts';
import { shown } from './document.ts';

/** A value of a rule: of a date it is milliseconds since 1970, of a list one item. */
export type RuleValue = Uint8Array | number | boolean | string;
export type RuleKind = ClaimDefinition['kind'];

/** What a scalar says, read as a claim of `kind`; a text where it says none. */
export function readValue(
  scalar: ScalarTree,
  kind: RuleKind,
  bytes: number | undefined,
): RuleValue | { problem: string } {
  const { text } = scalar;
  switch (kind) {
    case 'bytes':
      return readBytes(text, bytes);
    case 'number':
      return (scalar.isPlain ? readNumber(text) : undefined) ?? { problem: `${quoted(text)} is not a whole number` };
    case 'boolean':
      if (scalar.isPlain && (text === 'true' || text === 'false')) return text === 'true';
      return { problem: `${quoted(text)} is neither true nor false` };
    case 'date':
      return readDate(text) ?? { problem: `${quoted(text)} is no date such as 2026-11-23 or 2026-11-23T12:00:00Z` };
    case 'text':
    case 'list':
      if (text !== '' && text.length <= policyValueCharactersMax) return text;
      return { problem: `a text has 1 to ${policyValueCharactersMax} characters` };
  }
}

export function isProblem(value: RuleValue | { problem: string }): value is { problem: string } {
  return typeof value === 'object' && !(value instanceof Uint8Array);
}

function readBytes(text: string, length: number | undefined): Uint8Array | { problem: string } {
  const wanted = length === undefined ? '' : `${length} bytes, so `;
  if (!/^([0-9a-f]{2})+$/i.test(text))
    return { problem: `${quoted(text)} is not hexadecimal (pairs of digits, no 0x)` };
  if (length !== undefined && text.length !== 2 * length)
    return { problem: `the claim has ${wanted}${2 * length} hexadecimal digits; these are ${text.length}` };
  return Uint8Array.from({ length: text.length / 2 }, (_, at) =>
    Number.parseInt(text.substring(2 * at, 2 * at + 2), 16),
  );
}

function readNumber(text: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15}|0x[0-9a-f]{1,14})$/i.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

const datePattern = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d(\.\d{1,3})?Z)?$/;

/** Milliseconds since 1970; undefined for anything that is no day of the calendar. */
export function readDate(text: string): number | undefined {
  const day = datePattern.exec(text)?.[1];
  if (day === undefined) return undefined;
  const value = Date.parse(text.includes('T') ? text : `${text}T00:00:00Z`);
  return Number.isNaN(value) || !new Date(value).toISOString().startsWith(day) ? undefined : value;
}

const unitMilliseconds = { s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds of a duration such as `90min`. */
export function readDuration(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,8})(s|min|h|d)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * unitMilliseconds[match[2] as keyof typeof unitMilliseconds];
}

export function durationText(milliseconds: number): string {
  const unit = (['d', 'h', 'min', 's'] as const).find((name) => milliseconds % unitMilliseconds[name] === 0) ?? 's';
  return `${Math.round(milliseconds / unitMilliseconds[unit])}${unit}`;
}

export function dateText(milliseconds: number): string {
  const whole = Number.isFinite(milliseconds) && Math.abs(milliseconds) <= 8.64e15;
  return whole ? new Date(milliseconds).toISOString().replace('.000Z', 'Z') : 'no date';
}

/** Of kinds whose values are compared for being the same. */
export function isSame(left: ClaimValue, right: RuleValue): boolean {
  if (left instanceof Uint8Array)
    return right instanceof Uint8Array && left.length === right.length && left.every((byte, at) => byte === right[at]);
  return left === right;
}

/** claim AND mask = wanted. A claim of another kind or length than the mask never matches. */
export function matchesBits(claim: ClaimValue, mask: RuleValue, wanted: RuleValue): boolean {
  if (claim instanceof Uint8Array) {
    if (!(mask instanceof Uint8Array && wanted instanceof Uint8Array)) return false;
    return claim.length === mask.length && claim.every((byte, at) => (byte & (mask[at] ?? 0)) === wanted[at]);
  }
  if (typeof claim !== 'number' || !Number.isSafeInteger(claim) || claim < 0) return false;
  if (typeof mask !== 'number' || typeof wanted !== 'number') return false;
  return (BigInt(claim) & BigInt(mask)) === BigInt(wanted);
}

export function ruleValueText(value: RuleValue, kind: RuleKind): string {
  if (value instanceof Uint8Array) return toHex(value);
  return kind === 'date' && typeof value === 'number' ? dateText(value) : String(value);
}

export function claimText(value: ClaimValue): string {
  if (value instanceof Uint8Array) return toHex(value);
  if (typeof value === 'object') return value.length === 0 ? '(none)' : value.map(shown).join(', ');
  return typeof value === 'string' ? shown(value) : String(value);
}

function quoted(text: string): string {
  return `"${shown(text)}"`;
}
