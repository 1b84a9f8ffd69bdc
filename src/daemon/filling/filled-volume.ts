/**
 * Makes a new volume with content: an import or a copy. Until the content is proved the volume has no head,
 * so it does not exist for anybody, and its name says `unfinished`; an interruption therefore leaves nothing
 * that could be taken for a volume, and the same command, or `volume rm`, clears what it left.
 */
import type { OperationRequest } from '../../admin/operations.ts';
import type { FillAnswer } from '../../admin/schema.ts';
import type { FillReport } from '../../backup/fill.ts';
import { WithheldHeadStore } from '../../backup/withheld-head.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
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
  await clearUnfinished(context, wanted.name);
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
        await store.reveal();
        await context.names.finish(wanted.name);
        const filled = await engine.inspectVolume(opened.environment, volumeId);
        const seconds = Math.round(performance.now() - startedAt) / 1000;
        return { volume: detailsOf(wanted.name, entry, filled, false), ...report, digest, seconds };
      });
    },
  );
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
    await remove()
      .then(() => names.remove(name))
      .catch(() => undefined);
    throw error;
  }
}

/** What an earlier try under this name left; one that is still at work holds its writer lock and is left alone. */
async function clearUnfinished({ parts, names, log }: OperationsContext, name: string): Promise<void> {
  if (names.list().get(name)?.unfinished !== true) return names.checkFree(name);
  const entry = names.findAny(name);
  const engine = await parts.engine();
  const opened = await parts.openEnvironment(entry.store, { create: false, log });
  await closing(
    () => opened.close(),
    async () => removeRemains(engine, opened, entry, name),
  );
  await names.remove(name);
}

async function removeRemains(
  engine: Engine,
  opened: OpenEnvironment,
  { volumeId }: VolumeEntry,
  name: string,
): Promise<void> {
  try {
    await engine.removeVolume(opened.environment, bytesOfId(volumeId));
  } catch (error) {
    if (isCaissonError(error, 'volume-missing')) return;
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
