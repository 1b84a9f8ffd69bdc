/**
 * Carries out every operation of the admin API, in the daemon or in a command's own process; the
 * only difference is whether a `VolumeHost` holds volumes open.
 */
import type { OperationRequest, OperationResponse, Operations } from '../admin/operations.ts';
import type { KeyHint, VolumeDetails, VolumeSummary } from '../admin/schema.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { checkReference } from '../lib/names.ts';
import { checkVolumeSize } from '../lib/sizes.ts';
import { anchorChoice, anchorOfEntry } from './anchors.ts';
import { credentialOfEntry, hintOf } from './credentials.ts';
import type { DaemonControl } from './daemon-control.ts';
import { isHashedEntry, protectionOfEntry } from './hashed-entry.ts';
import { nameOrRemove } from './name-or-remove.ts';
import type { OperationsContext } from './operations-context.ts';
import type { OpenEnvironment } from './parts.ts';
import { displayNames, lineageOf, namedIn } from './relatives.ts';
import { transferOperations } from './transfer-operations.ts';
import { VolumeAccess } from './volume-access.ts';
import { bytesOfId, closing, defaultDurability, detailsOf } from './volume-details.ts';
import type { VolumeEntry, VolumeNames } from './volume-names.ts';

export function createOperations(context: OperationsContext): Operations {
  const { parts, names, daemon } = context;
  const volumes = new VolumeAccess(context);
  return {
    status: async () => requireDaemon(daemon).status(),
    stop: async () => requireDaemon(daemon).stop(),
    attachVolume: async (request) => requireDaemon(daemon).attach(request),
    detachVolume: async ({ name }) => requireDaemon(daemon).detach(checkReference(name)),
    mountVolume: async (request) => requireDaemon(daemon).mount(request),
    unmountVolume: async (request) => unmountVolume(context, request),
    listVolumes: async () => ({
      volumes: [...names.list()].map(([name, entry]) => summaryOf(name, entry, volumes.host?.get(name) !== undefined)),
    }),
    createVolume: async (request) => createVolume(context, request),
    createHashedVolume: async (request, onProgress, signal) =>
      (await import('./hashed-volumes.ts')).createHashedVolume(context, request, onProgress, signal),
    adoptVolume: async (request) => adoptVolume(context, request),
    ...transferOperations(context, volumes),
    inspectVolume: async ({ name, credential, unlock }) => volumes.inspect(name, credential, unlock),
    resizeVolume: async ({ name, size, credential }) => {
      checkVolumeSize(size);
      return volumes.use(name, credential, async (volume, entry) => {
        await volume.resize(size);
        return detailsOf(name, entry, volume.info(), volumes.host?.get(name) !== undefined);
      });
    },
    removeVolume: async (request) => removeVolume(context, volumes, request),
    eraseVolume: async (request, onProgress) =>
      (await import('./erasures.ts')).eraseVolume(context, volumes, request, onProgress),
    checkReceipt: async (request) => (await import('./erasures.ts')).checkReceipt(context, request),
    listSnapshots: async (request) => (await import('./snapshots.ts')).listSnapshots(context, volumes, request),
    createSnapshot: async (request) => (await import('./snapshots.ts')).createSnapshot(context, volumes, request),
    removeSnapshot: async (request) => (await import('./snapshots.ts')).removeSnapshot(context, volumes, request),
    restoreSnapshot: async (request) => (await import('./snapshots.ts')).restoreSnapshot(context, volumes, request),
    cleanVolume: async (request, onProgress, signal) =>
      (await import('./housekeeping.ts')).cleanVolume(volumes, request, onProgress, signal),
    rekeyVolume: async (request, onProgress, signal) =>
      (await import('./housekeeping.ts')).rekeyVolume(context, volumes, request, onProgress, signal),
    cloneVolume: async (request) => (await import('./clones.ts')).cloneVolume(context, volumes, request),
    verifyVolume: async (request, onProgress) => volumes.verify(request, onProgress),
    listKeys: async ({ name }) => ({ slots: [...(await volumes.keySlots(name))] }),
    addKey: async ({ name, credential, newCredential }) => {
      const source = await parts.keySource(newCredential);
      return volumes.use(name, credential, async (volume) => volume.addKey(source));
    },
    removeKey: async ({ name, credential, slot }) => {
      await volumes.use(name, credential, async (volume) => volume.removeKey(slot));
      return {};
    },
    changeKey: async ({ name, credential, slot, newCredential, key }) => {
      const source = await parts.keySource(newCredential);
      const changed = await volumes.use(name, credential, async (volume) => volume.changeKey(slot, source));
      if (key !== undefined) await names.replaceKeyHint(name, key);
      return changed;
    },
    mintCapability: async (request) =>
      (await import('./capability-operations.ts')).mintCapability(context, volumes, request),
    revokeCapabilities: async ({ name }) => (await import('./capability-operations.ts')).revoke(context, name),
    generateKey: async ({ path: file, credentials }) => {
      await parts.generateKeyFile(file, credentials ?? []);
      return { path: file };
    },
    doctor: async ({ store }) => (await import('./doctor.ts')).examine(context, store),
    bench: async (request, onProgress) => (await import('./bench.ts')).measure(context, request, onProgress),
  };
}

async function unmountVolume(
  { parts, daemon, log }: OperationsContext,
  { target }: OperationRequest<'unmountVolume'>,
): Promise<OperationResponse<'unmountVolume'>> {
  if (daemon !== undefined) return daemon.unmount(target);
  const unmounted = await (await parts.mounts(log)).unmount(target);
  return { ...unmounted, notes: [...unmounted.notes] };
}

async function createVolume(
  { parts, names, log }: OperationsContext,
  request: OperationRequest<'createVolume'>,
): Promise<VolumeDetails> {
  const { name, size, protection, credential } = request;
  names.checkFree(name);
  checkVolumeSize(size);
  const storeUrl = request.store ?? parts.configuration.store;
  if (storeUrl === undefined) {
    throw new CaissonError('invalid', 'argument-invalid', 'no store was given', {
      remedy: 'Say where with --store dir:/some/folder, or set "store" in the configuration.',
    });
  }
  const anchor = anchorChoice(request.anchor, parts, credential);
  const keySource = await parts.keySource(credential);
  const engine = await parts.engine();
  const opened = await parts.openEnvironment(storeUrl, {
    create: true,
    anchor,
    overwriteDevice: request.overwriteDevice ?? false,
    log,
  });
  return closing(
    () => opened.close(),
    async () => {
      const durability = request.durability ?? defaultDurability(opened.environment.store);
      const info = await engine.createVolume(opened.environment, { size, protection, durability, keySource });
      const entry = {
        store: opened.environment.store.url,
        volumeId: info.volumeId,
        key: request.key ?? hintOf(credential),
        ...anchorOfEntry(anchor),
      };
      await nameOrRemove(names, name, entry, () => engine.removeVolume(opened.environment, bytesOfId(info.volumeId)));
      return detailsOf(name, entry, info, false);
    },
  );
}

async function adoptVolume(
  context: OperationsContext,
  request: OperationRequest<'adoptVolume'>,
): Promise<VolumeDetails> {
  const { parts, names, log } = context;
  const { name, store: storeUrl, root } = request;
  if (root !== undefined) return (await import('./hashed-volumes.ts')).adoptHashedVolume(context, name, storeUrl, root);
  names.checkFree(name);
  const anchor = anchorChoice(request.anchor, parts, request.credential);
  const engine = await parts.engine();
  const opened = await parts.openEnvironment(request.store, { create: false, anchor, log });
  return closing(
    () => opened.close(),
    async () => {
      const { store } = opened.environment;
      const volumeId = request.volumeId ?? onlyVolume(await engine.listVolumes(store), store.url);
      const info = await engine.inspectVolume(opened.environment, bytesOfId(volumeId));
      const key: KeyHint = request.key ?? { kind: info.keySlots[0]?.kind ?? 'passphrase' };
      const entry = { store: store.url, volumeId, key, ...anchorOfEntry(anchor) };
      if (request.acceptMissingAnchor) {
        const credential = request.credential ?? (await credentialOfEntry(parts, request.name, entry));
        const keySource = await parts.keySource(credential);
        // Opening for writing is what makes the anchor here remember the volume from now on.
        const volume = await engine.openVolume(opened.environment, {
          volumeId: bytesOfId(volumeId),
          keySource,
          acceptMissingAnchor: true,
        });
        await volume.close();
      }
      await names.add(request.name, entry);
      return detailsOf(request.name, entry, info, false);
    },
  );
}

function summaryOf(name: string, entry: VolumeEntry, open: boolean): VolumeSummary {
  return { name, ...entry, protection: protectionOfEntry(entry), open };
}

function onlyVolume(found: readonly string[], store: string): string {
  const [first] = found;
  if (first === undefined) {
    throw new CaissonError('invalid', 'volume-missing', `${store} holds no volume`, {
      remedy: 'Check the store with --store.',
    });
  }
  if (found.length === 1) return first;
  throw new CaissonError('invalid', 'argument-invalid', `${store} holds ${found.length} volumes`, {
    remedy: `Say which with --id: ${found.slice(0, 8).join(', ')}${found.length > 8 ? ', …' : ''}`,
    details: { count: found.length },
  });
}

async function removeVolume(
  context: OperationsContext,
  volumes: VolumeAccess,
  request: OperationRequest<'removeVolume'>,
): Promise<OperationResponse<'removeVolume'>> {
  const { names } = context;
  const { name, aliasOnly } = request;
  const entry = names.findAny(name);
  volumes.refuseHeld(name, 'removed');
  if (isHashedEntry(entry)) return (await import('./hashed-volumes.ts')).removeHashedVolume(context, request, entry);
  if (aliasOnly) {
    await names.remove(name);
    return { removedObjects: 0 };
  }
  const removed = await removeFromStore(context, name, entry);
  await names.remove(name);
  return removed;
}

async function removeFromStore(
  context: OperationsContext,
  name: string,
  entry: VolumeEntry,
): Promise<OperationResponse<'removeVolume'>> {
  let opened: OpenEnvironment;
  try {
    opened = await context.parts.openEnvironment(entry.store, { create: false, log: context.log });
  } catch (error) {
    // With the store went all that an import that broke off had written.
    if (entry.unfinished === true && isCaissonError(error, 'store-missing')) return { removedObjects: 0 };
    throw error;
  }
  return closing(
    () => opened.close(),
    () => removeObjects(context, opened, name, entry),
  );
}

async function removeObjects(
  { parts, names }: OperationsContext,
  { environment }: OpenEnvironment,
  name: string,
  entry: VolumeEntry,
): Promise<OperationResponse<'removeVolume'>> {
  const engine = await parts.engine();
  const volumeId = bytesOfId(entry.volumeId);
  // Removing must work for a volume that is damaged, too.
  const info = await engine.inspectVolume(environment, volumeId).catch(() => undefined);
  const parent = info === undefined ? null : lineageOf(names, info).parent;
  try {
    const { removedObjects } = await engine.removeVolume(environment, volumeId);
    return { removedObjects, parent: parent === null ? null : { volumeId: parent.volumeId, name: parent.name } };
  } catch (error) {
    // Of an import that broke off at once there is nothing but the name.
    if (entry.unfinished === true && isCaissonError(error, 'volume-missing')) return { removedObjects: 0 };
    if (info !== undefined && isCaissonError(error, 'volume-needed')) throw neededBy(names, name, info.clones, error);
    throw error;
  }
}

function neededBy(names: VolumeNames, name: string, clones: readonly string[], cause: CaissonError): CaissonError {
  const them = displayNames(namedIn(names, clones));
  return new CaissonError('denied', 'volume-needed', `${them} started from ${name} and reads objects of it`, {
    remedy: `Remove what started from it first, or destroy its keys with "caisson volume erase ${name}": clones keep what they need.`,
    details: cause.details,
    cause,
  });
}

function requireDaemon(daemon: DaemonControl | undefined): DaemonControl {
  if (daemon !== undefined) return daemon;
  throw new CaissonError('transient', 'daemon-unreachable', 'no daemon is running', {
    remedy: 'Start one with "caisson serve NAME", or use "caisson mount", which starts its own.',
  });
}
