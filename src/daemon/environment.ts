/**
 * Everything the engine needs around a store: the store itself, the file anchor in the user's state
 * folder (outside every store, or it would be rolled back with it), the sealer, clock, randomness,
 * and for a directory store the digest worker.
 */
import { systemRandom } from '../crypto/random.ts';
import { systemClock } from '../lib/clock.ts';
import type { Sealer } from '../crypto/sealer.ts';
import type { VolumeEnvironment } from '../volume/volume-types.ts';
import type { Configuration } from './configuration.ts';
import type { EnvironmentOptions, OpenEnvironment } from './parts.ts';
import { SegmentDigester } from './segment-digester.ts';
import { makePrivateFolder } from './small-files.ts';
import { withUndo } from './undo.ts';

export interface EnvironmentParts {
  readonly anchorFolder: string;
  readonly sealer: Sealer;
  readonly tuning: Configuration['tuning'];
}

export async function openEnvironment(
  storeUrl: string,
  options: EnvironmentOptions,
  { anchorFolder, sealer, tuning }: EnvironmentParts,
): Promise<OpenEnvironment> {
  return withUndo(async (undo) => {
    const [{ openStore, parseStoreUrl }, { openFileAnchor }, { nodeFileSystem }] = await Promise.all([
      import('../store/open-store.ts'),
      import('../anchor/file-anchor.ts'),
      import('../store/node-file-system.ts'),
    ]);
    const { scheme, location } = parseStoreUrl(storeUrl);
    const store = await openStore(storeUrl, {
      create: options.create,
      overwriteDevice: options.overwriteDevice ?? false,
    });
    undo(() => store.close());
    makePrivateFolder(anchorFolder);
    const anchor = await openFileAnchor(nodeFileSystem, anchorFolder);
    const digester = scheme === 'dir' ? new SegmentDigester(location) : undefined;
    const environment: VolumeEnvironment = {
      store,
      anchor,
      clock: systemClock,
      random: systemRandom,
      sealer,
      tuning: definedFields(tuning),
      ...(options.log === undefined ? {} : { log: options.log }),
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

/** A setting that is absent keeps the engine's default; one that is `undefined` would replace it. */
function definedFields<Fields extends object>(
  fields: Fields,
): { [Field in keyof Fields]: Exclude<Fields[Field], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
