/** Capability epochs on a real folder: they rise, stay with the volume, and are never guessed. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { CapabilityEpochs } from './capability-epochs.ts';

const volumeId = 'ab'.repeat(16);

test('an epoch rises from 0, for its volume alone, and is read anew each time', (context) => {
  const state = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-epochs-'));
  context.after(() => fs.rmSync(state, { recursive: true }));
  const [epochs, others] = [new CapabilityEpochs({ state }), new CapabilityEpochs({ state })];
  assert.equal(epochs.of(volumeId), 0);
  assert.deepEqual([epochs.raise(volumeId), others.raise(volumeId)], [1, 2]);
  assert.deepEqual([epochs.of(volumeId), epochs.of('cd'.repeat(16))], [2, 0]);
});

test('what is no epoch lets nothing hold', (context) => {
  const state = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-epochs-'));
  context.after(() => fs.rmSync(state, { recursive: true }));
  const epochs = new CapabilityEpochs({ state });
  epochs.raise(volumeId);
  const file = path.join(state, 'capabilities', `${volumeId}.epoch`);
  for (const text of ['', '0\n', '1', '-1\n', '1e3\n', '1\n1\n', '9'.repeat(16), 'x'.repeat(10_000)]) {
    fs.writeFileSync(file, text);
    const isNamed = (error: unknown): boolean =>
      isCaissonError(error, 'configuration-invalid') || isCaissonError(error, 'limit-exceeded');
    assert.throws(() => epochs.of(volumeId), isNamed, JSON.stringify(text.substring(0, 20)));
    assert.throws(() => epochs.raise(volumeId), isNamed);
    assert.equal(fs.readFileSync(file, 'utf8'), text);
  }
});
