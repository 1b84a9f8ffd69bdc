/**
 * TPML_PCR_SELECTION (Part 2, 10.6.2 and 10.9.7): which registers of which banks, and the digest over
 * their values that a quote signs.
 *
 * Values lie in the order of the selection: banks as listed, within a bank ascending (Part 1, "PCR
 * Attribute Digest Computation"). A bank is listed once, so that there are never more than there are
 * hashes; a bitmap has 1 to 4 bytes.
 */
import { createHash } from 'node:crypto';
import { evidenceInvalid } from '../evidence.ts';
import { tpmHash, type TpmHash } from './algorithms.ts';
import type { TpmReader, TpmWriter } from './codec.ts';

export interface PcrBankSelection {
  /** The bank. */
  readonly hash: TpmHash;
  /** Ascending. */
  readonly indexes: readonly number[];
  /** Bytes of the bitmap; 3 where nothing else is asked for. */
  readonly bitmapBytes: number;
}

export interface PcrValue {
  readonly hash: TpmHash;
  readonly index: number;
  /** A view. */
  readonly value: Uint8Array;
}

const bitmapBytesMax = 4;

export function readPcrSelection(reader: TpmReader): readonly PcrBankSelection[] {
  const count = reader.u32();
  const banks: PcrBankSelection[] = [];
  for (let index = 0; index < count; index++) {
    const id = reader.u16();
    const hash = tpmHash(id);
    if (hash === undefined) throw reader.invalid(`there is no bank of algorithm ${id}`);
    if (banks.some((bank) => bank.hash === hash)) throw reader.invalid(`the bank ${hash.name} is listed twice`);
    const bitmapBytes = reader.u8();
    if (bitmapBytes === 0 || bitmapBytes > bitmapBytesMax)
      throw reader.invalid(`a selection of registers has ${bitmapBytes} bytes`);
    banks.push({ hash, indexes: indexesOf(reader.bytes(bitmapBytes)), bitmapBytes });
  }
  return banks;
}

export function writePcrSelection(writer: TpmWriter, banks: readonly PcrBankSelection[]): TpmWriter {
  writer.u32(banks.length);
  for (const { hash, indexes, bitmapBytes } of banks) {
    const bitmap = new Uint8Array(bitmapBytes);
    for (const index of indexes) bitmap[index >> 3]! |= 1 << (index & 7);
    writer.u16(hash.id).u8(bitmapBytes).bytes(bitmap);
  }
  return writer;
}

/** The values, named. `evidence-invalid` unless `values` has exactly the bytes that the selection asks for. */
export function splitPcrValues(banks: readonly PcrBankSelection[], values: Uint8Array): readonly PcrValue[] {
  const wanted = banks.reduce((sum, { hash, indexes }) => sum + hash.digestBytes * indexes.length, 0);
  if (values.length !== wanted)
    throw evidenceInvalid(`the quote selects ${wanted} bytes of PCR values, the evidence has ${values.length}`, {
      check: 'pcr-values-length',
    });
  const split: PcrValue[] = [];
  let at = 0;
  for (const { hash, indexes } of banks)
    for (const index of indexes) {
      split.push({ hash, index, value: values.subarray(at, at + hash.digestBytes) });
      at += hash.digestBytes;
    }
  return split;
}

/** What a quote signs for these values. `hash` is that of the signature's scheme. */
export function pcrDigest(hash: TpmHash, values: Uint8Array): Uint8Array {
  return createHash(hash.name).update(values).digest();
}

function indexesOf(bitmap: Uint8Array): readonly number[] {
  const indexes: number[] = [];
  for (let index = 0; index < bitmap.length * 8; index++)
    if (((bitmap[index >> 3]! >> (index & 7)) & 1) === 1) indexes.push(index);
  return indexes;
}
