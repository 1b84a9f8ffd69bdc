/**
 * Which mounts a program that works on one volume's device has no business with: those of other
 * volumes of this system. Their daemons may have been killed or stopped, and mkfs.btrfs looks at the
 * backing file of every loop device that is mounted. Read from the kernel's tables alone, which a dead
 * mount can neither fail nor hang.
 */
import { fuseFileSystemType } from '../../sys/fuse-device.ts';
import type { LoopDevice } from '../../sys/loop.ts';
import type { MountEntry } from '../../sys/mount.ts';

/** The mount points of other volumes, FUSE mounts and what lies on them, the uppermost first. */
export function foreignMounts(
  device: string,
  table: readonly MountEntry[],
  loops: readonly LoopDevice[],
): readonly string[] {
  const ownFile = loops.find(({ path }) => path === device)?.backingFile;
  const foreign = table.filter(
    ({ fileSystem, mountPoint }) => fileSystem === fuseFileSystemType && !isBelow(ownFile, mountPoint),
  );
  const devices = loops
    .filter(({ backingFile }) => foreign.some(({ mountPoint }) => isBelow(backingFile, mountPoint)))
    .map(({ path }) => path);
  return (
    table
      .filter((entry) => foreign.includes(entry) || devices.includes(entry.source))
      .map(({ mountPoint }) => mountPoint)
      // A system whose root lies on a volume needs it to find its programs.
      .filter((mountPoint) => mountPoint !== '/')
      .toReversed()
  );
}

function isBelow(file: string | undefined, folder: string): boolean {
  return file !== undefined && file.startsWith(`${folder}/`);
}
