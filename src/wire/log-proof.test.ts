import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logProofBytesMax } from '../lib/limits.ts';
import { logKey, MemoryLog, otherLogKey } from '../../test/support/log-file.ts';
import { checkProof, encodeConsistencyProof, encodeInclusionProof } from './log-proof.ts';
import { buildProof, planConsistency, planInclusion } from './merkle.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const { publicKey } = logKey;

async function inclusion(index: number, size: number): Promise<Uint8Array> {
  const log = new MemoryLog(size);
  const proof = await buildProof(planInclusion(index, size), log.hashes);
  return encodeInclusionProof(publicKey, log.head(), log.leaves[index]!, proof);
}

async function consistency(first: number, second: number): Promise<Uint8Array> {
  const log = new MemoryLog(second);
  const proof = await buildProof(planConsistency(first, second), log.hashes);
  return encodeConsistencyProof(publicKey, new MemoryLog(first).head(), log.head(), proof);
}

test('a proof of one entry travels by itself', async () => {
  for (const [index, size] of [
    [0, 1],
    [3, 7],
    [6, 7],
    [15, 16],
  ] as const) {
    const file = await inclusion(index, size);
    for (const given of [file, bytes(`${text(file)}\n`)]) {
      const checked = checkProof(given, publicKey);
      assert.ok(checked.kind === 'inclusion');
      assert.equal(checked.entry.index, index);
      assert.equal(checked.head.size, size);
    }
  }
});

test('a proof that one head continues another travels by itself', async () => {
  for (const [first, second] of [
    [0, 3],
    [1, 3],
    [4, 4],
    [5, 16],
  ] as const) {
    const checked = checkProof(await consistency(first, second), publicKey);
    assert.ok(checked.kind === 'consistency');
    assert.deepEqual([checked.first.size, checked.second.size], [first, second]);
  }
});

test('a changed proof is refused', async () => {
  const one = text(await inclusion(3, 7));
  const two = text(await consistency(3, 7));
  const wrong: readonly (readonly [string, string])[] = [
    [one.replace('"key-3"', '"key-4"'), 'log-tampered'],
    [one.replace('"index":3', '"index":2'), 'log-tampered'],
    [one.replace('"size":7', '"size":8'), 'log-tampered'],
    [one.replace(/"proof":\["../, '"proof":["00'), 'log-tampered'],
    [two.replace(/"proof":\["../, '"proof":["00'), 'log-tampered'],
    [two.replace(/"proof":\[[^\]]*\]/, '"proof":[]'), 'log-tampered'],
    [two.replace('"size":3', '"size":4'), 'log-tampered'],
    [one.replace('-inclusion-1', '-inclusion-2'), 'format-invalid'],
    [one.replace('"proof":', '"Proof":'), 'format-invalid'],
    [`${one}\n\n`, 'format-invalid'],
    ['{}', 'format-invalid'],
    ['', 'format-invalid'],
    [' '.repeat(logProofBytesMax + 1), 'format-invalid'],
  ];
  for (const [given, code] of wrong) {
    assert.ok(given !== one && given !== two, 'the change changes something');
    assert.throws(() => checkProof(bytes(given)), { code }, given.substring(0, 200));
  }
});

test('each signature of a proof counts', async () => {
  const one = text(await inclusion(3, 7));
  assert.throws(() => checkProof(bytes(one.replace(/"signature":"../, '"signature":"00'))), { code: 'log-tampered' });
  const [before, first, second] = text(await consistency(3, 7)).split('"signature":"');
  for (const parts of [
    [before, `00${first!.substring(2)}`, second],
    [before, first, `00${second!.substring(2)}`],
  ])
    assert.throws(() => checkProof(bytes(parts.join('"signature":"'))), { code: 'log-tampered', message: /signature/ });
});

test('a proof about the log of another key is refused where the key is known', async () => {
  assert.throws(() => checkProof(bytes('{}'), publicKey), { code: 'format-invalid' });
  const file = await inclusion(0, 1);
  assert.throws(() => checkProof(file, otherLogKey.publicKey), { code: 'log-tampered', message: /another key/ });
});
