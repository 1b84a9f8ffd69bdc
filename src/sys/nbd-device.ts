/**
 * The kernel's NBD client: a network block device of the kernel, connected by nbd-client(8) to a unix
 * socket. With `-persist` the client connects again when the server comes back, so that a mounted
 * file system survives a restart of the daemon.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { Clock } from '../lib/clock.ts';
import { expectStatus } from './run-tool.ts';
import type { ToolRunner } from './run-tool.ts';

export interface NbdConnection {
  readonly socketPath: string;
  readonly exportName: string;
}

export interface NbdTools {
  readonly run: ToolRunner;
  readonly clock: Clock;
  /** `/sys/block` */
  readonly sysfsFolder: string;
  /** `/proc` */
  readonly processFolder: string;
}

/** A device that nobody has connected, or undefined where the kernel has no NBD. */
export async function findFreeNbdDevice(tools: NbdTools): Promise<string | undefined> {
  let names = await nbdNames(tools);
  if (names.length === 0) {
    if (!(await loadModule(tools))) return undefined;
    names = await nbdNames(tools);
  }
  for (const name of names) {
    if ((await readText(`${tools.sysfsFolder}/${name}/pid`)) === undefined) return `/dev/${name}`;
  }
  return undefined;
}

export async function attachNbd(
  device: string,
  connection: NbdConnection,
  blockBytes: number,
  tools: NbdTools,
): Promise<void> {
  const { socketPath, exportName } = connection;
  // The ioctl interface (-nonetlink) keeps a process, which is what can reconnect.
  const parameters = ['-unix', socketPath, device, '-name', exportName, '-block-size', String(blockBytes)];
  const result = await tools.run('nbd-client', [...parameters, '-persist', '-nonetlink'], { clock: tools.clock });
  expectStatus('nbd-client', result, 'Check that the daemon exports the volume on that socket.');
}

/** Whether `device` is connected to this socket now: another user may have taken the number since. */
export async function isNbdConnectedTo(device: string, socketPath: string, tools: NbdTools): Promise<boolean> {
  const processId = await readText(`${tools.sysfsFolder}/${device.replace(/^\/dev\//, '')}/pid`);
  if (processId === undefined || !/^\d+$/.test(processId)) return false;
  const commandLine = await readText(`${tools.processFolder}/${processId}/cmdline`);
  return commandLine?.split('\0').includes(socketPath) ?? false;
}

export async function detachNbd(device: string, tools: NbdTools): Promise<void> {
  const result = await tools.run('nbd-client', ['-d', device, '-nonetlink'], { clock: tools.clock });
  expectStatus('nbd-client', result, `Run "nbd-client -d ${device}" by hand.`);
}

async function nbdNames(tools: NbdTools): Promise<string[]> {
  const number = (name: string): number => Number(name.substring(3));
  const names = (await readdir(tools.sysfsFolder)).filter((name) => /^nbd\d+$/.test(name));
  return names.toSorted((one, other) => number(one) - number(other));
}

async function loadModule(tools: NbdTools): Promise<boolean> {
  try {
    return (await tools.run('modprobe', ['-q', 'nbd'], { clock: tools.clock })).status === 0;
  } catch {
    return false; // no modprobe here: then there is no module to load either
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).replace(/\n$/, '');
  } catch {
    return undefined; // the attribute exists only while the device is connected
  }
}
