/**
 * Builds the vectors of the block store: `node test/vectors/build/block-store.ts`. They are frozen; run it only to add one.
 * It writes the bytes of spec/block-store.md by itself, and by default writes them right; each file has the one fault its
 * comment names.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
const u8 = (value: number): Buffer => Buffer.of(value);
const u16 = (value: number): Buffer => little(value, 2);
const u32 = (value: number): Buffer => little(value, 4);
const u64 = (value: bigint | number): Buffer => little(value, 8);
const mebibyte = 2 ** 20;
const storeId = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');

function little(value: bigint | number, length: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.subarray(0, length);
}

function vector(name: string, part: string, expect: string, comment: string, bytes: Buffer): void {
  const directory = new URL('../block-store/', import.meta.url);
  mkdirSync(directory, { recursive: true });
  const content = { comment, expect, part, bytes: bytes.length, pieces: piecesOf(bytes) };
  writeFileSync(new URL(`${part}-${name}.json`, directory), `${JSON.stringify(content, null, 2)}\n`);
}

/** Runs of anything but zeros, 32 zeros apart at least. */
function piecesOf(bytes: Buffer): [number, string][] {
  const pieces: [number, string][] = [];
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === 0) continue;
    let end = at + 1;
    for (let zero = 0; end < bytes.length && zero < 32; end++) zero = bytes[end] === 0 ? zero + 1 : 0;
    while (bytes[end - 1] === 0) end--;
    pieces.push([at, bytes.subarray(at, end).toString('hex')]);
    at = end;
  }
  return pieces;
}

/** Puts parts over the bytes and makes the checksum right again. */
function changed(bytes: Buffer, ...parts: (readonly [offset: number, part: Buffer])[]): Buffer {
  const copy = Buffer.from(bytes);
  for (const [offset, part] of parts) part.copy(copy, offset);
  copy.writeUInt32LE(0, 12);
  copy.writeUInt32LE(crc32(copy), 12);
  return copy;
}

function padded(bytes: Buffer, length: number): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(length - bytes.length)]);
}

const superblockFields = Buffer.concat([
  ...[ascii('CSNBLKS\n'), u16(1), u16(0), u32(0), storeId, u64(7)],
  ...[u64(64 * mebibyte), u64(mebibyte), u64(256 * 1024), u32(4096)],
  ...[u32(1), u64(5000), u32(0x12345678), u32(0), u64(41), u64(8192)],
]);
const superblock = changed(padded(superblockFields, 512));

vector('right', 'superblock', 'decodes', 'A right superblock.', superblock);
vector('blank', 'superblock', 'absent', 'Nothing but zeroes.', Buffer.alloc(512));
vector('magic', 'superblock', 'absent', 'The magic of a batch.', changed(superblock, [0, ascii('CSNBLKJ\n')]));
const superblockFaults: [name: string, expect: string, comment: string, offset: number, part: Buffer][] = [
  ['version', 'format-version', 'Version 2.', 8, u16(2)],
  ['reserved', 'format-invalid', 'A reserved byte is set.', 10, u16(1)],
  ['generation', 'format-invalid', 'Generation 0.', 32, u64(0)],
  ['device-small', 'format-invalid', 'No unit fits on the device.', 40, u64(mebibyte)],
  ['device-huge', 'format-invalid', 'More units than have a number.', 40, u64(2n ** 46n)],
  ['device-beyond', 'format-invalid', 'A number beyond 2^53.', 40, u64(2n ** 60n)],
  ['journal-odd', 'format-invalid', 'The journal is no whole number of blocks.', 48, u64(mebibyte + 512)],
  ['journal-small', 'format-invalid', 'A journal of 15 blocks.', 48, u64(15 * 4096)],
  ['area-none', 'format-invalid', 'A checkpoint area of no bytes.', 56, u64(0)],
  ['area-odd', 'format-invalid', 'The checkpoint area is no whole number of blocks.', 56, u64(5000)],
  ['unit-odd', 'format-invalid', 'Units of 6000 bytes.', 64, u32(6000)],
  ['unit-small', 'format-invalid', 'Units of 2048 bytes.', 64, u32(2048)],
  ['unit-large', 'format-invalid', 'Units of 2 MiB.', 64, u32(2 * mebibyte)],
  ['unit-none', 'format-invalid', 'Units of no bytes.', 64, u32(0)],
  ['checkpoint-area', 'format-invalid', 'Checkpoint area 2.', 68, u32(2)],
  ['checkpoint-long', 'format-invalid', 'A checkpoint that exceeds its area.', 72, u64(256 * 1024 + 1)],
  ['reserved-2', 'format-invalid', 'The second reserved field is set.', 84, u32(1)],
  ['start-odd', 'format-invalid', 'The journal starts inside a block.', 96, u64(100)],
  ['start-outside', 'format-invalid', 'The journal starts behind its end.', 96, u64(2 * mebibyte)],
  ['rest', 'format-invalid', 'A byte behind the fields is set.', 511, u8(1)],
];
for (const [name, expect, comment, offset, part] of superblockFaults)
  vector(name, 'superblock', expect, comment, changed(superblock, [offset, part]));
const rotten = Buffer.from(superblock);
rotten[200] = 1;
vector('checksum', 'superblock', 'format-invalid', 'A changed byte under the old checksum.', rotten);

const volume = 'b75712892179c57d0a2a4804fffcae58';
const text = (value: string): Buffer => Buffer.concat([u16(value.length), ascii(value)]);
const framed = (...parts: Buffer[]): Buffer => Buffer.concat([u32(Buffer.concat(parts).length), ...parts]);
const extents = (...numbers: number[]): Buffer => Buffer.concat([u32(numbers.length / 2), ...numbers.map((n) => u32(n))]);
const key = `${volume}/segments/5e/${'5e'.repeat(16)}`;
const head = `${volume}/head`;
const object = (size: number, ...numbers: number[]): Buffer => framed(u8(1), text(key), u64(size), extents(...numbers));
const spool = (size: number, ...numbers: number[]): Buffer =>
  framed(u8(4), Buffer.from(volume, 'hex'), text('5e5e'), u64(size), extents(...numbers));

vector('object', 'record', 'decodes', 'An object in two extents.', object(20_000, 7, 3, 50, 2));
vector('object-empty', 'record', 'decodes', 'An object of no bytes.', object(0));
vector('inline', 'record', 'decodes', 'An inline object.', framed(u8(2), text(head), u32(5), ascii('hello')));
vector('removed', 'record', 'decodes', 'An object that is gone.', framed(u8(3), text(key)));
vector('spool', 'record', 'decodes', 'A spool file with units ahead.', spool(5000, 0, 100));
const spoolRemoved = framed(u8(5), Buffer.from(volume, 'hex'), text('5e5e'));
vector('spool-removed', 'record', 'decodes', 'A spool file that is gone.', spoolRemoved);
const recordFaults: [name: string, comment: string, bytes: Buffer][] = [
  ['kind-0', 'Kind 0.', framed(u8(0), text(key))],
  ['kind-6', 'Kind 6.', framed(u8(6), text(key))],
  ['empty', 'No kind.', framed()],
  ['object-few', 'Too few units for the size.', object(20_000, 7, 3, 50, 1)],
  ['object-many', 'More units than the size takes.', object(20_000, 7, 3, 50, 3)],
  ['extent-empty', 'An extent of no units.', object(8192, 7, 2, 9, 0)],
  ['extent-outside', 'An extent that ends behind the last unit.', object(8192, 99, 2)],
  ['extents-one', 'Two extents that are one.', object(8192, 7, 1, 8, 1)],
  ['extents-cut', 'Fewer extents than said.', framed(u8(1), text(key), u64(8192), u32(2), u32(7), u32(2))],
  ['spool-few', 'A spool file longer than its units.', spool(5000, 0, 1)],
  ['inline-long', 'Inline content of 4097 bytes.', framed(u8(2), text(head), u32(4097), Buffer.alloc(4097, 1))],
  ['key-bad', 'A key that leaves the store.', framed(u8(3), text('../passwd'))],
  ['key-reserved', 'A key that is no object.', framed(u8(3), text(`${volume}/lock`))],
  ['key-long', 'A key of 201 bytes.', framed(u8(3), text(`${volume}/${'a'.repeat(168)}`))],
  ['name-bad', 'A spool name with a slash.', framed(u8(5), Buffer.from(volume, 'hex'), text('a/b'))],
  ['longer', 'A byte behind the end.', framed(u8(3), text(key), u8(0))],
  ['cut', 'A byte is missing.', framed(u8(3), text(key)).subarray(0, -1)],
];
for (const [name, comment, bytes] of recordFaults) vector(name, 'record', 'format-invalid', comment, bytes);

function batch(records: Buffer[], sequence = 5, count = records.length): Buffer {
  const payload = Buffer.concat(records);
  const header = [ascii('CSNBLKJ\n'), u16(1), u16(0), u32(0), storeId, u64(sequence), u32(payload.length), u32(count)];
  const bytes = Buffer.concat([...header, Buffer.alloc(16), payload]);
  return changed(padded(bytes, Math.ceil(bytes.length / 4096) * 4096));
}

const records = [object(20_000, 7, 3, 50, 2), spoolRemoved, framed(u8(2), text(head), u32(5), ascii('hello'))];
const right = batch(records);
const wide = framed(u8(2), text(head), u32(4096), Buffer.alloc(4096, 0xab));
vector('right', 'batch', 'decodes', 'A right batch of sequence 5.', right);
vector('two-blocks', 'batch', 'decodes', 'A batch that takes two blocks.', batch([wide]));
vector('blank', 'batch', 'absent', 'Nothing but zeroes.', Buffer.alloc(4096));
vector('older', 'batch', 'absent', 'A batch of the lap before.', batch(records, 4));
vector('store', 'batch', 'absent', 'A batch of another store.', changed(right, [16, u8(0xff)]));
const torn = Buffer.from(batch([wide]));
torn.fill(0, 4096);
vector('torn', 'batch', 'absent', 'The second block was never written.', torn);
vector('cut', 'batch', 'absent', 'The journal ends inside the batch.', batch([wide]).subarray(0, 4096));
vector('version', 'batch', 'format-version', 'Version 2.', changed(right, [8, u16(2)]));
vector('reserved', 'batch', 'format-invalid', 'A reserved byte is set.', changed(right, [10, u16(1)]));
vector('reserved-2', 'batch', 'format-invalid', 'A byte of the second reserved field is set.', changed(right, [50, u8(1)]));
vector('padding', 'batch', 'format-invalid', 'A byte behind the records is set.', changed(right, [4095, u8(1)]));
vector('count', 'batch', 'format-invalid', 'One record less than said.', batch(records, 5, 4));
vector('record-cut', 'batch', 'format-invalid', 'The last record is cut off.', changed(right, [40, u32(100)]));
vector('record-bad', 'batch', 'format-invalid', 'A record of kind 9.', batch([framed(u8(9))]));
