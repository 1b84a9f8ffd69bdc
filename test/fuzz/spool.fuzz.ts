/**
 * A changed spool folder, then open: files are changed, swapped, renamed, doubled and removed. The volume
 * opens with the truth, or is refused by name; where the anchor knows every record, nothing may be missing.
 */
import assert from 'node:assert/strict';
import { bytesOf, withObject, type StoreImage } from '../tamper/store-image.ts';
import { buildSubject, judge, type TamperSubject } from '../tamper/tampered-volume.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

/** An opening costs milliseconds: a round of the runner must end in its time. */
const casesMax = 40;

let subject: Promise<TamperSubject> | undefined;

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const volume = await (subject ??= buildSubject());
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < Math.min(iterations, casesMax); iteration++) {
    let image = volume.image;
    for (let count = 1 + random.below(3); count > 0; count--) image = changed(volume, image, random);
    try {
      await judge(volume, image);
    } catch (error) {
      assert.fail(`seed ${seed} iteration ${iteration}: ${String(error)}, ${String((error as Error).cause)}`);
    }
  }
}

function changed({ image: original }: TamperSubject, image: StoreImage, random: SeededBytes): StoreImage {
  const names = [...image.spool.keys()];
  if (names.length === 0) return image;
  const name = names[random.below(names.length)]!;
  const other = names[random.below(names.length)]!;
  switch (random.below(8)) {
    case 0:
      return withObject(image, name, undefined);
    case 1:
      return withObject(image, name, bytesOf(image, other));
    case 2:
      return renamed(image, name, Buffer.from(random.bytes(16)).toString('hex'));
    case 3:
      return added(image, Buffer.from(random.bytes(16)).toString('hex'), bytesOf(image, name));
    case 4: {
      const segments = [...original.objects].filter(([key]) => key.includes('/segments/'));
      const [key, bytes] = segments[random.below(segments.length)]!;
      return added(image, key.substring(key.lastIndexOf('/') + 1), bytes);
    }
    default:
      return withObject(image, name, mutated(bytesOf(image, name), random));
  }
}

function renamed(image: StoreImage, name: string, to: string): StoreImage {
  return withObject(added(image, to, bytesOf(image, name)), name, undefined);
}

function added(image: StoreImage, name: string, bytes: Uint8Array): StoreImage {
  return { objects: image.objects, spool: new Map([...image.spool, [name, bytes]]) };
}
