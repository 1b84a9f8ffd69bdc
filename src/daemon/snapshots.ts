/** Operations on snapshots: list, take, remove, restore, compare. */
import type { DiffRequest, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { SnapshotAnswer } from '../admin/schema.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { diffExtentsBatchMax } from '../lib/limits.ts';
import { checkSnapshotName } from '../lib/names.ts';
import type { ChangedExtent, SnapshotInfo, Volume } from '../volume/volume-types.ts';
import type { OperationsContext } from './operations-context.ts';
import { answerOf, displayNames, namedIn } from './relatives.ts';
import type { VolumeAccess } from './volume-access.ts';

export async function listSnapshots(
  { names }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential }: OperationRequest<'listSnapshots'>,
): Promise<OperationResponse<'listSnapshots'>> {
  const hosted = volumes.hosted(name);
  const found =
    hosted === undefined
      ? // Beside whoever may have it open elsewhere: no writer lock is needed to look.
        await volumes.withStore(name, async ({ engine, environment, volumeId }) =>
          engine.listSnapshots(environment, { volumeId, keySource: await volumes.keySource(name, credential) }),
        )
      : hosted.snapshots();
  return { snapshots: found.map((snapshot) => answerOf(names, snapshot)) };
}

export async function createSnapshot(
  { names, daemon }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, snapshot }: OperationRequest<'createSnapshot'>,
): Promise<OperationResponse<'createSnapshot'>> {
  checkSnapshotName(snapshot);
  return volumes.use(name, credential, async (volume) => {
    if (daemon?.mountedOn(name) === undefined)
      return { ...answerOf(names, await volume.snapshot(snapshot)), frozen: false };
    // What can be published before need not be waited for while the file system stands still.
    await volume.checkpoint();
    const { value, frozen } = await daemon.whileFrozen(name, () => volume.snapshot(snapshot));
    return { ...answerOf(names, value), frozen };
  });
}

export async function removeSnapshot(
  { names, daemon }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, snapshot }: OperationRequest<'removeSnapshot'>,
): Promise<SnapshotAnswer> {
  const { volumeId } = names.find(name);
  const remove = (): Promise<SnapshotAnswer> =>
    volumes.use(name, credential, async (volume) => {
      if (findSnapshot(volume, name, snapshot).clones.length > 0) await volume.releaseGoneClones();
      const found = findSnapshot(volume, name, snapshot);
      const holder = daemon?.host
        .namesOf(volumeId)
        .find((held) => [found.name, found.id].some((text) => held.endsWith(`@${text}`)));
      if (holder !== undefined) throw heldHere(holder);
      try {
        await volume.removeSnapshot(found.name);
      } catch (error) {
        if (!isCaissonError(error, 'snapshot-needed')) throw error;
        throw neededBy(names, name, found, error);
      }
      return answerOf(names, found);
    });
  return daemon === undefined ? remove() : daemon.host.whilePruning(volumeId, remove);
}

export async function restoreSnapshot(
  { names }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, snapshot }: OperationRequest<'restoreSnapshot'>,
): Promise<SnapshotAnswer> {
  volumes.refuseOpen(name, 'restored');
  return volumes.use(name, credential, async (volume) => {
    const found = findSnapshot(volume, name, snapshot);
    await volume.restore(found.name);
    return answerOf(names, found);
  });
}

/** Tells the extents as they are found, ascending, in batches. */
export async function diffSnapshots(
  volumes: VolumeAccess,
  { name, credential, from, to }: DiffRequest,
  onExtents: (extents: readonly ChangedExtent[]) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  await volumes.withStore(name, async ({ engine, environment, volumeId }) => {
    const keySource = await volumes.keySource(name, credential);
    const options = { volumeId, keySource, from, ...(to === undefined ? {} : { to }) };
    let batch: ChangedExtent[] = [];
    for await (const extent of engine.diffSnapshots(environment, options)) {
      signal?.throwIfAborted();
      batch.push(extent);
      if (batch.length < diffExtentsBatchMax) continue;
      onExtents(batch);
      batch = [];
    }
    if (batch.length > 0) onExtents(batch);
  });
}

function findSnapshot(volume: Volume, name: string, wanted: string): SnapshotInfo {
  return snapshotNamed(volume.snapshots(), name, wanted);
}

/** By name first: a name may look like the id of another. */
export function snapshotNamed(all: readonly SnapshotInfo[], name: string, wanted: string): SnapshotInfo {
  const found = all.find((snapshot) => snapshot.name === wanted) ?? all.find(({ id }) => id === wanted);
  if (found !== undefined) return found;
  const known = all.slice(-8).map((snapshot) => JSON.stringify(snapshot.name));
  const more = all.length > known.length ? ', …' : '';
  throw new CaissonError('invalid', 'snapshot-missing', `${name} has no snapshot ${JSON.stringify(wanted)}`, {
    remedy:
      known.length === 0
        ? `It has none. Take one with "caisson snapshot create ${name} NAME".`
        : `It has ${known.toReversed().join(', ')}${more}; see "caisson snapshot ls ${name}".`,
    details: { name, snapshot: wanted },
  });
}

function heldHere(holder: string): CaissonError {
  return new CaissonError('fenced', 'volume-busy', `this daemon exports ${holder}`, {
    remedy: `Close it first with "caisson detach ${holder}" or "caisson umount ${holder}".`,
    details: { name: holder },
  });
}

function neededBy(
  names: OperationsContext['names'],
  name: string,
  { name: snapshot, clones }: SnapshotInfo,
  cause: unknown,
): CaissonError {
  const them = displayNames(namedIn(names, clones));
  return new CaissonError('invalid', 'snapshot-needed', `${them} started from ${name}@${snapshot} and reads from it`, {
    remedy: 'Remove or erase what started from it first, or keep the snapshot.',
    details: { name, snapshot, clones: clones.length },
    cause,
  });
}
