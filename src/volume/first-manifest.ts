/**
 * The first manifest of a volume, created or cloned, then its head, then its anchor. The head comes last but for the
 * anchor, so a volume exists wholly or not at all.
 */
import { sha256 } from '../crypto/digest.ts';
import { signingKeyFromSeed, type SigningKey } from '../crypto/signature.ts';
import type { Keyring } from '../keys/keyring.ts';
import { HeadState } from '../manifest/head-format.ts';
import type { ManifestPublic } from '../manifest/manifest-format.ts';
import { buildManifest, checkManifest, createExact, swapHead, type ReadManifest } from '../manifest/manifest.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { headKey, manifestKey, volumePrefix } from '../store/paths.ts';
import type { VolumeEnvironment } from './volume-types.ts';

const noDigest = new Uint8Array(32);
const noChain = new Uint8Array(16);
const epoch = 1;

/** What a creation and a clone say differently. */
export type FirstManifest = Pick<ManifestPublic, 'kind' | 'protection' | 'parent' | 'catalog'> & {
  readonly state: Pick<ManifestState, 'blockCount' | 'durability' | 'root' | 'pageCounts' | 'usage'>;
};

/** A first manifest that no head names yet. */
export interface StoredFirst {
  readonly manifest: ReadManifest;
  readonly signingKey: SigningKey;
}

export async function publishFirst(
  environment: VolumeEnvironment,
  keyring: Keyring,
  first: FirstManifest,
): Promise<ReadManifest> {
  return announceFirst(environment, await storeFirst(environment, keyring, first));
}

/** Makes the manifest in this very turn, after which the keyring may be wiped, and writes it. */
export async function storeFirst(
  environment: VolumeEnvironment,
  keyring: Keyring,
  first: FirstManifest,
): Promise<StoredFirst> {
  const { store, random, clock } = environment;
  const { volumeId } = keyring;
  const prefix = volumePrefix(volumeId);
  const signingKey = signingKeyFromSeed(keyring.signingSeed);
  const { state, ...named } = first;
  const keyEpoch = keyring.currentKeyEpoch;
  const bytes = buildManifest(
    {
      ...named,
      volumeId,
      number: 0,
      epoch,
      previousDigest: noDigest,
      writerKey: signingKey.publicKey,
      floor: 0,
      time: clock.wall(),
      keyring: keyring.encode(),
      pins: [],
      added: [],
      dropped: [],
      salt: random.bytes(16),
    },
    { ...state, sequence: 0, chain: noChain, nextOrdinal: 0, keyEpoch, rekeyBelow: 0, snapshots: [] },
    keyring.dataKey(keyEpoch),
    signingKey,
  );
  const digest = sha256(bytes);
  await createExact(store, manifestKey(prefix, 0, digest), bytes);
  return { manifest: checkManifest(bytes, digest, volumeId, 'the first one'), signingKey };
}

/** `check` runs once the head is there and before the anchor; if it fails, the head is taken back. */
export async function announceFirst(
  { store, random, anchor }: VolumeEnvironment,
  { manifest, signingKey }: StoredFirst,
  check: () => Promise<void> = () => Promise.resolve(),
): Promise<ReadManifest> {
  const { volumeId } = manifest.manifest;
  const { digest } = manifest;
  const prefix = volumePrefix(volumeId);
  const head = {
    state: HeadState.closed,
    volumeId,
    epoch,
    number: 0,
    manifestDigest: digest,
    holder: random.bytes(16),
    writerKey: signingKey.publicKey,
  };
  await swapHead(store, prefix, null, head, signingKey);
  try {
    await check();
  } catch (error) {
    await store.remove(headKey(prefix));
    throw error;
  }
  await anchor.advance({ volumeId, epoch, manifestNumber: 0, manifestDigest: digest, sequence: 0, chain: noChain });
  return manifest;
}
