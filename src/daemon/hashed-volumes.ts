/**
 * Operations on hashed images (spec/hashed-format.md): made of a directory, a file or a device, named
 * here by an alias that holds nothing but store and root, and opened by the root alone.
 */
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { VolumeDetails } from '../admin/schema.ts';
import { systemRandom } from '../crypto/random.ts';
import { createHashed } from '../hashed/hashed-builder.ts';
import { describeHashed } from '../hashed/hashed-describe.ts';
import type { HashedDescription } from '../hashed/hashed-describe.ts';
import { hashedVersion, parseRoot } from '../hashed/hashed-format.ts';
import { removeHashed } from '../hashed/hashed-removal.ts';
import { verifyHashed } from '../hashed/hashed-verify.ts';
import { systemClock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import type { Store } from '../store/store.ts';
import { withImageOf } from '../sys/erofs-image.ts';
import { openImageFile } from '../sys/image-file.ts';
import type { HashedEntry } from './hashed-entry.ts';
import type { OperationsContext } from './operations-context.ts';
import { closing } from './volume-details.ts';

export async function createHashedVolume(
  context: OperationsContext,
  request: OperationRequest<'createHashedVolume'>,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'createHashedVolume'>> {
  const { parts, names } = context;
  const { name, from } = request;
  names.checkFree(name);
  const storeUrl = request.store ?? parts.configuration.store;
  if (storeUrl === undefined) {
    throw new CaissonError('invalid', 'argument-invalid', 'no store was given', {
      remedy: 'Say where with --store dir:/some/folder, or set "store" in the configuration.',
    });
  }
  return withImageOf(from, systemClock, signal, async (imagePath) => {
    const source = await openImageFile(imagePath);
    return closing(
      () => source.close(),
      () =>
        withStore(context, storeUrl, true, async (store) => {
          const { root, ...report } = await createHashed(store, { source, random: systemRandom, onProgress, signal });
          const entry = entryOf(store, root);
          const volume = detailsOfHashed(name, entry, await describeHashed(store, parseRoot(root)), false);
          await names.add(name, entry);
          return { volume, root, ...report };
        }),
    );
  });
}

/** Names an image that exists already; the root was checked against the store. */
export async function adoptHashedVolume(
  context: OperationsContext,
  name: string,
  storeUrl: string,
  root: string,
): Promise<VolumeDetails> {
  context.names.checkFree(name);
  const digest = parseRoot(root);
  return withStore(context, storeUrl, false, async (store) => {
    const description = await describeHashed(store, digest);
    const entry = entryOf(store, description.root);
    await context.names.add(name, entry);
    return detailsOfHashed(name, entry, description, false);
  });
}

export async function inspectHashedVolume(
  context: OperationsContext,
  name: string,
  entry: HashedEntry,
): Promise<VolumeDetails> {
  const isOpen = context.daemon?.host.get(name) !== undefined;
  return withStoreOf(context, name, entry, async (store) =>
    detailsOfHashed(name, entry, await describeHashed(store, parseRoot(entry.root)), isOpen),
  );
}

/** The same with and without a key: there is none. */
export async function verifyHashedVolume(
  context: OperationsContext,
  name: string,
  entry: HashedEntry,
  onProgress: OperationProgress | undefined,
): Promise<OperationResponse<'verifyVolume'>> {
  return withStoreOf(context, name, entry, async (store) => {
    const report = await verifyHashed(store, parseRoot(entry.root), { onProgress });
    const { objectsChecked, objectBytes, leavesChecked, findings } = report;
    return {
      ...{ volumeId: entry.volumeId, public: true, protection: 'hashed' as const, root: entry.root },
      ...{ objectsChecked, objectBytes },
      ...{ manifestNumber: 0, manifestDigest: hexOf(entry), writerKey: '', manifestsChecked: 0 },
      ...{ pinsChecked: 0, erased: false },
      ...{ unitsChecked: leavesChecked, orphans: [], findings: [...findings], freshness: 'not-checked' as const },
    };
  });
}

/** The alias goes; objects go only when that was asked for, and only those that no other image needs. */
export async function removeHashedVolume(
  context: OperationsContext,
  request: OperationRequest<'removeVolume'>,
  entry: HashedEntry,
): Promise<{ removedObjects: number }> {
  const { names } = context;
  const { name, deleteObjects = false, force = false } = request;
  let removedObjects = 0;
  if (deleteObjects) {
    for (const [other, { store, root }] of names.list()) {
      if (other !== name && store === entry.store && root === entry.root) throw stillNamed(name, other);
    }
    ({ removedObjects } = await withStore(context, entry.store, false, (store) =>
      removeHashed(store, parseRoot(entry.root), { force }),
    ));
  }
  await names.remove(name);
  return { removedObjects };
}

/** The store that the host has open for this image, else one of its own: some stores are open only once. */
async function withStoreOf<Value>(
  context: OperationsContext,
  name: string,
  entry: HashedEntry,
  use: (store: Store) => Promise<Value>,
): Promise<Value> {
  const hosted = context.daemon?.host.get(name);
  if (hosted !== undefined) return use(hosted.environment.environment.store);
  return withStore(context, entry.store, false, use);
}

async function withStore<Value>(
  { parts, log }: OperationsContext,
  storeUrl: string,
  create: boolean,
  use: (store: Store) => Promise<Value>,
): Promise<Value> {
  const opened = await parts.openEnvironment(storeUrl, { create, log });
  return closing(
    () => opened.close(),
    () => use(opened.environment.store),
  );
}

function entryOf(store: Store, root: string): HashedEntry {
  return { store: store.url, volumeId: toHex(parseRoot(root).subarray(0, 16)), key: { kind: 'none' }, root };
}

function hexOf(entry: HashedEntry): string {
  return toHex(parseRoot(entry.root));
}

function detailsOfHashed(
  name: string,
  entry: HashedEntry,
  { imageBytes, dataBytes, objectCount, objectBytes }: HashedDescription,
  open: boolean,
): VolumeDetails {
  return {
    ...{ name, store: entry.store, open, sealed: null },
    public: {
      ...{ volumeId: entry.volumeId, formatVersion: hashedVersion, protection: 'hashed', objectCount, objectBytes },
      // It has no writer and no states: the root says everything.
      ...{ epoch: 0, manifestNumber: 0, manifestDigest: hexOf(entry), writerKey: '', keySlots: [] },
    },
    hashed: { root: entry.root, imageBytes, dataBytes },
  };
}

function stillNamed(name: string, other: string): CaissonError {
  return new CaissonError('fenced', 'volume-busy', `${name} and ${other} are the same image: ${other} still needs it`, {
    remedy: `Remove the name alone with "caisson volume rm ${name}", or ${other} first.`,
    details: { name, other },
  });
}
