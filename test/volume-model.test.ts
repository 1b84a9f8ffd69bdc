/** Random sequences of calls against a plain array: a volume reads like memory, also after it was reopened. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { createVolume, openVolume } from '../src/api.ts';
import type { OpenVolume } from '../src/api.ts';

const scratch = mkdtempSync(join(tmpdir(), 'caisson-model-'));
after(() => rmSync(scratch, { recursive: true }));

const sizeMax = 1024 * 1024;
const sequences = 40;

interface Model {
  volume: OpenVolume;
  bytes: Uint8Array;
  reopen(): Promise<OpenVolume>;
}

type Step = (model: Model) => Promise<void>;

const part = fc.double({ min: 0, max: 1, noNaN: true });
/** Half of the ranges are whole blocks. */
const range = fc.record({ start: part, length: fc.nat({ max: 100_000 }), aligned: fc.boolean() });

function rangeIn(
  { bytes }: Model,
  { start, length, aligned }: { start: number; length: number; aligned: boolean },
): [number, number] {
  const unit = aligned ? 4096 : 1;
  const from = Math.floor((start * (bytes.length - 1)) / unit) * unit;
  const to = Math.min(bytes.length, Math.floor((from + length) / unit) * unit);
  return [from, Math.max(0, to - from)];
}

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(range, fc.integer({ min: 0, max: 255 }), fc.boolean()).map(writeStep) },
  { weight: 3, arbitrary: range.map(readStep) },
  { weight: 2, arbitrary: fc.tuple(range, fc.boolean()).map(clearStep) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: sizeMax / 4096 }).map((blocks) => resizeStep(blocks * 4096)) },
  { weight: 1, arbitrary: fc.constant<Step>(async (model) => model.volume.flush()) },
  { weight: 1, arbitrary: fc.constant<Step>(async (model) => model.volume.checkpoint()) },
  { weight: 1, arbitrary: fc.constant<Step>(reopenStep) },
);

function writeStep([where, seed, durable]: [
  { start: number; length: number; aligned: boolean },
  number,
  boolean,
]): Step {
  return async (model) => {
    const [from, length] = rangeIn(model, where);
    const content = Uint8Array.from({ length }, (_, index) => seed + index * 7);
    await model.volume.write(from, content, { durable });
    model.bytes.set(content, from);
  };
}

function readStep(where: { start: number; length: number; aligned: boolean }): Step {
  return async (model) => {
    const [from, length] = rangeIn(model, where);
    assert.equal(Buffer.compare(await model.volume.read(from, length), model.bytes.subarray(from, from + length)), 0);
  };
}

/** `trim` may leave the parts of blocks at its ends; whole blocks are zeros in both cases. */
function clearStep([where, trim]: [{ start: number; length: number; aligned: boolean }, boolean]): Step {
  return async (model) => {
    const [from, length] = rangeIn(model, { ...where, aligned: where.aligned || trim });
    await (trim ? model.volume.trim(from, length) : model.volume.zero(from, length));
    model.bytes.fill(0, from, from + length);
  };
}

function resizeStep(size: number): Step {
  return async (model) => {
    await model.volume.resize(size);
    const bytes = new Uint8Array(size);
    bytes.set(model.bytes.subarray(0, Math.min(size, model.bytes.length)));
    model.bytes = bytes;
  };
}

async function reopenStep(model: Model): Promise<void> {
  await model.volume.close();
  model.volume = await model.reopen();
}

test('a volume reads like an array, whatever is done to it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const folder = mkdtempSync(join(scratch, 'run-'));
      const place = { store: join(folder, 'store'), anchorFolder: join(folder, 'anchors') };
      const key = { keyFile: new Uint8Array(randomBytes(32)) };
      const { volumeId: id } = await createVolume({ ...place, size: sizeMax / 2, key });
      const reopen = (): Promise<OpenVolume> => openVolume({ ...place, id, key });
      const model: Model = { volume: await reopen(), bytes: new Uint8Array(sizeMax / 2), reopen };
      try {
        for (const run of [...steps, reopenStep]) await run(model);
        assert.equal(model.volume.size, model.bytes.length);
        assert.equal(Buffer.compare(await model.volume.read(0, model.bytes.length), model.bytes), 0);
      } finally {
        await model.volume.close();
        rmSync(folder, { recursive: true });
      }
    }),
    { numRuns: sequences },
  );
});
