/**
 * Everything the engine needs around a store: the store itself, the anchors (outside every store, or they
 * would be rolled back with it; files of theirs lie in the user's state folder), the sealer, clock, randomness,
 * the digest worker where spools are files, and the read cache in front of a remote store.
 */
import { systemRandom } from '../crypto/random.ts';
import { systemClock } from '../lib/clock.ts';
import type { Sealer } from '../crypto/sealer.ts';
import type { RemoteStoreOptions } from '../store/open-store.ts';
import type { ReadCache } from '../store/read-cache.ts';
import type { Store } from '../store/store.ts';
import type { VolumeEnvironment } from '../volume/volume-types.ts';
import type { Configuration } from './configuration.ts';
import type { EnvironmentOptions, OpenEnvironment } from './parts.ts';
import { SegmentDigester } from './segment-digester.ts';
import { makePrivateFolder } from './small-files.ts';
import { withUndo } from './undo.ts';
import type { VolumeNames } from './volume-names.ts';

export interface EnvironmentParts {
  readonly anchorFolder: string;
  /** Which volume has which anchor; without them all have a file. */
  readonly names?: Pick<VolumeNames, 'list'>;
  /** Of new volumes, unless they are asked to have another. */
  readonly anchor?: string;
  readonly sealer: Sealer;
  readonly tuning: Configuration['tuning'];
  readonly remote: RemoteStoreOptions;
  /** For a remote store: the one of the process, or a new one. */
  readonly readCache?: (isShared: boolean) => Promise<ReadCache>;
}

const noNames: Pick<VolumeNames, 'list'> = { list: () => new Map() };

export async function openEnvironment(
  storeUrl: string,
  options: EnvironmentOptions,
  {
    anchorFolder,
    names = noNames,
    anchor: configuredAnchor = 'file',
    sealer,
    tuning,
    remote,
    readCache,
  }: EnvironmentParts,
): Promise<OpenEnvironment> {
  return withUndo(async (undo) => {
    const [{ openStore, spoolRootOf }, { createAnchors }, { nodeFileSystem }] = await Promise.all([
      import('../store/open-store.ts'),
      import('./anchors.ts'),
      import('../store/node-file-system.ts'),
    ]);
    const opened = await openStore(storeUrl, {
      remote,
      create: options.create,
      overwriteDevice: options.overwriteDevice ?? false,
    });
    undo(() => opened.close());
    const isShared = options.sharesReadCache === true;
    const cache = opened.isRemote ? await readCache?.(isShared) : undefined;
    const store = cache === undefined ? opened : await throughCache(opened, cache, !isShared);
    makePrivateFolder(anchorFolder);
    const choiceOfNew = options.anchor ?? configuredAnchor;
    const log = options.log === undefined ? {} : { log: options.log };
    const anchor = createAnchors({ folder: anchorFolder, fileSystem: nodeFileSystem, names, choiceOfNew, ...log });
    const spoolRoot = await spoolRootOf(storeUrl, remote);
    const digester = spoolRoot === undefined ? undefined : new SegmentDigester(spoolRoot);
    const environment: VolumeEnvironment = {
      store,
      anchor,
      clock: systemClock,
      random: systemRandom,
      sealer,
      tuning: definedFields(tuning),
      ...log,
      ...(digester === undefined ? {} : { digester }),
    };
    return {
      environment,
      close: async () => {
        await digester?.close();
        await store.close();
      },
    };
  });
}

async function throughCache(store: Store, cache: ReadCache, ownsCache: boolean): Promise<Store> {
  const { CachedStore } = await import('../store/cached-store.ts');
  return new CachedStore(store, cache, ownsCache);
}

/** A setting that is absent keeps the engine's default; one that is `undefined` would replace it. */
function definedFields<Fields extends object>(
  fields: Fields,
): { [Field in keyof Fields]: Exclude<Fields[Field], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
