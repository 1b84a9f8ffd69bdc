/**
 * Builds the vectors of this folder: `node test/vectors/anchor/build.ts`. They are frozen; run it only
 * to add one. It writes the bytes of spec/anchor.md by itself, over node:crypto alone, and by default
 * writes them right; each file names the one part that is wrong.
 *
 * A slot is given as its body (zeros follow) and its last 32 bytes; null stands for 4096 zeros.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const volumeId = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');

interface Slot {
  magic: string;
  version: number;
  reserved: number;
  counter: bigint;
  volumeId: Buffer;
  epoch: bigint;
  manifestNumber: bigint;
  sequence: bigint;
  chain: Buffer;
  tail: Buffer;
  changeChecksum: boolean;
}

interface File {
  slots: [Slot | null, Slot | null];
  fileBytes: number;
}

vector('two-slots', 'holds 3', 'Counter 3 in slot 1 holds, counter 2 is the state before it.', () => undefined);
vector('slot-0-newer', 'holds 4', 'Counter 4 in slot 0 holds.', (file) => (first(file).counter = 4n));
vector('first-state', 'holds 1', 'A new file: slot 0 was never written.', (file) => {
  file.slots[0] = null;
  second(file).counter = 1n;
});
vector('numbers-max', 'holds 3', 'The largest numbers.', (file) => {
  second(file).epoch = second(file).manifestNumber = second(file).sequence = 2n ** 53n - 1n;
});
vector('counters-apart', 'holds 9', 'A gap between the counters is no fault.', (file) => (second(file).counter = 9n));
vector('newer-checksum-wrong', 'holds 2', 'The newer slot is torn: the older one holds.', (file) => (second(file).changeChecksum = true));
vector('older-checksum-wrong', 'holds 3', 'The older slot is torn.', (file) => (first(file).changeChecksum = true));
vector('newer-magic-wrong', 'holds 2', 'The newer slot has another magic.', (file) => (second(file).magic = 'CSNANCX\n'));
vector('both-checksums-wrong', 'anchor-tampered', 'Both slots are damaged.', (file) => {
  first(file).changeChecksum = second(file).changeChecksum = true;
});
vector('never-written', 'anchor-tampered', 'Two empty slots.', (file) => (file.slots = [null, null]));
vector('damaged-beside-empty', 'anchor-tampered', 'One damaged slot beside one never written.', (file) => {
  file.slots[0] = null;
  second(file).changeChecksum = true;
});
vector('file-empty', 'anchor-tampered', 'No bytes at all.', (file) => (file.fileBytes = 0));
vector('file-one-slot', 'anchor-tampered', 'The second slot is cut off.', (file) => (file.fileBytes = 4096));
vector('file-one-byte-less', 'anchor-tampered', 'One byte is cut off.', (file) => (file.fileBytes = 8191));
vector('file-one-byte-more', 'anchor-tampered', 'One byte follows.', (file) => (file.fileBytes = 8193));
vector('newer-version-2', 'format-version', 'The newer slot is of a later version: the older one must not hold.', (file) => (second(file).version = 2));
vector('older-version-0', 'format-version', 'The older slot has version 0.', (file) => (first(file).version = 0));
vector('reserved-set', 'anchor-tampered', 'A reserved byte is set.', (file) => (second(file).reserved = 1));
vector('padding-set', 'anchor-tampered', 'A byte between body and checksum is set.', (file) => (second(file).tail = Buffer.from('01', 'hex')));
vector('counter-0', 'anchor-tampered', 'Counter 0.', (file) => (first(file).counter = 0n));
vector('counter-in-other-slot', 'anchor-tampered', 'An even counter in slot 1.', (file) => (second(file).counter = 4n));
vector('counter-too-large', 'anchor-tampered', 'A counter of 2^53.', (file) => (first(file).counter = 2n ** 53n));
vector('sequence-too-large', 'anchor-tampered', 'A sequence of 2^53.', (file) => (second(file).sequence = 2n ** 53n));
vector('other-volume', 'anchor-tampered', 'The newer slot is of another volume.', (file) => (second(file).volumeId = Buffer.alloc(16, 7)));

function vector(name: string, expect: string, comment: string, change: (file: File) => unknown): void {
  const file: File = { slots: [slot(2n, 10n), slot(3n, 11n)], fileBytes: 8192 };
  change(file);
  const slots = file.slots.map((one) => (one === null ? null : encode(one)));
  const json = { comment, expect, volumeId: volumeId.toString('hex'), fileBytes: file.fileBytes, slots };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(json, null, 2)}\n`);
}

function slot(counter: bigint, sequence: bigint): Slot {
  return {
    magic: 'CSNANCR\n',
    version: 1,
    reserved: 0,
    counter,
    volumeId,
    epoch: 4n,
    manifestNumber: 5n,
    sequence,
    chain: Buffer.alloc(16, 0xcc),
    tail: Buffer.alloc(0),
    changeChecksum: false,
  };
}

function encode(from: Slot): { body: string; checksum: string } {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(from.version, 0);
  head.writeUInt8(from.reserved, 7);
  const numbers = (...values: bigint[]): Buffer => Buffer.concat(values.map((value) => Buffer.from(BigUint64Array.of(value).buffer)));
  const body = Buffer.concat([
    Buffer.from(from.magic, 'latin1'),
    head,
    numbers(from.counter),
    from.volumeId,
    numbers(from.epoch, from.manifestNumber),
    Buffer.alloc(32, 0xdd),
    numbers(from.sequence),
    from.chain,
    from.tail,
  ]);
  const checksum = createHash('sha256').update(body).update(Buffer.alloc(4064 - body.length)).digest();
  if (from.changeChecksum) checksum[31]! ^= 1;
  return { body: body.toString('hex'), checksum: checksum.toString('hex') };
}

function first(file: File): Slot {
  return file.slots[0]!;
}

function second(file: File): Slot {
  return file.slots[1]!;
}
