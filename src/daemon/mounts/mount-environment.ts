/** What mounting needs of the system, in one place so that tests can stand in for parts of it. */
import type { FuseLog } from '../../export/fuse/fuse-channel.ts';
import type { Clock } from '../../lib/clock.ts';
import { listLoopDevices } from '../../sys/loop.ts';
import type { LoopDevice } from '../../sys/loop.ts';
import { readMountTable } from '../../sys/mount.ts';
import type { MountEntry } from '../../sys/mount.ts';
import { runTool } from '../../sys/run-tool.ts';
import type { ToolRunner } from '../../sys/run-tool.ts';

export interface MountEnvironment {
  readonly clock: Clock;
  readonly log: FuseLog;
  readonly run: ToolRunner;
  readonly readTable: () => Promise<readonly MountEntry[]>;
  readonly listLoops: () => Promise<readonly LoopDevice[]>;
  readonly sysfsFolder: string;
  readonly processFolder: string;
}

export function systemMountEnvironment(clock: Clock, log: FuseLog): MountEnvironment {
  return {
    clock,
    log,
    run: runTool,
    readTable: readMountTable,
    listLoops: () => listLoopDevices('/sys/block'),
    sysfsFolder: '/sys/block',
    processFolder: '/proc',
  };
}
