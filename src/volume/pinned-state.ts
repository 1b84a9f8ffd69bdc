/** Reading back the manifest that a pin names, with its sealed part. */
import type { Keyring } from '../keys/keyring.ts';
import { isCaissonError } from '../lib/errors.ts';
import { openState, readManifest, type ReadManifest } from '../manifest/manifest.ts';
import type { Pin } from '../manifest/manifest-format.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { manifestKey, volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';

export interface PinnedManifest {
  readonly read: ReadManifest;
  readonly state: ManifestState;
}

/** The pinned manifest, checked by the digest that the newest, signed one states. */
export async function readPinned(
  store: Store,
  volumeId: Uint8Array,
  keyring: Keyring,
  pin: Pin,
): Promise<PinnedManifest> {
  const prefix = volumePrefix(volumeId);
  const read = await readManifest(store, prefix, volumeId, pin.number, pin.digest);
  return { read, state: openStateOfAnyEpoch(read, keyring, manifestKey(prefix, pin.number, pin.digest)) };
}

/** The box is sealed under what was the newest data key then, which the public part does not say. */
function openStateOfAnyEpoch(read: ReadManifest, keyring: Keyring, name: string): ManifestState {
  const epochs = [...keyring.keyEpochs].reverse();
  for (const [tried, epoch] of epochs.entries()) {
    try {
      return openState(read.manifest, keyring.dataKey(epoch), name);
    } catch (error) {
      if (!isCaissonError(error, 'manifest-tampered') || tried === epochs.length - 1) throw error;
    }
  }
  throw new Error('a keyring has a data key');
}
