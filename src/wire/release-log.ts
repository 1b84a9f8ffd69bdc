/**
 * Entries and heads of the release log. Spec: spec/release-log.md. Pure: values in, bytes out, and back.
 *
 * Invariants:
 * - One encoding of each entry and each head: what is not the canonical form of what it says is refused.
 * - A head names its log, so that a signature of one log is worth nothing in another.
 */
import canonicalize from 'canonicalize';
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { logLineBytesMax } from '../lib/limits.ts';
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { publicKeyBytes, signatureBytes, verifySignature } from '../crypto/signature.ts';
import type { SigningKey } from '../crypto/signature.ts';
import { treeHashBytes } from './merkle.ts';

export type LogFact = string | number | boolean | readonly string[];

/** One line of the release log; its leaf is its canonical JSON. */
export interface LogEntry {
  readonly kind:
    | 'release'
    | 'refusal'
    | 'anchor-advance'
    | 'anchor-forget'
    | 'key-create'
    | 'key-erase'
    | 'policy-change'
    | 'reference-change'
    | 'tenant-change'
    | 'admin-change'
    | 'capability-change'
    | 'session'
    | 'restore';
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly tenant: string;
  /** Facts for auditors, no secrets: ids, digests, rules that failed. */
  readonly facts: Readonly<Record<string, LogFact>>;
}

/** An entry as a reader finds it: kinds that are newer than this code are read, too. */
export interface LoggedEntry extends Omit<LogEntry, 'kind'> {
  readonly kind: string;
  readonly index: number;
}

export interface TreeHead {
  readonly logId: Uint8Array; // 32 bytes
  readonly size: number;
  readonly root: Uint8Array; // 32 bytes
  /** Milliseconds since 1970, for people: no check rests on it. */
  readonly time: number;
}

export interface SignedHead extends TreeHead {
  readonly signature: Uint8Array; // 64 bytes
}

export const logIdBytes = 32;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const idPrefix = encoder.encode('caisson log id v1\0');
const headPrefix = encoder.encode('caisson log head v1\0');
const factName = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;
const kindName = /^[a-z-]{1,64}$/;

export function logIdOf(publicKey: Uint8Array): Uint8Array {
  return sha256(idPrefix, publicKey);
}

/** The leaf of an entry at its place. Text that is not well-formed Unicode is made so: it may come from whoever asked. */
export function encodeLeaf(entry: LogEntry, index: number): Uint8Array {
  const facts: Record<string, LogFact> = {};
  for (const [name, value] of Object.entries(entry.facts)) {
    if (!factName.test(name) || !isFact(value)) throw notAnEntry(`the fact ${JSON.stringify(name.substring(0, 80))}`);
    facts[name] = wellFormed(value);
  }
  if (!kindName.test(entry.kind)) throw notAnEntry('its kind');
  if (!isCount(entry.at)) throw notAnEntry('its time');
  const { at, kind } = entry;
  const leaf = encodeCanonical({ at, facts, index, kind, tenant: entry.tenant.toWellFormed() });
  if (leaf.length > logLineBytesMax) {
    throw new CaissonError('invalid', 'limit-exceeded', `an entry of the log has at most ${logLineBytesMax} bytes`, {
      remedy: 'Name less in one entry, such as fewer reasons in one refusal.',
      details: { bytes: leaf.length, bytesMax: logLineBytesMax },
    });
  }
  return leaf;
}

/** Throws `format-invalid` for what is not the one encoding of an entry. */
export function decodeLeaf(bytes: Uint8Array): LoggedEntry {
  return readEntry(decodeCanonical(bytes));
}

export function readEntry(value: unknown): LoggedEntry {
  const { at, facts, index, kind, tenant } = members(value, ['at', 'facts', 'index', 'kind', 'tenant'], 'an entry');
  if (!isCount(at) || !isCount(index)) throw invalid('the time or the place of an entry is not a count');
  if (typeof kind !== 'string' || !kindName.test(kind)) throw invalid('the kind of an entry is not one');
  if (typeof tenant !== 'string') throw invalid('the tenant of an entry is not text');
  if (!isObject(facts)) throw invalid('the facts of an entry are not an object');
  for (const [name, fact] of Object.entries(facts)) {
    if (!factName.test(name) || !isFact(fact)) throw invalid('an entry has a fact that no entry can have');
  }
  return { at, facts: facts as LoggedEntry['facts'], index, kind, tenant };
}

export function signHead(key: SigningKey, size: number, root: Uint8Array, time: number): SignedHead {
  const head: TreeHead = { logId: logIdOf(key.publicKey), size, root, time };
  return { ...head, signature: key.sign(headMessage(head)) };
}

/** Whether the holder of `publicKey` signed this head, for the log of that key. */
export function isHeadSignedBy(publicKey: Uint8Array, head: SignedHead): boolean {
  return (
    publicKey.length === publicKeyBytes &&
    equalBytes(head.logId, logIdOf(publicKey)) &&
    verifySignature(publicKey, headMessage(head), head.signature)
  );
}

/** One line of canonical JSON, without the line feed. */
export function encodeHead(head: SignedHead): Uint8Array {
  return encodeCanonical(headToJson(head));
}

/** Throws `format-invalid`. The signature is not looked at. */
export function decodeHead(bytes: Uint8Array): SignedHead {
  return readHead(decodeCanonical(bytes));
}

export function headToJson({ logId, root, signature, size, time }: SignedHead): Readonly<Record<string, unknown>> {
  return { log: toHex(logId), root: toHex(root), signature: toHex(signature), size, time };
}

export function readHead(value: unknown): SignedHead {
  const { log, root, signature, size, time } = members(value, ['log', 'root', 'signature', 'size', 'time'], 'a head');
  if (!isCount(size) || !isCount(time)) throw invalid('the size or the time of a head is not a count');
  return {
    logId: readBytes(log, logIdBytes, 'the log id'),
    root: readBytes(root, treeHashBytes, 'the root'),
    signature: readBytes(signature, signatureBytes, 'the signature'),
    size,
    time,
  };
}

export function encodeCanonical(value: unknown): Uint8Array {
  const text = canonicalize(value);
  if (text === undefined) throw invalid('there is nothing to encode');
  return encoder.encode(text);
}

/** The value of canonical JSON; throws `format-invalid` for any other bytes. The caller bounds their length. */
export function decodeCanonical(bytes: Uint8Array): unknown {
  let value: unknown;
  let text: string;
  let again: string | undefined;
  try {
    text = decoder.decode(bytes);
    value = JSON.parse(text);
    again = canonicalize(value);
  } catch (error) {
    throw invalid('it is not JSON', error);
  }
  if (again !== text) throw invalid('it is not in canonical form');
  return value;
}

/** Exactly these members, no more and no less. */
export function members<Name extends string>(
  value: unknown,
  names: readonly Name[],
  what: string,
): Readonly<Record<Name, unknown>> {
  if (!isObject(value)) throw invalid(`${what} is not an object`);
  const found = Object.keys(value);
  if (found.length !== names.length || !names.every((name) => Object.hasOwn(value, name)))
    throw invalid(`${what} has other members than ${names.join(', ')}`);
  return value;
}

export function readBytes(value: unknown, length: number, what: string): Uint8Array {
  const bytes = typeof value === 'string' && value === value.toLowerCase() ? fromHex(value, length) : undefined;
  if (bytes === undefined) throw invalid(`${what} is not ${length} bytes in hexadecimal`);
  return bytes;
}

export function invalid(reason: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'format-invalid', `this is not part of a release log: ${reason}`, {
    remedy: 'Download the log again; if it is still so, whoever serves it changed it.',
    ...(cause === undefined ? {} : { cause }),
  });
}

function headMessage({ logId, size, root, time }: TreeHead): Uint8Array {
  return new ByteWriter()
    .bytes(headPrefix)
    .bytes(logId, logIdBytes)
    .u64(size)
    .bytes(root, treeHashBytes)
    .u64(time)
    .finish();
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isFact(value: unknown): value is LogFact {
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string');
  return (
    typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))
  );
}

function wellFormed(value: LogFact): LogFact {
  if (typeof value === 'string') return value.toWellFormed();
  return Array.isArray(value) ? value.map((item: string) => item.toWellFormed()) : value;
}

function notAnEntry(what: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `${what} cannot be part of an entry of the log`);
}
