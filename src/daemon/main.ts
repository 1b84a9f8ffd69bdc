/**
 * The composition root: the one place that names concrete classes. Everything is loaded when it is
 * first asked for, and modules that are needed together are loaded together.
 */
import { setFlagsFromString } from 'node:v8';
import type { Environment, Folders } from '../lib/folders.ts';
import type { FileLock } from '../store/file-system.ts';
import type { ReadCache } from '../store/read-cache.ts';
import { StoreCounts } from '../store/store-counts.ts';
import type { SealerChoice } from '../crypto/choose-sealer.ts';
import type { Configuration } from './configuration.ts';
import { credentialOfHint, generateKeyFile, generateKeystore, keySourceOf } from './credentials.ts';
import type { Parts } from './parts.ts';
import type { VolumeNames } from './volume-names.ts';

export function createParts(
  folders: Folders,
  configuration: Configuration,
  environment: Environment,
  names: VolumeNames,
): Parts {
  let chosen: Promise<SealerChoice> | undefined;
  const sealerChoice = (): Promise<SealerChoice> =>
    (chosen ??= import('../crypto/choose-sealer.ts').then(({ chooseSealer }) => chooseSealer(configuration.sealer)));
  let cache: ReadCache | undefined;
  const { remote } = configuration;
  const counts = new StoreCounts();
  return {
    configuration,
    storeCounts: counts,
    engine: async () => {
      const [frontDoor, { verifyBlocks }] = await Promise.all([
        import('../volume/volume.ts'),
        import('../volume/verify.ts'),
      ]);
      return { ...frontDoor, verifyBlocks };
    },
    openEnvironment: async (storeUrl, options) => {
      const [{ openEnvironment }, { sealer }, { systemRandom }] = await Promise.all([
        import('./environment.ts'),
        sealerChoice(),
        import('../crypto/random.ts'),
      ]);
      return openEnvironment(storeUrl, options, {
        anchorFolder: folders.anchors,
        names,
        anchor: configuration.anchor,
        sealer,
        tuning: configuration.tuning,
        remote: { spoolFolder: remote.spoolFolder ?? folders.spools, environment, random: systemRandom, counts },
        readCache: async (isShared) => {
          const { createReadCache } = await import('../store/read-cache-file.ts');
          // Answers of a server arrive in buffers outside the heap. By default V8 collects the whole heap for every few
          // MiB of them, which takes more time than receiving them; so it counts them as it counts the heap.
          setFlagsFromString('--external-memory-accounted-in-global-limit');
          const { cacheFolder = folders.cache, cacheBytesMax } = remote;
          if (!isShared) return createReadCache(cacheFolder, cacheBytesMax, systemRandom);
          return (cache ??= createReadCache(cacheFolder, cacheBytesMax, systemRandom, counts.readCache));
        },
      });
    },
    keySource: (credential) => keySourceOf(credential, environment),
    credentialOf: credentialOfHint,
    generateKeyFile: async (path, credentials) => {
      if (credentials.length === 0) return generateKeyFile(path);
      return generateKeystore(path, credentials, environment);
    },
    listenNbd: async (address, log) => {
      const { listenNbd } = await import('./nbd-listener.ts');
      return listenNbd(address, { spinMicroseconds: configuration.spinMicroseconds, log });
    },
    mounts: async (log) => (await import('./mount-adapter.ts')).createMounts(folders.mounts, log),
    sealer: async () => {
      const { sealer, reason } = await sealerChoice();
      return { name: sealer.name, reason };
    },
  };
}

/** undefined when somebody else holds the lock; freed by the kernel when this process dies. */
export async function lockFile(path: string): Promise<FileLock | undefined> {
  const { nodeFileSystem } = await import('../store/node-file-system.ts');
  return nodeFileSystem.lock(path);
}
