/**
 * Codec of what a TPM slot holds behind version and salt. Spec: spec/keys.md, section 5.10. Vectors: test/vectors/tpm-slot/. Pure.
 *
 * It is read before anything is authenticated: whatever it says, the TPM alone decides whether a secret comes out, and
 * which secret that is decides whether the slot opens.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { tpmHash } from '../wire/tpm/algorithms.ts';
import type { PcrBankSelection } from '../wire/tpm/pcr-selection.ts';
import { parsePublicArea } from '../wire/tpm/public-area.ts';

/** Of each register, for people: which one is not as it was. */
export const registerHintBytes = 8;
export const keyNameBytes = 34;
const bitmapBytes = 3;
const areaBytesMax = 256;
const secretBytesMax = 512;
const pinFlag = 1;
/** No persistent handle: the primary key of the storage template. */
export const primaryParent = 0;
const persistentFirst = 0x8100_0000;
const persistentLast = 0x81ff_ffff;

export interface TpmSlot {
  readonly hasPin: boolean;
  readonly bank: PcrBankSelection;
  /** `primaryParent`, or a persistent handle. */
  readonly parent: number;
  /** Its name: the key that the session's secret travels under must be this one. */
  readonly parentName: Uint8Array;
  /** The first bytes of each register's value when the slot was made, in order. */
  readonly hints: readonly Uint8Array[];
  /** TPMT_PUBLIC and TPM2B_PRIVATE of the sealed secret. */
  readonly area: Uint8Array;
  readonly secret: Uint8Array;
}

export function isPersistentHandle(handle: number): boolean {
  return handle >= persistentFirst && handle <= persistentLast;
}

export function encodeTpmSlot(slot: TpmSlot): Uint8Array {
  const bitmap = new Uint8Array(bitmapBytes);
  for (const index of slot.bank.indexes) bitmap[index >> 3]! |= 1 << (index & 7);
  const writer = new ByteWriter()
    .u8(slot.hasPin ? pinFlag : 0)
    .u16(slot.bank.hash.id)
    .bytes(bitmap)
    .u32(slot.parent);
  writer.bytes(slot.parentName, keyNameBytes);
  for (const hint of slot.hints) writer.bytes(hint, registerHintBytes);
  writer.u16(slot.area.length).bytes(slot.area).u16(slot.secret.length).bytes(slot.secret);
  return writer.finish();
}

/** `format-invalid` for what no writer of this format makes. */
export function decodeTpmSlot(bytes: Uint8Array): TpmSlot {
  const reader = new ByteReader(bytes, 'TPM slot');
  const flags = reader.u8();
  if (flags > pinFlag) throw reader.invalid('an unknown flag is set');
  const hash = tpmHash(reader.u16());
  if (hash === undefined || !hash.isStrong) throw reader.invalid('it seals to a bank that no slot uses');
  const indexes = registersOf(reader.bytes(bitmapBytes));
  if (indexes.length === 0) throw reader.invalid('it seals to no register');
  const parent = reader.u32();
  if (parent !== primaryParent && !isPersistentHandle(parent)) throw reader.invalid('its parent is no storage key');
  const parentName = reader.bytes(keyNameBytes);
  const hints = indexes.map(() => reader.bytes(registerHintBytes));
  const area = takeBlock(reader, areaBytesMax);
  const secret = takeBlock(reader, secretBytesMax);
  reader.end();
  const { object } = parsePublicArea(area, (message) => reader.invalid(message));
  if (object.type !== 'keyed-hash' || object.scheme !== undefined) throw reader.invalid('what it seals is a key');
  return { hasPin: flags === pinFlag, bank: { hash, indexes, bitmapBytes }, parent, parentName, hints, area, secret };
}

function takeBlock(reader: ByteReader, bytesMax: number): Uint8Array {
  const length = reader.u16();
  if (length < 1 || length > bytesMax) throw reader.invalid(`a field of ${length} bytes`);
  return reader.bytes(length);
}

function registersOf(bitmap: Uint8Array): number[] {
  const indexes = Array.from({ length: 8 * bitmap.length }, (_, index) => index);
  return indexes.filter((index) => ((bitmap[index >> 3]! >> (index & 7)) & 1) === 1);
}
