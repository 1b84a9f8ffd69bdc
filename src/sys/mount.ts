/**
 * The mount table, mount(8) and umount(8). Mounting a file system may replay a journal through this
 * process, and unmounting writes back through it: both therefore run as programs, never as calls that
 * block the event loop. Reading the table touches no mounted file system, not even a dead one.
 */
import { readFile } from 'node:fs/promises';
import { CaissonError } from '../lib/errors.ts';
import type { Clock } from '../lib/clock.ts';
import { toolSlowMilliseconds } from '../lib/limits.ts';
import type { ToolRunner } from './run-tool.ts';

export interface MountEntry {
  /** `major:minor` of the file system's device. */
  readonly deviceNumber: string;
  readonly mountPoint: string;
  readonly fileSystem: string;
  readonly source: string;
}

export interface MountTools {
  readonly run: ToolRunner;
  readonly clock: Clock;
  readonly readTable: () => Promise<readonly MountEntry[]>;
}

export interface MountRequest {
  readonly device: string;
  readonly directory: string;
  readonly fileSystem: string;
  readonly readOnly: boolean;
  readonly options: readonly string[];
}

/** Lines of /proc/self/mountinfo, proc(5): the later entry of the same mount point lies on top. */
export function parseMountTable(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const separator = line.indexOf(' - ');
    const before = line.slice(0, separator).split(' ');
    const after = line.slice(separator + 3).split(' ');
    const [, , deviceNumber, , mountPoint] = before;
    const [fileSystem, source] = after;
    if (
      separator < 0 ||
      deviceNumber === undefined ||
      mountPoint === undefined ||
      fileSystem === undefined ||
      source === undefined
    ) {
      throw new CaissonError(
        'io',
        'format-invalid',
        `the mount table has a line that cannot be understood: ${line.slice(0, 200)}`,
      );
    }
    entries.push({ deviceNumber, mountPoint: unescape(mountPoint), fileSystem, source: unescape(source) });
  }
  return entries;
}

export async function readMountTable(): Promise<MountEntry[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
}

export async function mountFileSystem(request: MountRequest, tools: MountTools): Promise<void> {
  const options = [request.readOnly ? 'ro' : 'rw', ...request.options].join(',');
  const parameters = ['-t', request.fileSystem, '-o', options, request.device, request.directory];
  const result = await tools.run('mount', parameters, { clock: tools.clock, milliseconds: toolSlowMilliseconds });
  if (result.status === 0) return;
  throw new CaissonError(
    'io',
    'mount-failed',
    `cannot mount the ${request.fileSystem} file system on ${request.directory}: ${result.errorText}`,
    {
      remedy: 'Look in the kernel log for the reason; a damaged file system needs its own fsck program first.',
      details: { device: request.device, directory: request.directory, status: result.status },
    },
  );
}

/**
 * `busy`: something still uses it and nothing was changed. With `lazy` the mount leaves the tree at
 * once and ends when its last user does. What is not mounted counts as done.
 */
export async function unmount(mountPoint: string, lazy: boolean, tools: MountTools): Promise<'done' | 'busy'> {
  if (!(await isMounted(mountPoint, tools))) return 'done';
  // -i: no helper program; -c: the path is taken as it is, so that a dead mount is not looked into.
  const parameters = ['-i', '-c', ...(lazy ? ['-l'] : []), mountPoint];
  const result = await tools.run('umount', parameters, { clock: tools.clock, milliseconds: toolSlowMilliseconds });
  if (result.status === 0 || !(await isMounted(mountPoint, tools))) return 'done';
  if (/\bbusy\b/.test(result.errorText)) return 'busy';
  throw new CaissonError('io', 'mount-failed', `cannot unmount ${mountPoint}: ${result.errorText}`, {
    remedy: 'Look in the kernel log for the reason.',
    details: { mountPoint, status: result.status },
  });
}

export async function isMounted(mountPoint: string, tools: MountTools): Promise<boolean> {
  return (await tools.readTable()).some((entry) => entry.mountPoint === mountPoint);
}

/** Space, tab, newline and backslash appear as three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
