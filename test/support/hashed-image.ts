/** Images for tests: made from bytes in memory, read back whole. */
import type { BlockDevice } from '../../src/export/block-device.ts';
import { createHashed } from '../../src/hashed/hashed-builder.ts';
import type { BuildReport, ImageSource } from '../../src/hashed/hashed-builder.ts';
import { parseRoot } from '../../src/hashed/hashed-format.ts';
import { Region } from '../../src/lib/region.ts';
import type { ObjectReader, Store } from '../../src/store/store.ts';
import { seededBytes } from '../fuzz/seeded.ts';

/** Zeros, with pieces over them. */
export function imageSource(
  size: number,
  pieces: readonly (readonly [offset: number, bytes: Uint8Array])[],
): ImageSource {
  return {
    size,
    read: async (offset, length, target, targetOffset) => {
      target.bytes.fill(0, targetOffset, targetOffset + length);
      for (const [at, bytes] of pieces) {
        const first = Math.max(at, offset);
        const last = Math.min(at + bytes.length, offset + length);
        if (first < last) target.bytes.set(bytes.subarray(first - at, last - at), targetOffset + first - offset);
      }
    },
    nextData: (offset) => ({ offset, length: size - offset }),
    checkUnchanged: async () => undefined,
  };
}

/** Bytes that repeat nowhere near, quickly: seeded.ts is for choices, not for megabytes. */
export function noise(seed: number, length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 0x9e3779b9 + 1) >>> 0;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** Each build has a marker of its own. */
let buildCount = 0;

export async function buildImage<Kind extends Store>(
  store: Kind,
  image: Uint8Array,
): Promise<{ readonly report: BuildReport; readonly root: Uint8Array; readonly store: Kind }> {
  const report = await createHashed(store, {
    source: imageSource(image.length, [[0, image]]),
    random: seededBytes(++buildCount),
  });
  return { report, root: parseRoot(report.root), store };
}

export async function readImage(device: BlockDevice, offset: number, length: number): Promise<Uint8Array> {
  const target = new Region(Math.max(1, length));
  await device.read(offset, length, target, 0);
  return target.bytes.subarray(0, length);
}

/** The same store whose readers have nothing at hand: every read waits. */
export function coldStore(store: Store): Store {
  const open = async (key: string): Promise<ObjectReader> => {
    const reader = await store.open(key);
    return {
      size: reader.size,
      tryRead: () => false,
      read: async (offset, length, target, targetOffset) => {
        await new Promise(setImmediate);
        await reader.read(offset, length, target, targetOffset);
      },
      close: () => reader.close(),
    };
  };
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'open') return open;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
