/** A fresh volume for a test: in memory or in a temporary folder, with the keys and the sealer a test needs. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Anchor } from '../../src/anchor/anchor.ts';
import { openFileAnchor } from '../../src/anchor/file-anchor.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { noneSource } from '../../src/keys/none.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { fromHex } from '../../src/lib/hex.ts';
import { openDirStore } from '../../src/store/dir-store.ts';
import { nodeFileSystem } from '../../src/store/node-file-system.ts';
import type { Store } from '../../src/store/store.ts';
import { createVolume, openVolume } from '../../src/volume/volume.ts';
import type {
  Durability,
  OpenOptions,
  Protection,
  Volume,
  VolumeEnvironment,
  VolumeTuning,
} from '../../src/volume/volume-types.ts';
import { MemoryAnchor } from '../sim/memory-anchor.ts';
import { MemoryMedium, MemoryStore } from '../sim/memory-store.ts';

export interface TestVolumeOptions {
  readonly size?: number;
  readonly protection?: Protection;
  readonly durability?: Durability;
  readonly store?: 'memory' | 'dir';
  readonly tuning?: Partial<VolumeTuning>;
  /** Puts something between the engine and its store. */
  readonly wrapStore?: (store: Store) => Store;
}

export interface TestVolume {
  readonly environment: VolumeEnvironment;
  readonly volumeId: Uint8Array;
  readonly keySource: KeySource;
  /** Open for writing. */
  readonly volume: Volume;
  /** Opens it again; close it first. */
  readonly open: (options?: Partial<OpenOptions>) => Promise<Volume>;
  readonly dispose: () => Promise<void>;
}

const key = Uint8Array.from({ length: 32 }, (_, index) => 7 * index + 1);

export function testKey(): KeySource {
  return createKeyFileSource({ content: key, random: systemRandom });
}

export async function createTestVolume(options: TestVolumeOptions = {}): Promise<TestVolume> {
  const {
    size = 64 * 2 ** 20,
    protection = 'sealed',
    durability = 'local',
    wrapStore = (store: Store) => store,
  } = options;
  const place = await openPlace(options.store ?? 'memory');
  const environment: VolumeEnvironment = {
    store: wrapStore(place.store),
    anchor: place.anchor,
    clock: systemClock,
    random: systemRandom,
    sealer: nodeSealer,
    ...(options.tuning === undefined ? {} : { tuning: options.tuning }),
  };
  const keySource = protection === 'none' ? noneSource : testKey();
  const created = await createVolume(environment, { size, protection, durability, keySource });
  const volumeId = fromHex(created.volumeId, 16)!;
  const opened: Volume[] = [];
  const open = async (more: Partial<OpenOptions> = {}): Promise<Volume> => {
    const volume = await openVolume(environment, { volumeId, keySource, ...more });
    opened.push(volume);
    return volume;
  };
  const volume = await open();
  const dispose = async (): Promise<void> => {
    for (const one of opened) await one.close().catch(() => undefined); // a test may have broken it on purpose
    await place.dispose();
  };
  return { environment, volumeId, keySource, volume, open, dispose };
}

async function openPlace(
  kind: 'memory' | 'dir',
): Promise<{ store: Store; anchor: Anchor; dispose: () => Promise<void> }> {
  if (kind === 'memory') {
    return { store: new MemoryStore(new MemoryMedium()), anchor: new MemoryAnchor(), dispose: async () => undefined };
  }
  const folder = mkdtempSync(join(tmpdir(), 'caisson-volume-'));
  const store = await openDirStore(nodeFileSystem, join(folder, 'store'), { create: true });
  const anchor = await openFileAnchor(nodeFileSystem, join(folder, 'anchors'));
  return { store, anchor, dispose: async () => rmSync(folder, { recursive: true }) };
}
