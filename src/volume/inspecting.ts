/**
 * What the store shows of a volume to anybody, key or no key: checked by signature and digest. Names of snapshots
 * and sizes are sealed; ids, numbers and who descends from whom are not.
 */
import { toHex } from '../lib/hex.ts';
import { HeadState } from '../manifest/head-format.ts';
import { readHead, readManifest } from '../manifest/manifest.ts';
import { ManifestKind, PinKind } from '../manifest/manifest-format.ts';
import type { DecodedManifest } from '../manifest/manifest-format.ts';
import { volumePrefix } from '../store/paths.ts';
import { publicInfoFrom } from './describe.ts';
import { readCatalog } from './opening.ts';
import type { InspectedVolume, VolumeEnvironment, VolumeState } from './volume-types.ts';

const stateNames: Readonly<Record<HeadState, VolumeState>> = {
  [HeadState.open]: 'open',
  [HeadState.closed]: 'closed',
  [HeadState.erased]: 'erased',
  [HeadState.moved]: 'moved',
};

export async function inspectVolume(
  environment: Pick<VolumeEnvironment, 'store'>,
  volumeId: Uint8Array,
): Promise<InspectedVolume> {
  const { store } = environment;
  const prefix = volumePrefix(volumeId);
  const { head } = await readHead(store, prefix, volumeId);
  const { manifest, digest } = await readManifest(store, prefix, volumeId, head.number, head.manifestDigest);
  // What an erasure's catalog names may be deleted.
  const isErased = manifest.kind === ManifestKind.erase;
  const objects = isErased ? { count: 0, bytes: 0 } : (await readCatalog(store, { manifest, digest })).totals();
  return {
    ...publicInfoFrom(manifest, digest, objects),
    epoch: head.epoch,
    state: stateNames[head.state],
    ...lineageOf(manifest),
  };
}

function lineageOf({ parent, pins }: DecodedManifest): Pick<InspectedVolume, 'parent' | 'clones' | 'snapshotCount'> {
  return {
    parent:
      parent === undefined
        ? undefined
        : {
            volumeId: toHex(parent.volumeId),
            manifestNumber: parent.number,
            manifestDigest: toHex(parent.digest),
          },
    clones: pins.filter((pin) => pin.kind === PinKind.clone).map(({ id }) => toHex(id)),
    snapshotCount: pins.filter((pin) => pin.kind === PinKind.snapshot).length,
  };
}
