/** Creating: a new volume's keyring, first manifest, head and anchor. */
import { volumeIdFromPublicKey } from '../crypto/signature.ts';
import { createKeyring } from '../keys/keyring.ts';
import { CaissonError } from '../lib/errors.ts';
import { ManifestKind } from '../manifest/manifest-format.ts';
import { blockBytes } from '../segment/segment-format.ts';
import { publicInfoFrom } from './describe.ts';
import { checkSize } from './device-ranges.ts';
import { publishFirst } from './first-manifest.ts';
import { durabilityCode } from './volume-core.ts';
import type { CreateOptions, PublicVolumeInfo, VolumeEnvironment } from './volume-types.ts';

export async function createVolume(environment: VolumeEnvironment, options: CreateOptions): Promise<PublicVolumeInfo> {
  checkSize(options.size);
  if ((options.protection === 'none') !== (options.keySource.kind === 'none')) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      'a volume without protection has no key, a sealed one needs one',
      { remedy: 'Leave out the key with protection "none"; give one with protection "sealed".' },
    );
  }
  const { random } = environment;
  const keyring = await createKeyring({ source: options.keySource, random, volumeIdOf: volumeIdFromPublicKey });
  try {
    const { manifest, digest } = await publishFirst(environment, keyring, {
      kind: ManifestKind.create,
      protection: options.protection === 'sealed' ? 1 : 0,
      parent: undefined,
      catalog: [],
      state: {
        blockCount: options.size / blockBytes,
        durability: durabilityCode(options.durability),
        root: undefined,
        pageCounts: [],
        usage: [],
      },
    });
    return publicInfoFrom(manifest, digest, { count: 0, bytes: 0 });
  } finally {
    keyring.wipe();
  }
}
