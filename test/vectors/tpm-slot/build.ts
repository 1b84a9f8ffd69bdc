/**
 * Builds the vectors of this folder: `node test/vectors/tpm-slot/build.ts`. They are frozen; run it only to add one.
 * It writes the bytes of spec/keys.md, section 5.10, by itself and by default right; each file names the one part that is wrong.
 */
import { writeFileSync } from 'node:fs';

interface Slot {
  flags: number;
  bank: number;
  registers: number[];
  parent: number;
  parentName: Buffer;
  hints: Buffer;
  area: Buffer;
  areaBytes: number | undefined;
  secret: Buffer;
  tail: Buffer;
}

/** Keyed hash, SHA-256, fixedTPM | fixedParent | noDA, a policy, no scheme, a digest as unique. */
const area = Buffer.from(`0008000b000004120020${'a1'.repeat(32)}00100020${'b2'.repeat(32)}`, 'hex');

vector('two-registers', 'decodes', 'PCR 4 and 7 of SHA-256 under the primary key.', () => undefined);
vector('pin-sha384-persistent', 'decodes', 'A PIN, PCR 23 of SHA-384, parent 0x81000001.', (slot) => {
  Object.assign(slot, { flags: 1, bank: 12, registers: [23], parent: 0x81000001, hints: Buffer.alloc(8, 1) });
});
vector('all-registers', 'decodes', 'Every register.', (slot) => {
  slot.registers = Array.from({ length: 24 }, (_, index) => index);
  slot.hints = Buffer.alloc(192, 2);
});
vector('flag-unknown', 'format-invalid', 'Flag bit 1 is set.', (slot) => (slot.flags = 2));
vector('bank-sha1', 'format-invalid', 'SHA-1 seals nothing.', (slot) => (slot.bank = 4));
vector('bank-unknown', 'format-invalid', 'No such algorithm.', (slot) => (slot.bank = 0x7777));
vector('registers-none', 'format-invalid', 'Sealed to no register.', (slot) => {
  slot.registers = [];
  slot.hints = Buffer.alloc(0);
});
vector('parent-transient', 'format-invalid', 'The parent is a transient handle.', (slot) => (slot.parent = 0x80000001));
vector('parent-hierarchy', 'format-invalid', 'The parent is a hierarchy.', (slot) => (slot.parent = 0x40000001));
vector('hints-short', 'format-invalid', 'One hint is missing.', (slot) => (slot.hints = slot.hints.subarray(8)));
vector('area-empty', 'format-invalid', 'No public area.', (slot) => (slot.area = Buffer.alloc(0)));
vector('area-cut', 'format-invalid', 'The public area is cut off.', (slot) => (slot.area = area.subarray(0, 40)));
vector('area-rsa', 'format-invalid', 'The public area is of a key.', (slot) => (slot.area = Buffer.from(area).fill(1, 1, 2)));
vector('area-scheme', 'format-invalid', 'The sealed object has an HMAC scheme.', (slot) => {
  slot.area = Buffer.concat([area.subarray(0, 42), Buffer.from('0005000b', 'hex'), area.subarray(44)]);
});
vector('area-longer-than-said', 'format-invalid', 'The area has a byte more than its length.', (slot) => {
  slot.areaBytes = area.length - 1;
});
vector('secret-empty', 'format-invalid', 'No private area.', (slot) => (slot.secret = Buffer.alloc(0)));
vector('secret-long', 'format-invalid', 'The private area has 513 bytes.', (slot) => (slot.secret = Buffer.alloc(513, 3)));
vector('byte-after', 'format-invalid', 'A byte follows the end.', (slot) => (slot.tail = Buffer.from([0])));

function vector(name: string, expect: string, comment: string, change: (slot: Slot) => unknown): void {
  const slot: Slot = {
    ...{ flags: 0, bank: 11, registers: [4, 7], parent: 0, parentName: Buffer.from(`000b${'c3'.repeat(32)}`, 'hex') },
    ...{ hints: Buffer.from('0102030405060708a1a2a3a4a5a6a7a8', 'hex'), area, areaBytes: undefined },
    ...{ secret: Buffer.alloc(158, 0xd4), tail: Buffer.alloc(0) },
  };
  change(slot);
  const head = Buffer.alloc(10);
  head.writeUInt8(slot.flags, 0);
  head.writeUInt16LE(slot.bank, 1);
  head.writeUIntLE(
    slot.registers.reduce((all, index) => all + 2 ** index, 0),
    3,
    3,
  );
  head.writeUInt32LE(slot.parent, 6);
  const sized = (bytes: Buffer, length = bytes.length): Buffer => {
    const size = Buffer.alloc(2);
    size.writeUInt16LE(length);
    return Buffer.concat([size, bytes]);
  };
  const parts = [head, slot.parentName, slot.hints, sized(slot.area, slot.areaBytes), sized(slot.secret), slot.tail];
  const bytes = Buffer.concat(parts);
  const text = { comment, expect, bytes: bytes.length, pieces: [[0, bytes.toString('hex')]] };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(text, null, 2)}\n`);
}
