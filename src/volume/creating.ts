/**
 * Creating: a new volume's keyring, first manifest, head and anchor. The head comes last but for the
 * anchor, so a volume exists wholly or not at all.
 */
import { sha256 } from '../crypto/digest.ts';
import { signingKeyFromSeed, volumeIdFromPublicKey } from '../crypto/signature.ts';
import { createKeyring } from '../keys/keyring.ts';
import { CaissonError } from '../lib/errors.ts';
import { HeadState } from '../manifest/head-format.ts';
import { ManifestKind } from '../manifest/manifest-format.ts';
import { buildManifest, createExact, readManifest, swapHead } from '../manifest/manifest.ts';
import { manifestKey, volumePrefix } from '../store/paths.ts';
import { publicInfoFrom } from './describe.ts';
import { checkSize } from './device-ranges.ts';
import { durabilityCode } from './volume-core.ts';
import type { CreateOptions, PublicVolumeInfo, VolumeEnvironment } from './volume-types.ts';
import { blockBytes } from '../segment/segment-format.ts';

const noDigest = new Uint8Array(32);
const noChain = new Uint8Array(16);

export async function createVolume(environment: VolumeEnvironment, options: CreateOptions): Promise<PublicVolumeInfo> {
  checkSize(options.size);
  if ((options.protection === 'none') !== (options.keySource.kind === 'none')) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      'a volume without protection has no key, a sealed one needs one',
    );
  }
  const { store, random, anchor, clock } = environment;
  const keyring = await createKeyring({ source: options.keySource, random, volumeIdOf: volumeIdFromPublicKey });
  try {
    const signingKey = signingKeyFromSeed(keyring.signingSeed);
    const volumeId = keyring.volumeId;
    const prefix = volumePrefix(volumeId);
    const epoch = 1;
    const manifest = {
      kind: ManifestKind.create,
      protection: options.protection === 'sealed' ? (1 as const) : (0 as const),
      volumeId,
      number: 0,
      epoch,
      previousDigest: noDigest,
      writerKey: signingKey.publicKey,
      floor: 0,
      time: clock.wall(),
      parent: undefined,
      keyring: keyring.encode(),
      pins: [],
      catalog: [],
      added: [],
      dropped: [],
      salt: random.bytes(16),
    };
    const state = {
      blockCount: options.size / blockBytes,
      durability: durabilityCode(options.durability),
      root: undefined,
      sequence: 0,
      chain: noChain,
      nextOrdinal: 0,
      keyEpoch: keyring.currentKeyEpoch,
      rekeyBelow: 0,
      pageCounts: [],
      usage: [],
      snapshots: [],
    };
    const bytes = buildManifest(manifest, state, keyring.dataKey(keyring.currentKeyEpoch), signingKey);
    const digest = sha256(bytes);
    await createExact(store, manifestKey(prefix, 0, digest), bytes);
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
    await anchor.advance({ volumeId, epoch, manifestNumber: 0, manifestDigest: digest, sequence: 0, chain: noChain });
    const read = await readManifest(store, prefix, volumeId, 0, digest);
    return publicInfoFrom(read.manifest, digest, { count: 0, bytes: 0 });
  } finally {
    keyring.wipe();
  }
}
