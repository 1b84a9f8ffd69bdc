/**
 * Rekeying: a new data key seals everything from one manifest on; what older keys sealed is sealed anew by the cleaner,
 * while the volume is in use; a signed manifest says when nothing live is left under an older key
 * (docs/cleaning-and-rekey.md).
 */
import type { KeySource } from '../keys/key-source.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import type { DecodedManifest } from '../manifest/manifest-format.ts';
import { openState, readManifest } from '../manifest/manifest.ts';
import { manifestKey } from '../store/paths.ts';
import type { VolumeCore } from './volume-core.ts';

/** Puts the new key into the keyring; the caller publishes, and only then is anything sealed under it. */
export async function beginRekey(core: VolumeCore, renewWith: KeySource | undefined): Promise<void> {
  if (core.protection === 'none') {
    throw new CaissonError('invalid', 'unsupported', 'a volume without protection has no key that could be changed', {
      remedy: 'Create a sealed volume and copy the content.',
    });
  }
  // Asked first, so that a refusal changes nothing.
  if (renewWith !== undefined && !core.keyring.isFull) await core.keyring.renew(renewWith);
  core.keyring.addDataKey();
}

/**
 * Forgets the keys from before the rekey that nothing needs any more. Snapshots and clones keep theirs: dead objects that
 * a pin needs are still sealed under them, and so are the pinned manifests (`ofPins`). Returns the epochs that stay.
 */
export function forgetOldKeys(core: VolumeCore, ofPins: ReadonlySet<number>): number[] {
  const { keyring, table, published } = core;
  const needed = new Set(ofPins);
  const inherited = new Set<string>();
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry === undefined || entry.keyEpoch === 0) continue;
    if (table.isOwn(index)) needed.add(entry.keyEpoch);
    else inherited.add(`${toHex(entry.lineage)} ${entry.keyEpoch}`);
  }
  const old = keyring.keyEpochs.filter((epoch) => epoch < published.rekeyBelow);
  const kept = old.filter((epoch) => needed.has(epoch));
  for (const epoch of old) if (!needed.has(epoch)) keyring.removeDataKey(epoch);
  keyring.removeInherited(({ lineage, epoch }) => !inherited.has(`${toHex(lineage)} ${epoch}`));
  return kept;
}

/** The epochs under which the sealed parts of pinned manifests lie; which one, only trying tells. */
export async function epochsOfPins(core: VolumeCore): Promise<Set<number>> {
  const { keyring, published, prefix, volumeId, environment } = core;
  const needed = new Set<number>();
  for (const pin of published.pins) {
    const { manifest } = await readManifest(environment.store, prefix, volumeId, pin.number, pin.digest);
    const name = manifestKey(prefix, pin.number, pin.digest);
    for (const epoch of keyring.keyEpochs) if (opens(manifest, keyring.dataKey(epoch), name)) needed.add(epoch);
  }
  return needed;
}

function opens(manifest: DecodedManifest, dataKey: Uint8Array, name: string): boolean {
  try {
    openState(manifest, dataKey, name);
    return true;
  } catch (error) {
    if (isCaissonError(error, 'manifest-tampered')) return false;
    throw error;
  }
}
