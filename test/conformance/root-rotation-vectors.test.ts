/** The frozen rotations of test/vectors/root-rotation: each right but for the one fault its file names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeRotation, encodeRotation, readRootKeys, readRotation } from '../../src/broker/release/root-key.ts';
import { toHex } from '../../src/lib/hex.ts';
import { rotationSides, rotationVectors, settingsOf, sourceOf } from '../support/rotation-vectors.ts';

const vectors = rotationVectors();

test('there are vectors of both outcomes', () => {
  const outcomes = new Set(vectors.flatMap(({ expect }) => Object.values(expect)));
  assert.deepEqual([...outcomes].toSorted(), ['database-damaged', 'key-wrong', 'opens', 'opens-old']);
});

for (const vector of vectors) {
  test(`root-rotation vector ${vector.file}: ${vector.comment}`, async () => {
    const settings = settingsOf(vector);
    for (const side of rotationSides) {
      const expect = vector.expect[side];
      const work = readRootKeys(settings, sourceOf(vector, side));
      if (!expect.startsWith('opens')) {
        await assert.rejects(work, { code: expect }, side);
        continue;
      }
      const keys = await work;
      const isGoingOn = expect === 'opens';
      assert.equal(toHex(keys!.current), isGoingOn ? vector.roots.new : vector.roots.old);
      assert.deepEqual(keys!.previous && toHex(keys!.previous), isGoingOn ? vector.roots.old : undefined);
      if (isGoingOn) assert.equal(toHex(keys!.seed), vector.seed);
      const stored = Buffer.from(vector.settings['root-rotation'] ?? '', 'hex');
      if (isGoingOn) assert.equal(Buffer.compare(encodeRotation(decodeRotation(stored)), stored), 0);
      else assert.equal(await readRotation(settings), undefined);
    }
  });
}
