/**
 * Caisson in a command's own process. The only file of the daemon that the command line may reach,
 * and only `cli/main.ts` may: commands get it as an interface (admin/operations.ts).
 */
import type { LocalCaisson, ServeRequest } from '../admin/operations.ts';
import { CaissonError } from '../lib/errors.ts';
import { resolveFolders } from '../lib/folders.ts';
import type { Environment } from '../lib/folders.ts';
import { loadConfiguration } from './configuration.ts';
import { createParts, lockFile } from './main.ts';
import { createOperations } from './operations.ts';
import { makePrivateFolder } from './small-files.ts';
import { VolumeNames } from './volume-names.ts';
import type { WithLock } from './volume-names.ts';

export interface LocalOptions {
  readonly environment: Environment;
  readonly userId: number;
  readonly version: string;
  /** What a background daemon is started with: the command's own main module. */
  readonly entryPoint: string;
}

export async function openLocal({ environment, userId, version, entryPoint }: LocalOptions): Promise<LocalCaisson> {
  const folders = resolveFolders(environment, userId);
  const configuration = await loadConfiguration(folders.configurationFile);
  const names = new VolumeNames(folders.volumesFile, withLock);
  const parts = createParts(folders, configuration, environment, names);
  // One command's own work says what matters in its answer; only the daemon keeps a log.
  const context = { parts, names, folders, log: () => undefined, daemon: undefined };
  return {
    adminSocket: folders.adminSocket,
    operations: createOperations(context),
    diffSnapshots: async (request, onExtents, signal) => {
      const [{ diffSnapshots }, { VolumeAccess }] = await Promise.all([
        import('./snapshots.ts'),
        import('./volume-access.ts'),
      ]);
      await diffSnapshots(new VolumeAccess(context), request, onExtents, signal);
    },
    capabilities: async () => (await import('./capability-tools.ts')).createCapabilityTools(),
    serve: async (request: ServeRequest) => {
      const [{ serve }, { createLog }] = await Promise.all([import('./serve.ts'), import('./log.ts')]);
      const log = createLog(configuration.logLevel);
      const lockRuntime = (): ReturnType<typeof lockFile> => lockFile(`${folders.runtime}/daemon.lock`);
      await serve({ parts, names, folders, version, log, lockRuntime }, request);
    },
    startBackground: async () => {
      makePrivateFolder(folders.runtime);
      const { startBackground } = await import('./background.ts');
      await startBackground(folders, entryPoint);
    },
  };
}

const lockPollMilliseconds = 10;
const lockMillisecondsMax = 5_000;

/** Changes of one small file take microseconds; whoever holds the lock for longer is stuck. */
const withLock: WithLock = async (file, change) => {
  const deadline = performance.now() + lockMillisecondsMax;
  let lock = await lockFile(file);
  while (lock === undefined) {
    if (performance.now() > deadline) throw stuck(file);
    await new Promise((resolve) => setTimeout(resolve, lockPollMilliseconds));
    lock = await lockFile(file);
  }
  try {
    return change();
  } finally {
    await lock.release();
  }
};

function stuck(file: string): CaissonError {
  return new CaissonError('transient', 'timeout', `${file} has been locked for ${lockMillisecondsMax} ms`, {
    remedy: 'Another caisson command is stuck; end it and try again.',
    details: { path: file },
  });
}
