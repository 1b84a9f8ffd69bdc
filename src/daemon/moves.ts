/**
 * `moveVolume`: a volume goes on in another store, in use or not (docs/moving.md).
 *
 * Invariant: the name says both stores from before the first copy until the source is empty, so that after a crash at
 * any moment the volume is found where it is, and the same command ends what was begun.
 */
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import { CaissonError } from '../lib/errors.ts';
import type { MoveReport, Volume } from '../volume/volume-types.ts';
import type { OperationsContext } from './operations-context.ts';
import type { OpenEnvironment } from './parts.ts';
import type { VolumeAccess } from './volume-access.ts';
import { bytesOfId, closing } from './volume-details.ts';
import type { VolumeEntry } from './volume-names.ts';

type Request = OperationRequest<'moveVolume'>;
type Context = Pick<OperationsContext, 'parts' | 'names' | 'log'>;

export async function moveVolume(
  context: OperationsContext,
  volumes: VolumeAccess,
  request: Request,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'moveVolume'>> {
  const { name } = request;
  const { parts, names, log } = context;
  volumes.refuseSnapshotsHeld(name, 'moved');
  const { volumeId } = await volumes.settled(name);
  const move = async (): Promise<MoveReport> => {
    // Made where there is none; whoever uses it from here on opens it again.
    const made = await parts.openEnvironment(request.store, {
      create: true,
      overwriteDevice: request.overwriteDevice ?? false,
      log,
    });
    const to = made.environment.store.url;
    await made.close();
    const entry = names.find(name);
    if (entry.store === to && entry.move !== undefined) return endMove(context, name, entry, onProgress, signal);
    const target = await openTarget(context, volumes, name, to);
    let isTaken = false;
    const takeTarget = (): void => void (isTaken = true);
    return closing(
      async () => (isTaken ? undefined : target.close()),
      async () =>
        volumes.use(name, request.credential, (volume, _, source) => {
          if (volume.readOnly) throw servedReadOnly(name);
          return moveOpen({ context, volumes, request, volume, source, target, takeTarget, onProgress, signal });
        }),
    );
  };
  const { host } = volumes;
  const report = host === undefined ? await move() : await host.whilePruning(volumeId, move);
  return { name, volumeId, ...report };
}

interface OpenMove {
  readonly context: Context;
  readonly volumes: VolumeAccess;
  readonly request: Request;
  readonly volume: Volume;
  readonly source: OpenEnvironment;
  readonly target: OpenEnvironment;
  /** The target belongs to the host from now on. */
  readonly takeTarget: () => void;
  readonly onProgress: OperationProgress | undefined;
  readonly signal: AbortSignal | undefined;
}

async function moveOpen(open: OpenMove): Promise<MoveReport> {
  const { context, volumes, request, volume, source, target, takeTarget, onProgress, signal } = open;
  const { names } = context;
  const { name, keepSource } = request;
  const { store, digester } = target.environment;
  const from = source.environment.store.url;
  if (store.url === from)
    throw new CaissonError('invalid', 'argument-invalid', `${name} is in ${store.url} already`, {
      details: { name, store: store.url },
    });
  await names.noteMove(name, { from, to: store.url });
  let isHosted = false;
  const report = await volume.move(store, {
    keepSource,
    ...(digester === undefined ? {} : { digester }),
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(signal === undefined ? {} : { signal }),
    onSwitched: async () => {
      isHosted = volumes.host?.replaceEnvironment(name, volume, target) ?? false;
      if (isHosted) takeTarget();
      await names.noteStore(name, store.url);
    },
  });
  if (isHosted) await source.close();
  if (keepSource || !report.sourceRemains) await names.noteMove(name, undefined);
  return report;
}

/** The volume is there already; its old store is not empty yet. */
async function endMove(
  { parts, names, log }: Context,
  name: string,
  { move, store, volumeId }: VolumeEntry,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<MoveReport> {
  const opened = await parts.openEnvironment(move!.from, { create: false, log });
  const engine = await parts.engine();
  const { removedObjects } = await closing(
    () => opened.close(),
    async () => engine.removeMovedSource(opened.environment, bytesOfId(volumeId), { onProgress, signal }),
  );
  await names.noteMove(name, undefined);
  const nothing = { objectsCopied: 0, bytesCopied: 0, objectsPresent: 0, passes: 0, heldMilliseconds: 0 };
  return { store, ...nothing, removedObjects, sourceRemains: false };
}

async function openTarget(
  { parts, log }: Context,
  { host }: VolumeAccess,
  name: string,
  storeUrl: string,
): Promise<OpenEnvironment> {
  if (host?.get(name) !== undefined) return host.environments.use(storeUrl);
  return parts.openEnvironment(storeUrl, { create: false, log });
}

function servedReadOnly(name: string): CaissonError {
  return new CaissonError('denied', 'volume-read-only', `${name} is served read-only, and a move writes`, {
    remedy: `Close it with "caisson detach ${name}" or "caisson umount ${name}", then move it.`,
    details: { name },
  });
}
