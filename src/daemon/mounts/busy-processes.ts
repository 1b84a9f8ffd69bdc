/**
 * Who keeps a mount busy: processes whose working folder, root or open files lie below it. Reads
 * only links in /proc, which the kernel answers without asking the mounted file system. Best effort:
 * other users' processes and other mount namespaces may stay unseen, and the search ends after
 * `busyScanMilliseconds` with what it has: a process that is stuck in the kernel can hold up a link.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import { busyProcessesMax, busyScanFilesMax, busyScanMilliseconds, busyScanProcessesMax } from '../../lib/limits.ts';

/** At most `busyProcessesMax` of them, as `1234 (bash)`. */
export async function findBusyProcesses(directory: string, clock: Clock): Promise<string[]> {
  const found: string[] = [];
  const late = Promise.withResolvers<void>();
  const search = { over: false };
  const cancel = clock.after(busyScanMilliseconds, late.resolve);
  await Promise.race([scan(directory, found, search), late.promise]);
  cancel();
  search.over = true;
  return [...found];
}

async function scan(directory: string, found: string[], search: { readonly over: boolean }): Promise<void> {
  const processIds = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).slice(0, busyScanProcessesMax);
  for (const processId of processIds) {
    if (search.over || found.length === busyProcessesMax) return;
    if (!(await uses(processId, directory))) continue;
    const name = await readFile(`/proc/${processId}/comm`, 'utf8').catch(() => '');
    found.push(`${processId} (${name.trim()})`);
  }
}

async function uses(processId: string, directory: string): Promise<boolean> {
  const folder = `/proc/${processId}`;
  const descriptors = await readdir(`${folder}/fd`).catch(() => []); // gone meanwhile, or not ours to see
  const files = descriptors.slice(0, busyScanFilesMax).map((descriptor) => `fd/${descriptor}`);
  for (const link of ['cwd', 'root', ...files]) {
    const target = await readlink(`${folder}/${link}`).catch(() => '');
    if (target === directory || target.startsWith(`${directory}/`)) return true;
  }
  return false;
}
