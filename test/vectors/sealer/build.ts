/**
 * Builds the vectors of this folder: `node test/vectors/sealer/build.ts`. They are frozen; run it only
 * to add one. It uses node:crypto directly and writes the nonce with big integers, so that it shares
 * nothing with the code it checks. Each vector is right but for the one fault its file names.
 */
import { createCipheriv } from 'node:crypto';
import { writeFileSync } from 'node:fs';

interface Unit {
  readonly key: Uint8Array;
  readonly slot: number;
  readonly block: number;
  readonly plaintext: Uint8Array;
}

type Fault = (sealed: Buffer, unit: Unit) => Partial<Record<'slot' | 'block', number>> | undefined;

const key = pattern(32, 7);
const plain: Unit = { key, slot: 5, block: 1234567, plaintext: pattern(48, 3) };
const zeros: Unit = { key: new Uint8Array(32), slot: 0, block: 0, plaintext: new Uint8Array(16) };

write('nist-zero-key-and-block', 'The test case 14 of the GCM submission: key, nonce and plaintext all zero.', zeros);
write('short', 'A plain unit of 48 bytes.', plain);
write('one-byte', 'The shortest unit.', { ...plain, plaintext: pattern(1, 9) });
write('not-a-whole-cipher-block', 'A length that is no multiple of 16.', { ...plain, plaintext: pattern(33, 9) });
write('sector', 'A unit of 512 bytes.', { ...plain, plaintext: pattern(512, 1) });
write('slot-max', 'The largest slot.', { ...plain, slot: 0xffffffff });
write('block-above-32-bits', 'A block number that needs both words of the nonce.', { ...plain, block: 2 ** 32 + 1 });
write('block-max', 'The largest block number.', { ...plain, block: 2 ** 52 });
write('wrong-slot', 'Opened at the next slot.', plain, (_sealed, unit) => ({ slot: unit.slot + 1 }));
write('wrong-block', 'Opened as the next block.', plain, (_sealed, unit) => ({ block: unit.block + 1 }));
write('wrong-block-high-word', 'Opened as a block that differs only in the upper word.', plain, (_sealed, unit) => ({ block: unit.block + 2 ** 32 }));
write('flipped-first-bit', 'The first bit of the ciphertext is flipped.', plain, (sealed) => flip(sealed, 0, 0x80));
write('flipped-last-bit', 'The last bit of the ciphertext is flipped.', plain, (sealed) => flip(sealed, sealed.length - 17, 1));
write('flipped-tag-first-bit', 'The first bit of the tag is flipped.', plain, (sealed) => flip(sealed, sealed.length - 16, 0x80));
write('flipped-tag-last-bit', 'The last bit of the tag is flipped.', plain, (sealed) => flip(sealed, sealed.length - 1, 1));
write('zero-tag', 'The tag is all zero.', plain, (sealed) => {
  sealed.fill(0, sealed.length - 16);
  return undefined;
});

function write(name: string, comment: string, unit: Unit, fault?: Fault): void {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(unit.slot, 0);
  nonce.writeBigUInt64BE(BigInt(unit.block), 4);
  const cipher = createCipheriv('aes-256-gcm', unit.key, nonce);
  const sealed = Buffer.concat([cipher.update(unit.plaintext), cipher.final(), cipher.getAuthTag()]);
  const moved = fault?.(sealed, unit) ?? {};
  const vector = {
    comment,
    expect: fault === undefined ? 'opens' : 'refused',
    key: hex(unit.key),
    slot: moved.slot ?? unit.slot,
    block: moved.block ?? unit.block,
    plaintext: hex(unit.plaintext),
    sealed: hex(sealed),
  };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(vector, undefined, 2)}\n`);
}

function flip(sealed: Buffer, offset: number, bits: number): undefined {
  sealed[offset] = (sealed[offset] ?? 0) ^ bits;
}

function pattern(length: number, step: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * step + 1) & 0xff);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
