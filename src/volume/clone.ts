/**
 * Clones: a new volume whose first manifest takes over a pinned state of another. It has an id, a keyring
 * and an anchor of its own, writes under its own prefix and key, and reads what it took over with copies of
 * the parent's data keys, so that either can be erased without the other.
 *
 * Order: the parent pins the state (and, for a clone in other hands, starts a new data key, so that the clone's
 * keyring opens nothing that the parent writes later), the clone's manifest goes out beside that; then the clone's head. A crash in between
 * leaves a pin that the parent's next opening takes away.
 */
import { equalBytes } from '../crypto/digest.ts';
import { volumeIdFromPublicKey } from '../crypto/signature.ts';
import { createKeyring, type Keyring } from '../keys/keyring.ts';
import { assert } from '../lib/assert.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { ManifestKind, PinKind, type CatalogReference, type Parent } from '../manifest/manifest-format.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { headKey, manifestKey, volumePrefix } from '../store/paths.ts';
import { publicInfoFrom } from './describe.ts';
import type { PublishExtras } from './checkpoints.ts';
import { announceFirst, storeFirst, type FirstManifest, type StoredFirst } from './first-manifest.ts';
import { readPinned } from './pinned-state.ts';
import { addPin, findSnapshot } from './snapshots.ts';
import { durabilityCode, type VolumeCore } from './volume-core.ts';
import type { BuiltState } from './publisher.ts';
import type { CloneOptions, PublicVolumeInfo, VolumeEnvironment } from './volume-types.ts';

const noDigest = new Uint8Array(32);

/** Publishes a manifest; `change` runs in the turn in which its state is frozen. */
export type PublishPins = (change: () => Pick<PublishExtras, 'mapKeyEpoch' | 'onBuilt'>) => Promise<void>;

/** A copy of a data key of this volume, or of one that it took something over from. */
type InheritedKey = Keyring['inherited'][number];

/** What a clone starts from. */
interface Origin {
  readonly parent: Parent;
  readonly state: ManifestState;
  readonly catalog: readonly CatalogReference[];
}

export async function createClone(
  core: VolumeCore,
  options: CloneOptions,
  publish: PublishPins,
  checkFence: () => Promise<void>,
): Promise<PublicVolumeInfo> {
  const { random } = core.environment;
  const snapshot = options.snapshot === undefined ? undefined : findSnapshot(core.published, options.snapshot);
  const pinned =
    snapshot === undefined
      ? undefined
      : await readPinned(core.environment.store, core.volumeId, core.keyring, snapshot);
  const inherited = inheritedKeys(core, snapshot?.number);
  const keyring = await createKeyring({
    source: options.keySource,
    random,
    volumeIdOf: volumeIdFromPublicKey,
    inherited,
  });
  let first: Promise<StoredFirst> | undefined;
  /** The clone's manifest is on its way while the parent's head is swapped; no head names it yet. */
  const begin = (parent: Parent, state: ManifestState, catalog: readonly CatalogReference[]): void => {
    first = storeFirst(core.environment, keyring, firstManifestOf(core, { parent, state, catalog }));
    first.catch(() => undefined);
  };
  try {
    await publish(() => {
      refuseNewKeys(inherited, inheritedKeys(core, snapshot?.number));
      const mapKeyEpoch = core.keys.keyEpoch;
      if (options.isolate !== false) core.keyring.addDataKey();
      const number = snapshot?.number ?? core.published.number + 1;
      addPin(core.published, {
        kind: PinKind.clone,
        id: keyring.volumeId,
        number,
        digest: snapshot?.digest ?? noDigest,
      });
      const onBuilt = (built: BuiltState): void => {
        const { state, catalog } = pinned === undefined ? built : { ...pinned, catalog: pinned.read.manifest.catalog };
        begin({ volumeId: core.volumeId, number, digest: snapshot?.digest ?? built.digest }, state, catalog);
      };
      return { mapKeyEpoch, onBuilt };
    });
    assert(first !== undefined, 'what was published was built');
    // A writer that took the parent over before the clone's head was there may have taken the pin away.
    const { manifest, digest } = await announceFirst(core.environment, await first, checkFence);
    return publicInfoFrom(manifest, digest, core.table.totals());
  } catch (error) {
    await removeStored(core, first);
    throw error;
  } finally {
    keyring.wipe();
  }
}

function firstManifestOf(core: VolumeCore, { parent, catalog, state }: Origin): FirstManifest {
  const { blockCount, root, pageCounts, usage } = state;
  return {
    kind: ManifestKind.clone,
    protection: core.keys.protectionCode,
    parent,
    catalog,
    state: { blockCount, root, pageCounts, usage, durability: durabilityCode(core.durability) },
  };
}

/** A manifest that no head will name. Where it cannot be removed it takes a little space and does no harm. */
async function removeStored({ environment }: VolumeCore, stored: Promise<StoredFirst> | undefined): Promise<void> {
  try {
    const first = await stored;
    if (first === undefined) return;
    const { manifest, digest } = first.manifest;
    const prefix = volumePrefix(manifest.volumeId);
    // A head of whose swap nothing was heard may be there after all, and needs its manifest.
    if ((await headVersion(environment.store, prefix)) === undefined)
      await environment.store.remove(manifestKey(prefix, 0, digest));
  } catch {
    // The failure that led here is the one to tell.
  }
}

async function headVersion(store: VolumeEnvironment['store'], prefix: string): Promise<string | undefined> {
  try {
    return await store.version(headKey(prefix));
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) return undefined;
    throw error;
  }
}

/** A rekey that began while the clone's keyring was made seals under a key that the keyring does not have. */
function refuseNewKeys(had: readonly InheritedKey[], needed: readonly InheritedKey[]): void {
  const isThere = (key: InheritedKey): boolean =>
    had.some(({ lineage, epoch }) => epoch === key.epoch && equalBytes(lineage, key.lineage));
  if (needed.every(isThere)) return;
  throw new CaissonError('transient', 'volume-busy', 'the volume got a new data key while it was being cloned', {
    remedy: 'Clone it again; nothing was changed.',
  });
}

/** Copies of the data keys under which the objects of the state lie; `number` undefined: of the newest state. */
function inheritedKeys(core: VolumeCore, number: number | undefined): InheritedKey[] {
  const { keyring, table, volumeId } = core;
  const keys = new Map<string, { lineage: Uint8Array; epoch: number; key: Uint8Array }>();
  const add = (lineage: Uint8Array, epoch: number): void => {
    const name = `${toHex(lineage)} ${epoch}`;
    if (!keys.has(name)) keys.set(name, { lineage, epoch, key: keyring.keyOf(lineage, epoch) });
  };
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry === undefined || entry.keyEpoch === 0) continue;
    const needed =
      number === undefined
        ? entry.death === 0
        : entry.published && entry.birth <= number && (entry.death === 0 || entry.death > number);
    if (needed) add(entry.lineage, entry.keyEpoch);
  }
  if (number === undefined) add(volumeId, core.keys.keyEpoch);
  return [...keys.values()];
}
