/** The daemon's view of `mounts/`: records in the state folder, a mount named by volume or by directory. */
import { readdir, realpath } from 'node:fs/promises';
import { systemClock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { isReference } from '../lib/names.ts';
import { freezeFileSystem } from '../sys/freeze.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { systemMountEnvironment } from './mounts/mount-environment.ts';
import { readRecord } from './mounts/mount-record.ts';
import { mountVolume, requireDirectory, umountVolume } from './mounts/mounts.ts';
import type { Mounts } from './parts.ts';

export function createMounts(stateFolder: string, log: VolumeLog): Mounts {
  const environment = systemMountEnvironment(systemClock, log);
  return {
    requireDirectory,
    mount: ({ name, device, nbdSocket, directory, isSnapshot, makeFileSystem, force, mountOptions }) =>
      mountVolume(
        {
          name,
          device,
          directory,
          isSnapshot,
          stateFolder,
          nbd: { socketPath: nbdSocket, exportName: name },
          ...(makeFileSystem === undefined ? {} : { makeFileSystem }),
          force,
          mountOptions,
        },
        environment,
      ),
    freeze: (directory) => freezeFileSystem(directory, environment),
    unmount: async (target) => umountVolume(await nameOfTarget(stateFolder, target), stateFolder, environment),
  };
}

async function nameOfTarget(stateFolder: string, target: string): Promise<string> {
  if (!target.startsWith('/')) return target;
  // Looking up the path of a mount whose server is gone may fail; it is compared as it was typed then.
  const directory = await realpath(target).catch(() => target);
  for (const file of await readdir(stateFolder).catch(() => [])) {
    const name = file.replace(/\.json$/, '');
    if (name === file || !isReference(name)) continue;
    const record = await readRecord(stateFolder, name);
    if (record !== undefined && (record.directory === directory || record.directory === target)) return name;
  }
  throw new CaissonError('invalid', 'mount-missing', `no volume is mounted on ${target}`, {
    remedy: '"caisson status" lists what is mounted.',
    details: { target },
  });
}
