/**
 * TTLV, the encoding of KMIP (KMIP 1.2, section 9.1): tag (3 bytes), type (1), length (4), value, zeros up to a multiple of
 * eight; big-endian. Pure. Answers are read strictly: known types of the right length, zero padding, UTF-8, bounded
 * depth and count, nothing behind the end. What decodes encodes to the same bytes.
 */
import { CaissonError } from '../lib/errors.ts';
import { ttlvDepthMax, ttlvItemsMax } from '../lib/limits.ts';

export type TtlvItem =
  | { readonly tag: number; readonly type: 'structure'; readonly value: readonly TtlvItem[] }
  | { readonly tag: number; readonly type: 'integer' | 'enumeration' | 'interval'; readonly value: number }
  | { readonly tag: number; readonly type: 'long' | 'date'; readonly value: bigint }
  | { readonly tag: number; readonly type: 'boolean'; readonly value: boolean }
  | { readonly tag: number; readonly type: 'text'; readonly value: string }
  | { readonly tag: number; readonly type: 'bytes' | 'big'; readonly value: Uint8Array };

type TtlvType = TtlvItem['type'];

export const ttlvHeadBytes = 8;
const padTo = 8;
const typeCodes: Readonly<Record<TtlvType, number>> = {
  structure: 1,
  integer: 2,
  long: 3,
  big: 4,
  enumeration: 5,
  boolean: 6,
  text: 7,
  bytes: 8,
  date: 9,
  interval: 10,
};

export function encodeTtlv(item: TtlvItem): Uint8Array {
  const value = encodeValue(item);
  const encoded = new Uint8Array(ttlvHeadBytes + padded(value.length));
  const view = new DataView(encoded.buffer);
  view.setUint32(0, item.tag * 0x100 + typeCodes[item.type]);
  view.setUint32(4, value.length);
  encoded.set(value, ttlvHeadBytes);
  return encoded;
}

/** Exactly one item. Byte strings are copies. */
export function decodeTtlv(encoded: Uint8Array): TtlvItem {
  const budget = { items: ttlvItemsMax };
  const { item, end } = decodeItem(encoded, 0, ttlvDepthMax, budget);
  if (end !== encoded.length) throw invalid('has bytes behind its end');
  return item;
}

/** How many bytes follow a head of `ttlvHeadBytes`. */
export function ttlvLengthOf(head: Uint8Array): number {
  return padded(viewOf(head).getUint32(4));
}

function encodeValue(item: TtlvItem): Uint8Array {
  switch (item.type) {
    case 'structure':
      return Buffer.concat(item.value.map(encodeTtlv));
    case 'integer':
      return number32((view) => view.setInt32(0, item.value));
    case 'enumeration':
    case 'interval':
      return number32((view) => view.setUint32(0, item.value));
    case 'long':
    case 'date':
      return number64(item.value);
    case 'boolean':
      return number64(item.value ? 1n : 0n);
    case 'text':
      return new TextEncoder().encode(item.value);
    case 'bytes':
    case 'big':
      return item.value;
  }
}

function decodeItem(
  encoded: Uint8Array,
  start: number,
  depth: number,
  budget: { items: number },
): { readonly item: TtlvItem; readonly end: number } {
  if (depth === 0) throw invalid('nests too deeply');
  if (budget.items-- === 0) throw invalid('has too many items');
  if (encoded.length - start < ttlvHeadBytes) throw invalid('ends within a head');
  const view = viewOf(encoded);
  const word = view.getUint32(start);
  const length = view.getUint32(start + 4);
  const from = start + ttlvHeadBytes;
  if (length > encoded.length - from) throw invalid('ends within a value');
  const end = from + padded(length);
  if (end > encoded.length) throw invalid('ends within padding');
  for (let at = from + length; at < end; at++) if (encoded[at] !== 0) throw invalid('is padded with more than zeros');
  const tag = Math.floor(word / 0x100);
  const type = typeOf(word & 0xff);
  return { item: decodeValue(tag, type, encoded.subarray(from, from + length), depth, budget), end };
}

function decodeValue(
  tag: number,
  type: TtlvType,
  value: Uint8Array,
  depth: number,
  budget: { items: number },
): TtlvItem {
  const view = viewOf(value);
  switch (type) {
    case 'structure': {
      const items: TtlvItem[] = [];
      for (let at = 0; at < value.length;) {
        const { item, end } = decodeItem(value, at, depth - 1, budget);
        items.push(item);
        at = end;
      }
      return { tag, type, value: items };
    }
    case 'integer':
      requireLength(value, 4);
      return { tag, type, value: view.getInt32(0) };
    case 'enumeration':
    case 'interval':
      requireLength(value, 4);
      return { tag, type, value: view.getUint32(0) };
    case 'long':
    case 'date':
      requireLength(value, 8);
      return { tag, type, value: view.getBigInt64(0) };
    case 'boolean': {
      requireLength(value, 8);
      const number = view.getBigUint64(0);
      if (number > 1n) throw invalid('has a boolean that is neither true nor false');
      return { tag, type, value: number === 1n };
    }
    case 'text':
      return { tag, type, value: textOf(value) };
    case 'big':
      if (value.length === 0 || value.length % padTo !== 0) throw invalid('has a big integer of a wrong length');
      return { tag, type, value: Uint8Array.from(value) };
    case 'bytes':
      return { tag, type, value: Uint8Array.from(value) };
  }
}

function typeOf(code: number): TtlvType {
  for (const [type, known] of Object.entries(typeCodes)) if (known === code) return type as TtlvType;
  throw invalid(`has an item of the unknown type ${code}`);
}

function textOf(value: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    throw invalid('has text that is not UTF-8');
  }
}

function requireLength(value: Uint8Array, length: number): void {
  if (value.length !== length) throw invalid(`has a value of ${value.length} bytes in the place of ${length}`);
}

function padded(length: number): number {
  return Math.ceil(length / padTo) * padTo;
}

function number32(write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(4);
  write(new DataView(bytes.buffer));
  return bytes;
}

function number64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, value);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function invalid(what: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `a KMIP message ${what}`);
}
