/** Decodes a part of the block store's formats and checks that what decodes has one form: for its vectors and its fuzz target. */
import assert from 'node:assert/strict';
import {
  batchBytes,
  decodeBatch,
  decodeRecord,
  encodeBatch,
  encodeRecord,
} from '../../src/store/block/journal-format.ts';
import { decodeSuperblock, encodeSuperblock, sectorBytes } from '../../src/store/block/superblock-format.ts';

const storeId = Uint8Array.from({ length: 16 }, (_, index) => index);
const sequence = 5;
const units = { unitBytes: 4096, unitCount: 100 };

/** False where there is nothing of that kind; throws what the decoders throw. */
export function decodeBlockStorePart(part: string, bytes: Uint8Array): boolean {
  if (part === 'record') {
    assertSame(encodeRecord(decodeRecord(bytes, units)), bytes);
    return true;
  }
  if (part === 'batch') {
    const batch = decodeBatch(bytes, storeId, sequence, units);
    if (batch === undefined) return false;
    const records = batch.records.map((record) => encodeRecord(record));
    const encoded = new Uint8Array(batchBytes(records.reduce((sum, { length }) => sum + length, 0)));
    encodeBatch(encoded, storeId, sequence, records);
    assert.equal(encoded.length, batch.bytes);
    assertSame(encoded, bytes.subarray(0, batch.bytes));
    return true;
  }
  if (bytes.length !== sectorBytes) return false;
  const superblock = decodeSuperblock(bytes);
  if (superblock !== undefined) assertSame(encodeSuperblock(superblock), bytes);
  return superblock !== undefined;
}

function assertSame(encoded: Uint8Array, bytes: Uint8Array): void {
  assert.equal(Buffer.compare(encoded, bytes), 0, 'what decodes has one form');
}
