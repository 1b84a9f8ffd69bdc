/** Changed backup streams: an import either refuses by name and shows nothing, or it was the right stream after all. */
import assert from 'node:assert/strict';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { fromHex } from '../../src/lib/hex.ts';
import { Region } from '../../src/lib/region.ts';
import { headKey, volumePrefix } from '../../src/store/paths.ts';
import { createVolume, openVolume } from '../../src/volume/volume.ts';
import type { VolumeEnvironment } from '../../src/volume/volume-types.ts';
import { MemoryAnchor } from '../sim/memory-anchor.ts';
import { MemoryMedium, MemoryStore } from '../sim/memory-store.ts';
import { exported, imported } from '../support/backup-stream.ts';
import { seededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

const refusals = [
  ...['backup-invalid', 'backup-ended-early', 'backup-base-missing', 'manifest-tampered', 'head-tampered'],
  ...['digest-mismatch', 'format-version'],
];

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const { stream, boundaries, volumeId } = await madeStream();
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const changed = random.below(2) === 0 ? mutated(stream, random) : rearranged(stream, boundaries, random.below);
    const store = new MemoryStore(new MemoryMedium());
    const where = `seed ${seed} iteration ${iteration}`;
    try {
      await imported(store, changed);
      assert.equal(Buffer.compare(changed, stream), 0, `${where}: another stream was taken`);
    } catch (error) {
      assert.ok(error instanceof CaissonError && refusals.includes(error.code), `${where}: ${String(error)}`);
      await assert.rejects(store.stat(headKey(volumePrefix(volumeId))), where);
    }
  }
}

/** Frames left out, doubled or swapped. */
function rearranged(stream: Uint8Array, boundaries: readonly number[], below: (limit: number) => number): Uint8Array {
  const frames = boundaries.slice(0, -1).map((start, index) => stream.subarray(start, boundaries[index + 1]));
  const [one, other] = [below(frames.length), below(frames.length)];
  const kind = below(3);
  if (kind === 0) frames.splice(one, 1);
  else if (kind === 1) frames.splice(other, 0, frames[one]!);
  else [frames[one], frames[other]] = [frames[other]!, frames[one]!];
  return Buffer.concat(frames);
}

let made: Promise<{ stream: Uint8Array; boundaries: readonly number[]; volumeId: Uint8Array }> | undefined;

/** Small, with every kind of frame, and the same in each run. */
function madeStream(): NonNullable<typeof made> {
  made ??= (async () => {
    const environment: VolumeEnvironment = {
      store: new MemoryStore(new MemoryMedium()),
      anchor: new MemoryAnchor(),
      clock: { ...systemClock, wall: () => 0 },
      random: seededBytes(1),
      sealer: nodeSealer,
      tuning: { segmentBytesMax: 64 * 1024 },
    };
    const keySource = createKeyFileSource({ content: seededBytes(3).bytes(32), random: seededBytes(2) });
    const options = { size: 2 ** 20, protection: 'sealed', durability: 'local', keySource } as const;
    const volumeId = fromHex((await createVolume(environment, options)).volumeId, 16)!;
    const volume = await openVolume(environment, { volumeId, keySource });
    const region = new Region(20 * 4096);
    region.bytes.fill(7);
    await volume.write(0, region.length, region, 0, false);
    await volume.snapshot('first');
    await volume.write(4096 * 8, region.length, region, 0, false);
    await volume.close();
    const { stream, boundaries } = await exported({ environment, volumeId, keySource });
    return { stream, boundaries, volumeId };
  })();
  return made;
}
