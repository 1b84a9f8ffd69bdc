/**
 * Opens the FUSE export: mounts, serves, unmounts. Joins sys/fuse-device.ts (the kernel) with
 * export/fuse (the protocol), which do not know each other.
 */
import { realpath, stat } from 'node:fs/promises';
import type { BlockDevice } from '../../export/block-device.ts';
import type { FuseLog } from '../../export/fuse/fuse-channel.ts';
import { diskFileName } from '../../export/fuse/fuse-namespace.ts';
import { FuseServer } from '../../export/fuse/fuse-server.ts';
import { fuseRequestBytesMax } from '../../export/fuse/fuse-session.ts';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { fuseHandshakeMilliseconds, fuseTransferBytesMax } from '../../lib/limits.ts';
import { mountFuse } from '../../sys/fuse-device.ts';
import type { FuseDevice } from '../../sys/fuse-device.ts';
import { readMountTable, unmount } from '../../sys/mount.ts';
import type { MountTools } from '../../sys/mount.ts';
import { runTool } from '../../sys/run-tool.ts';

export interface FuseExportOptions {
  readonly device: BlockDevice;
  /** An existing folder. */
  readonly mountPoint: string;
  readonly clock: Clock;
  readonly log: FuseLog;
  /** How requests are awaited; by default the best that works (sys/fuse-device.ts). */
  readonly way?: 'signal' | 'pool';
}

export interface FuseExport {
  /** The volume as a regular file. */
  readonly filePath: string;
  readonly way: 'signal' | 'pool';
  /** Fulfilled when the mount is gone, whoever unmounted it; rejected when the kernel sent nonsense. */
  readonly ended: Promise<void>;
  /** Unmounts; `volume-busy` while the file is open. Idempotent. */
  close(): Promise<void>;
}

export async function openFuseExport(options: FuseExportOptions): Promise<FuseExport> {
  const { device, clock, log } = options;
  const mountPoint = await checkMountPoint(options.mountPoint);
  const tools: MountTools = { run: runTool, clock, readTable: readMountTable };
  const userId = process.getuid?.() ?? 0;
  const groupId = process.getgid?.() ?? 0;
  const channel = await mountFuse({
    mountPoint,
    userId,
    groupId,
    clock,
    readOnly: device.readOnly,
    transferBytesMax: fuseTransferBytesMax,
    requestBytesMax: fuseRequestBytesMax,
    ...(options.way === undefined ? {} : { way: options.way }),
  });
  const server = new FuseServer({
    device,
    channel,
    owner: { userId, groupId, seconds: Math.floor(clock.wall() / 1000) },
    log,
  });
  server.start();
  const ended = server.ended.finally(() => channel.close());
  ended.catch(() => undefined); // FuseServer logged it; close() is the one that reports
  try {
    await withinHandshakeTime(server.ready, clock);
  } catch (error) {
    await abandon(mountPoint, channel, tools, log);
    throw error;
  }
  return {
    filePath: `${mountPoint}/${diskFileName}`,
    way: channel.way,
    ended,
    async close() {
      if ((await unmount(mountPoint, false, tools)) === 'busy') throw busy(mountPoint);
      await ended;
    },
  };
}

/** The kernel shows mounts under their real path, so that is the path we go by. */
async function checkMountPoint(mountPoint: string): Promise<string> {
  const real = await realpath(mountPoint).catch((error: unknown) => {
    throw new CaissonError(
      'invalid',
      'mount-failed',
      `the mount point ${mountPoint} cannot be used: ${messageOf(error)}`,
      {
        remedy: 'Create the folder first.',
        cause: error,
      },
    );
  });
  if ((await stat(real)).isDirectory()) return real;
  throw new CaissonError('invalid', 'mount-failed', `the mount point ${mountPoint} is not a folder`);
}

function withinHandshakeTime(ready: Promise<void>, clock: Clock): Promise<void> {
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(fuseHandshakeMilliseconds, () => {
    late.reject(
      new CaissonError(
        'io',
        'timeout',
        `the kernel did not answer the FUSE mount within ${fuseHandshakeMilliseconds / 1000} s`,
        {
          remedy: 'Look in the kernel log for messages about fuse.',
        },
      ),
    );
  });
  return Promise.race([ready, late.promise]).finally(cancel);
}

/** Cutting the connection first makes sure that the unmounting cannot wait for us. */
async function abandon(mountPoint: string, channel: FuseDevice, tools: MountTools, log: FuseLog): Promise<void> {
  channel.close();
  try {
    await unmount(mountPoint, true, tools);
  } catch (error) {
    log('warn', `a FUSE mount that failed is left behind on ${mountPoint}`, { error: messageOf(error) });
  }
}

function busy(mountPoint: string): CaissonError {
  return new CaissonError('transient', 'volume-busy', `the file in ${mountPoint} is still in use`, {
    remedy: 'Unmount what is mounted from it and detach its loop device first.',
    details: { mountPoint },
  });
}
