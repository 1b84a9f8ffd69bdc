/** The fast sealer against the portable one: same bytes, same verdict, whatever is changed. */
import assert from 'node:assert/strict';
import { Region } from '../../src/lib/region.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { createOpenSslSealer } from '../../src/crypto/openssl-sealer.ts';
import { tagBytes } from '../../src/crypto/sealer.ts';
import { bindOpenSsl } from '../../src/sys/openssl.ts';
import { seededBytes } from './seeded.ts';

const lengthMax = 40000;

export function fuzz(seed: number, iterations: number): void {
  const { openSsl } = bindOpenSsl();
  if (openSsl === undefined) return;
  const random = seededBytes(seed);
  const fast = createOpenSslSealer(openSsl);
  const source = new Region(lengthMax + 64);
  const one = new Region(lengthMax + 64 + tagBytes);
  const two = new Region(lengthMax + 64 + tagBytes);
  const opened = new Region(lengthMax);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const keyMaterial = random.bytes(32);
    const tried = fast.createKey(keyMaterial);
    const trusted = nodeSealer.createKey(keyMaterial);
    const length = 1 + random.below(random.below(2) === 0 ? 100 : lengthMax);
    const slot = random.below(2 ** 32);
    const block = random.below(2 ** 20) * 2 ** 32 + random.below(2 ** 32);
    const offset = random.below(64);
    source.bytes.set(random.bytes(Math.min(length, 256)), offset);
    tried.seal(slot, block, length, source, offset, one, offset);
    trusted.seal(slot, block, length, source, offset, two, offset);
    const where = `seed ${seed} iteration ${iteration}`;
    assert.equal(
      Buffer.compare(
        one.bytes.subarray(offset, offset + length + tagBytes),
        two.bytes.subarray(offset, offset + length + tagBytes),
      ),
      0,
      where,
    );
    assert.equal(tried.open(slot, block, length, one, offset, opened, 0), true, where);
    assert.equal(
      Buffer.compare(opened.bytes.subarray(0, length), source.bytes.subarray(offset, offset + length)),
      0,
      where,
    );
    const bit = random.below((length + tagBytes) * 8);
    const place = offset + (bit >> 3);
    one.bytes[place] = (one.bytes[place] ?? 0) ^ (1 << (bit & 7));
    assert.equal(tried.open(slot, block, length, one, offset, opened, 0), false, where);
    assert.equal(trusted.open(slot, block, length, one, offset, opened, 0), false, where);
    tried.destroy();
    trusted.destroy();
  }
}
