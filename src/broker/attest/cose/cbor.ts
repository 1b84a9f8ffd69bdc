/**
 * CBOR of evidence (spec/attestation-nitro.md, "CBOR"): strict, bounded, and looked over before a decoder builds anything.
 *
 * `decodeCbor` gives plain values: maps as Map, byte strings as views or copies, a tag as Tagged. `CborMap` takes fields
 * out of a map with their kinds and bounds.
 */
import { decode, Tagged } from 'cborg';
import type { CaissonError } from '../../../lib/errors.ts';
import { cborDepthMax, cborItemsMax } from '../../../lib/limits.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';

export { Tagged };

const majorTypes = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const;
/** false, true, null. */
const simpleValues: readonly number[] = [20, 21, 22];

/** The one value that `bytes` are. `tags` may occur; `what` names the bytes in errors. */
export function decodeCbor(bytes: Uint8Array, what: string, tags: readonly number[] = []): unknown {
  checkShape(bytes, what, tags);
  try {
    return decode(bytes, {
      ...{ strict: true, useMaps: true, rejectDuplicateMapKeys: true },
      ...{ allowIndefinite: false, allowUndefined: false, allowInfinity: false, allowNaN: false },
      tags: Tagged.preserve(...tags),
    });
  } catch (cause) {
    throw invalid(what, 'it is not strict CBOR', cause);
  }
}

interface Level {
  /** Items that are still to come. */
  left: number;
  readonly isMap: boolean;
}

/** Walks over the heads of all items, without recursion and without building anything. */
function checkShape(bytes: Uint8Array, what: string, tags: readonly number[]): void {
  const levels: Level[] = [{ left: 1, isMap: false }];
  let at = 0;
  let items = 0;
  while (levels.length > 0) {
    const level = levels[levels.length - 1]!;
    if (level.left === 0) {
      levels.pop();
      continue;
    }
    items += 1;
    if (items > cborItemsMax) throw invalid(what, `it has more than ${cborItemsMax} items`);
    const isKey = level.isMap && level.left % 2 === 0;
    level.left -= 1;
    const head = readHead(bytes, at, what);
    at = head.end;
    if (
      isKey &&
      head.major !== majorTypes.unsigned &&
      head.major !== majorTypes.negative &&
      head.major !== majorTypes.text
    )
      throw invalid(what, 'a key of a map is neither integer nor text');
    switch (head.major) {
      case majorTypes.bytes:
      case majorTypes.text:
        if (head.value > bytes.length - at) throw invalid(what, 'it is cut off');
        if (head.major === majorTypes.text) checkText(bytes.subarray(at, at + head.value), what);
        at += head.value;
        break;
      case majorTypes.array:
      case majorTypes.map:
      case majorTypes.tag:
        if (head.major === majorTypes.tag && !tags.includes(head.value))
          throw invalid(what, `there is a tag ${head.value}`);
        if (levels.length > cborDepthMax) throw invalid(what, `it has more than ${cborDepthMax} levels`);
        levels.push({
          left: head.major === majorTypes.tag ? 1 : head.major === majorTypes.map ? head.value * 2 : head.value,
          isMap: head.major === majorTypes.map,
        });
        break;
      case majorTypes.simple:
        if (head.width !== 0 || !simpleValues.includes(head.value))
          throw invalid(what, 'there is a number or value of a kind that evidence does not have');
        break;
    }
  }
  if (at !== bytes.length) throw invalid(what, `${bytes.length - at} bytes follow the end`);
}

interface Head {
  readonly major: number;
  /** Bytes that the argument takes beside the first. */
  readonly width: number;
  readonly value: number;
  readonly end: number;
}

function readHead(bytes: Uint8Array, at: number, what: string): Head {
  const first = bytes[at];
  if (first === undefined) throw invalid(what, 'it is cut off');
  const major = first >> 5;
  const small = first & 0x1f;
  if (small < 24) return { major, width: 0, value: small, end: at + 1 };
  if (small > 27) throw invalid(what, 'a length is not definite');
  const width = 1 << (small - 24);
  const end = at + 1 + width;
  if (end > bytes.length) throw invalid(what, 'it is cut off');
  const value = bytes.subarray(at + 1, end).reduce((sum, byte) => sum * 256 + byte, 0);
  const isShortest = width === 1 ? value >= 24 : value >= 256 ** (width / 2);
  if (!isShortest && major !== majorTypes.simple) throw invalid(what, 'a number is longer than it needs to be');
  if (value > Number.MAX_SAFE_INTEGER) throw invalid(what, 'a number exceeds 2^53');
  return { major, width, value, end };
}

function checkText(bytes: Uint8Array, what: string): void {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalid(what, 'a text is not UTF-8', cause);
  }
}

function invalid(what: string, message: string, cause?: unknown): CaissonError {
  return evidenceInvalid(`${what}: ${message}`, { check: 'cbor' }, cause);
}

/** Fields of a map, each of the kind and within the bounds that its taker names. Refusals are `evidence-invalid` with `check`. */
export class CborMap {
  readonly #fields: ReadonlyMap<unknown, unknown>;
  readonly #what: string;
  readonly #check: string;

  constructor(value: unknown, what: string, check: string) {
    this.#what = what;
    this.#check = check;
    if (!(value instanceof Map)) throw this.invalid('it is no map');
    this.#fields = value;
  }

  has(key: number | string): boolean {
    return this.#fields.has(key);
  }

  keys(): readonly unknown[] {
    return [...this.#fields.keys()];
  }

  bytes(key: number | string, bytesMin: number, bytesMax: number): Uint8Array {
    return this.#sized(key, this.#fields.get(key), bytesMin, bytesMax);
  }

  /** Undefined where the field is null, empty or not there. */
  optionalBytes(key: number | string, bytesMax: number): Uint8Array | undefined {
    const value = this.#fields.get(key);
    if (value === undefined || value === null) return undefined;
    const bytes = this.#sized(key, value, 0, bytesMax);
    return bytes.length === 0 ? undefined : bytes;
  }

  bytesList(key: number | string, countMin: number, countMax: number, bytesMax: number): readonly Uint8Array[] {
    return this.list(key, countMin, countMax).map((item) => this.#sized(key, item, 1, bytesMax));
  }

  list(key: number | string, countMin: number, countMax: number): readonly unknown[] {
    const value = this.#fields.get(key);
    if (Array.isArray(value) && value.length >= countMin && value.length <= countMax) return value;
    throw this.invalid(`the field ${key} is no list of ${countMin} to ${countMax}`);
  }

  text(key: number | string, charactersMax: number): string {
    const value = this.#fields.get(key);
    if (typeof value === 'string' && value.length > 0 && value.length <= charactersMax) return value;
    throw this.invalid(`the field ${key} is no text of 1 to ${charactersMax} characters`);
  }

  /** A whole number from 0 on. */
  number(key: number | string, max: number): number {
    const value = this.#fields.get(key);
    if (typeof value === 'number' && value >= 0 && value <= max) return value;
    throw this.invalid(`the field ${key} is no number from 0 to ${max}`);
  }

  map(key: number | string): CborMap {
    return new CborMap(this.#fields.get(key), `${this.#what}, ${key}`, this.#check);
  }

  invalid(message: string): CaissonError {
    return evidenceInvalid(`${this.#what}: ${message}`, { check: this.#check });
  }

  #sized(key: number | string, value: unknown, bytesMin: number, bytesMax: number): Uint8Array {
    if (value instanceof Uint8Array && value.length >= bytesMin && value.length <= bytesMax) return value;
    throw this.invalid(`the field ${key} is not of ${bytesMin} to ${bytesMax} bytes`);
  }
}
