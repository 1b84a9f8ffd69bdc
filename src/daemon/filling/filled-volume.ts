/**
 * Makes a new volume with content: an import or a copy. Until the content is proved the volume has no head,
 * so it does not exist for anybody, and its name says `unfinished`; an interruption therefore leaves nothing
 * that could be taken for a volume, and the same command, or `volume rm`, clears what it left.
 *
 * Invariant: head and name become whole under the writer lock, so that nobody who clears what broke off can clear
 * a volume between its check and its head.
 */
import type { OperationRequest } from '../../admin/operations.ts';
import type { FillAnswer } from '../../admin/schema.ts';
import type { FillReport } from '../../backup/fill.ts';
import { WithheldHeadStore } from '../../backup/withheld-head.ts';
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';
import { headKey, volumePrefix } from '../../store/paths.ts';
import type { Store } from '../../store/store.ts';
import type { PublicVolumeInfo, Volume } from '../../volume/volume-types.ts';
import { anchorChoice, anchorOfEntry } from '../anchors.ts';
import { hintOf } from '../credentials.ts';
import type { OperationsContext } from '../operations-context.ts';
import type { Engine, OpenEnvironment } from '../parts.ts';
import { bytesOfId, closing, defaultDurability, detailsOf } from '../volume-details.ts';
import type { VolumeEntry } from '../volume-names.ts';

export type NewVolume = Pick<
  OperationRequest<'createVolume'>,
  'name' | 'store' | 'protection' | 'durability' | 'credential' | 'key' | 'size' | 'overwriteDevice' | 'anchor'
>;

export interface Filling {
  readonly digest: FillAnswer['digest'];
  readonly fill: (volume: Volume) => Promise<FillReport>;
}

export async function makeFilled(
  context: OperationsContext,
  wanted: NewVolume,
  { digest, fill }: Filling,
): Promise<FillAnswer> {
  const { parts, log } = context;
  const startedAt = performance.now();
  const storeUrl = wanted.store ?? parts.configuration.store;
  if (storeUrl === undefined) throw storeMissing();
  const anchor = anchorChoice(wanted.anchor, parts, wanted.credential);
  const keySource = await parts.keySource(wanted.credential);
  const engine = await parts.engine();
  const clearedObjects = await clearUnfinished(context, wanted.name);
  const { overwriteDevice = false } = wanted;
  const opened = await parts.openEnvironment(storeUrl, { create: true, overwriteDevice, anchor, log });
  return closing(
    () => opened.close(),
    async () => {
      const store = new WithheldHeadStore(opened.environment.store);
      const environment = { ...opened.environment, store };
      const { size, protection, durability = defaultDurability(store) } = wanted;
      const info = await engine.createVolume(environment, { size, protection, durability, keySource });
      const volumeId = bytesOfId(info.volumeId);
      return orRemove(context, engine, opened, { ...wanted, anchor }, info, async (entry) => {
        const volume = await engine.openVolume(environment, { volumeId, keySource });
        const report = await closing(
          () => volume.close(),
          () => fill(volume),
        );
        const filled = await underLock(opened.environment.store, volumeId, async () => {
          await store.reveal();
          // Fails when somebody cleared the objects before the lock was taken again.
          const inspected = await engine.inspectVolume(opened.environment, volumeId);
          await context.names.finish(wanted.name);
          return inspected;
        });
        const seconds = Math.round(performance.now() - startedAt) / 1000;
        const cleared = clearedObjects === 0 ? {} : { clearedObjects };
        return { volume: detailsOf(wanted.name, entry, filled, false), ...report, digest, seconds, ...cleared };
      });
    },
  );
}

async function underLock<Value>(store: Store, volumeId: Uint8Array, act: () => Promise<Value>): Promise<Value> {
  const lock = await store.lock(volumePrefix(volumeId));
  return closing(() => lock.release(), act);
}

/** The name is taken first and given back last. If what was written cannot be removed now, the name keeps leading to it. */
async function orRemove<Value>(
  { names }: OperationsContext,
  engine: Engine,
  opened: OpenEnvironment,
  { name, key, credential, anchor }: NewVolume & { readonly anchor: string },
  { volumeId }: PublicVolumeInfo,
  act: (entry: VolumeEntry) => Promise<Value>,
): Promise<Value> {
  const entry = {
    store: opened.environment.store.url,
    volumeId,
    key: key ?? hintOf(credential),
    ...anchorOfEntry(anchor),
  };
  const remove = async (): Promise<unknown> => engine.removeVolume(opened.environment, bytesOfId(volumeId));
  try {
    await names.add(name, { ...entry, unfinished: true });
  } catch (error) {
    await remove().catch(() => undefined); // the first error counts
    throw error;
  }
  try {
    return await act(entry);
  } catch (error) {
    try {
      await remove();
      await names.remove(name);
    } catch (undoError) {
      throw remainsOf(name, error, undoError);
    }
    throw error;
  }
}

/** What failed first decides, but nobody may believe that nothing is left. */
function remainsOf(name: string, error: unknown, undoError: unknown): CaissonError {
  const { kind, code } = error instanceof CaissonError ? error : ({ kind: 'io', code: 'store-io' } as const);
  const message = `${messageOf(error)}; what was written could not be removed: ${messageOf(undoError)}`;
  return new CaissonError(kind, code, message, {
    remedy: `Remove it with "caisson volume rm ${name}", or run the same command again, which clears it first.`,
    details: { name },
    cause: error,
  });
}

/**
 * What an earlier try under this name left; one that is still at work holds its writer lock and is left alone. One that
 * was killed after its last step, when the head was written, made a whole volume: it gets its name instead.
 */
async function clearUnfinished({ parts, names, log }: OperationsContext, name: string): Promise<number> {
  if (names.list().get(name)?.unfinished !== true) {
    names.checkFree(name);
    return 0;
  }
  const entry = names.findAny(name);
  const engine = await parts.engine();
  const opened = await parts.openEnvironment(entry.store, { create: false, log });
  const removedObjects = await closing(
    () => opened.close(),
    async () => {
      if (!(await hasHead(opened.environment.store, entry))) return removeRemains(engine, opened, entry, name);
      await names.finish(name);
      throw wasWhole(name);
    },
  );
  await names.remove(name);
  return removedObjects;
}

async function hasHead(store: Store, { volumeId }: VolumeEntry): Promise<boolean> {
  try {
    await store.stat(headKey(volumePrefix(bytesOfId(volumeId))));
    return true;
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) return false;
    throw error;
  }
}

function wasWhole(name: string): CaissonError {
  return new CaissonError('invalid', 'name-exists', `${name} is whole: the command that was killed had just ended`, {
    remedy: `Use it, or remove it with "caisson volume rm ${name}" to begin anew.`,
    details: { name },
  });
}

async function removeRemains(
  engine: Engine,
  opened: OpenEnvironment,
  { volumeId }: VolumeEntry,
  name: string,
): Promise<number> {
  try {
    const { removedObjects } = await engine.removeVolume(opened.environment, bytesOfId(volumeId));
    return removedObjects;
  } catch (error) {
    if (isCaissonError(error, 'volume-missing')) return 0;
    if (!isCaissonError(error, 'volume-open-elsewhere')) throw error;
    throw new CaissonError('fenced', 'volume-busy', `${name} is being imported right now`, {
      remedy: 'Wait for it, or stop that command.',
      details: { name },
      cause: error,
    });
  }
}

function storeMissing(): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', 'no store was given', {
    remedy: 'Say where with --store dir:/some/folder, or set "store" in the configuration.',
  });
}
