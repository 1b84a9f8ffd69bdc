/**
 * Builds the vectors of the backup stream's parts: `node test/vectors/build/backup-format.ts`. They are frozen; run
 * it only to add one. It writes the bytes of spec/backup-format.md by itself; each file has the one fault its comment names.
 */
import { mkdirSync, writeFileSync } from 'node:fs';

const folder = new URL('../backup/', import.meta.url);
mkdirSync(folder, { recursive: true });

function vector(name: string, part: string, expect: string, comment: string, bytes: Buffer): void {
  const content = { comment, expect, part, bytes: bytes.length, pieces: [[0, bytes.toString('hex')]] };
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(content, null, 2)}\n`);
}

const u8 = (value: number): Buffer => Buffer.of(value);
const zeros = (count: number): Buffer => Buffer.alloc(count);
function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function replaced(bytes: Buffer, offset: number, part: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  part.copy(changed, offset);
  return changed;
}

const id = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const digest = Buffer.alloc(32, 0xd1);

const magic = Buffer.from('CSNBAK1\n', 'latin1');
const version = Buffer.of(1, 0);
const full = Buffer.concat([magic, version, zeros(6), id, u64(0n), zeros(32)]);
const incremental = Buffer.concat([magic, version, zeros(6), id, u64(41n), digest]);
vector('start-full', 'start', 'decodes', 'The start of a full stream.', full);
vector('start-incremental', 'start', 'decodes', 'The start of an incremental stream.', incremental);
vector('start-base-first', 'start', 'decodes', 'The base is manifest 0, which has a digest.', replaced(incremental, 32, u64(0n)));
vector('start-magic', 'start', 'format-invalid', 'The magic is wrong.', replaced(full, 6, u8(0x32)));
vector('start-version', 'start', 'format-version', 'Version 2.', replaced(full, 8, u8(2)));
vector('start-reserved', 'start', 'format-invalid', 'A reserved byte is set.', replaced(full, 13, u8(1)));
vector('start-no-digest', 'start', 'format-invalid', 'A base has a number and no digest.', replaced(full, 32, u64(41n)));
vector('start-number', 'start', 'format-invalid', 'The number of the base exceeds 2^53.', replaced(incremental, 32, u64(2n ** 53n)));
vector('start-cut', 'start', 'format-invalid', 'The last byte is missing.', incremental.subarray(0, 71));
vector('start-longer', 'start', 'format-invalid', 'A byte follows.', Buffer.concat([full, u8(0)]));

const frame = (kind: number): Buffer => Buffer.concat([u8(kind), zeros(7), id, kind === 6 ? zeros(16) : id, u64(4112n)]);
for (const [kind, name] of ['segment', 'map', 'catalog', 'newest', 'manifest', 'head'].entries())
  vector(`frame-${name}`, 'frame', 'decodes', `The header of a ${name} frame.`, frame(kind + 1));
vector('frame-kind-0', 'frame', 'format-invalid', 'Kind 0.', frame(0));
vector('frame-kind-7', 'frame', 'format-invalid', 'The kind of the end, read as a frame.', frame(7));
vector('frame-kind-8', 'frame', 'format-invalid', 'Kind 8.', frame(8));
vector('frame-reserved', 'frame', 'format-invalid', 'A reserved byte is set.', replaced(frame(1), 7, u8(1)));
vector('frame-length', 'frame', 'format-invalid', 'The length exceeds 2^53.', replaced(frame(1), 40, u64(2n ** 63n)));
vector('frame-head-id', 'frame', 'format-invalid', 'A head has an id.', replaced(frame(6), 24, id));
vector('frame-cut', 'frame', 'format-invalid', 'The last byte is missing.', frame(1).subarray(0, 47));
vector('frame-longer', 'frame', 'format-invalid', 'A byte follows.', Buffer.concat([frame(1), u8(0)]));

const end = Buffer.concat([u8(7), zeros(7), u64(12n), u64(42n), digest, Buffer.alloc(32, 0xe2)]);
vector('end', 'end', 'decodes', 'A right end.', end);
vector('end-kind', 'end', 'format-invalid', 'The kind is that of a head.', replaced(end, 0, u8(6)));
vector('end-reserved', 'end', 'format-invalid', 'A reserved byte is set.', replaced(end, 1, u8(1)));
vector('end-count', 'end', 'format-invalid', 'The count exceeds 2^53.', replaced(end, 8, u64(2n ** 53n)));
vector('end-number', 'end', 'format-invalid', 'The number exceeds 2^53.', replaced(end, 16, u64(2n ** 60n)));
vector('end-cut', 'end', 'format-invalid', 'The last byte is missing.', end.subarray(0, 87));
vector('end-longer', 'end', 'format-invalid', 'A byte follows.', Buffer.concat([end, u8(0)]));
