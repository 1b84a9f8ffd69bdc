/**
 * Which process serves a mount, in a way that survives the reuse of process ids: pid, the time that
 * process began, and the boot it ran in.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

export const ownerSchema = z.strictObject({
  pid: z.int().positive(),
  startTicks: z.string().regex(/^\d+$/),
  bootId: z.string().max(64),
});

export type ProcessOwner = z.output<typeof ownerSchema>;

export async function thisProcess(): Promise<ProcessOwner> {
  const startTicks = (await readStartTicks(process.pid)) ?? '0';
  return { pid: process.pid, startTicks, bootId: await readBootId() };
}

export async function isAlive(owner: ProcessOwner): Promise<boolean> {
  if (!(await isThisBoot(owner))) return false;
  return (await readStartTicks(owner.pid)) === owner.startTicks;
}

/** Mounts and devices do not survive a reboot. */
export async function isThisBoot(owner: ProcessOwner): Promise<boolean> {
  return (await readBootId()) === owner.bootId;
}

async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Undefined for a process that is gone or only waits to be buried. */
async function readStartTicks(pid: number): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // proc(5): the name stands in parentheses and may hold anything; state is field 3, starttime field 22.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}
