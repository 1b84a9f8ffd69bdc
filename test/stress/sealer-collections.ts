/**
 * Run as a process with --expose-gc: seals and opens while the collector moves everything it can and
 * small buffers churn the young heap. Any pointer into moving memory shows as a damaged unit, a
 * refused unit or a crash. Also forgets keys, to see that their contexts are freed.
 */
import assert from 'node:assert/strict';
import { Region } from '../../src/lib/region.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { createOpenSslSealer } from '../../src/crypto/openssl-sealer.ts';
import { tagBytes } from '../../src/crypto/sealer.ts';
import { bindOpenSsl } from '../../src/sys/openssl.ts';

const collect = globalThis.gc;
const { openSsl } = bindOpenSsl();
assert(collect !== undefined && openSsl !== undefined);

let freed = 0;
const sealer = createOpenSslSealer({
  ...openSsl,
  freeContext: (context) => {
    freed++;
    openSsl.freeContext(context);
  },
});
const lengths = [1, 48, 512, 4096, 32768];
const reference = nodeSealer.createKey(new Uint8Array(32).fill(9));
let churn: Uint8Array[] = [];

for (let round = 0; round < 1500; round++) {
  const key = sealer.createKey(new Uint8Array(32).fill(9));
  const length = lengths[round % lengths.length] ?? 1;
  const source = Region.from(new Uint8Array(length).fill(round & 0xff));
  const sealed = new Region(length + tagBytes);
  const expected = new Region(length + tagBytes);
  churn = Array.from({ length: 64 }, (_, index) => Buffer.allocUnsafeSlow(1 + (index % 64)).fill(index));
  key.seal(round, round, length, source, 0, sealed, 0);
  if (round % 10 === 0) collect();
  reference.seal(round, round, length, source, 0, expected, 0);
  assert.equal(Buffer.compare(sealed.bytes, expected.bytes), 0, `round ${round}`);
  const opened = new Region(length);
  assert(key.open(round, round, length, sealed, 0, opened, 0), `round ${round}`);
  assert.equal(Buffer.compare(opened.bytes, source.bytes), 0, `round ${round}`);
  assert(
    churn.every((bytes, index) => bytes.every((byte) => byte === index)),
    'a small buffer was overwritten',
  );
  // Every other key is forgotten without `destroy`.
  if (round % 2 === 0) key.destroy();
  if (round % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
}
const destroyed = 1500;
collect();
await new Promise((resolve) => setImmediate(resolve));
console.log(`contexts freed by the collector: ${freed - destroyed}`);
