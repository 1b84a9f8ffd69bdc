/**
 * What the kernel tells about a block device: what it is, how it is reached, whether it encrypts by itself and is locked.
 * From sysfs, and from the ioctl that asks a TCG Opal drive (Linux 6.1 and newer, root only).
 *
 * Invariant: what cannot be found out is undefined or says why; nothing here is guessed. sysfs is input from
 * outside this program: a missing or strange attribute is nothing found.
 */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { nativeFiles } from './files.ts';

export interface BlockDeviceFacts {
  /** As sysfs calls the whole disk: `sda`, `nvme0n1`, `dm-3`. */
  readonly name: string;
  readonly isPartition: boolean;
  readonly isReadOnly: boolean;
  /** How it is reached; undefined where the kernel does not say. */
  readonly transport:
    | { readonly kind: 'pcie' | 'ata' | 'usb' | 'virtio' | 'sas' }
    | { readonly kind: 'nvme-of'; readonly fabric: string; readonly addresses: readonly string[] }
    | { readonly kind: 'fibre-channel' | 'iscsi' }
    | { readonly kind: 'device-mapper'; readonly target: string; readonly below: readonly string[] }
    | { readonly kind: 'loop'; readonly file: string }
    | undefined;
  readonly model: string | undefined;
  /** The multipath device that this one is a path of. */
  readonly multipathAbove: string | undefined;
  /** Bytes one discard may have; 0: none. */
  readonly discardBytesMax: number | undefined;
  readonly opal: OpalState;
}

export type OpalState =
  | { readonly kind: 'opal'; readonly isLockingEnabled: boolean; readonly isLocked: boolean }
  | { readonly kind: 'none' }
  | { readonly kind: 'unknown'; readonly reason: string };

export interface FactSources {
  /** `/sys` */
  readonly sysfs: string;
  /** Asks the drive; the flags of its answer, or the negated errno. */
  readonly opalStatus: (device: string) => number;
}

const opalSupported = 1;
const opalLockingSupported = 2;
const opalLockingEnabled = 4;
const opalLocked = 8;
/** ENOTSUPP of the kernel, which has no name outside: the driver would know, the drive is none. */
const driveIsNone = 524;
const errnoReasons: Readonly<Record<number, string>> = {
  1: 'not permitted to ask, which takes CAP_SYS_ADMIN',
  13: 'not permitted to ask, which takes CAP_SYS_ADMIN',
  22: 'this kernel cannot ask (Linux 6.1 can)',
  25: 'this kernel or the driver of this device cannot ask',
  95: 'this kernel or the driver of this device cannot ask',
};

/** Undefined when `device` is no block device (or gone). */
export function blockDeviceFacts(device: string, sources: FactSources = systemSources): BlockDeviceFacts | undefined {
  const found = statSync(device, { throwIfNoEntry: false });
  if (found?.isBlockDevice() !== true) return undefined;
  return factsOfNumber(deviceNumber(found.rdev), device, sources);
}

/** The same for a device by its number (`8:0`), for tests with a recorded sysfs. */
export function factsOfNumber(number: string, device: string, sources: FactSources): BlockDeviceFacts | undefined {
  const { sysfs } = sources;
  const own = realOrUndefined(`${sysfs}/dev/block/${number}`);
  if (own === undefined) return undefined;
  const isPartition = existsSync(`${own}/partition`);
  const disk = isPartition ? path.dirname(own) : own;
  return {
    name: path.basename(disk),
    isPartition,
    isReadOnly: attribute(`${own}/ro`) === '1',
    transport: transportOf(disk, sysfs),
    model: attribute(`${disk}/device/model`),
    multipathAbove: multipathAbove(own, disk),
    discardBytesMax: count(attribute(`${disk}/queue/discard_max_bytes`)),
    opal: opalOf(sources.opalStatus(device)),
  };
}

export function opalOf(answer: number): OpalState {
  if (answer === -driveIsNone) return { kind: 'none' };
  if (answer < 0) return { kind: 'unknown', reason: errnoReasons[-answer] ?? `asking failed with error ${-answer}` };
  if ((answer & opalSupported) === 0) return { kind: 'none' };
  const isLockingEnabled = (answer & opalLockingSupported) !== 0 && (answer & opalLockingEnabled) !== 0;
  return { kind: 'opal', isLockingEnabled, isLocked: isLockingEnabled && (answer & opalLocked) !== 0 };
}

function transportOf(disk: string, sysfs: string): BlockDeviceFacts['transport'] {
  const name = path.basename(disk);
  const uuid = attribute(`${disk}/dm/uuid`);
  if (existsSync(`${disk}/dm`)) {
    const target = uuid === undefined ? 'unknown' : uuid.split('-', 1)[0]!.toLowerCase();
    return { kind: 'device-mapper', target, below: names(`${disk}/slaves`) };
  }
  if (name.startsWith('loop')) return { kind: 'loop', file: attribute(`${disk}/loop/backing_file`) ?? 'unknown' };
  if (name.startsWith('nvme')) return nvmeTransport(disk);
  if (name.startsWith('vd')) return { kind: 'virtio' };
  return scsiTransport(disk, sysfs);
}

/** One controller, or with several paths the controllers of the subsystem. */
function nvmeTransport(disk: string): BlockDeviceFacts['transport'] {
  const above = `${disk}/device`;
  const controllers = names(above).filter((name) => /^nvme\d+$/.test(name));
  const places = existsSync(`${above}/transport`) ? [above] : controllers.map((name) => `${above}/${name}`);
  const fabrics = places.map((place) => attribute(`${place}/transport`)).filter((found) => found !== undefined);
  const [fabric] = fabrics;
  if (fabric === undefined) return undefined;
  if (fabric === 'pcie') return { kind: 'pcie' };
  const addresses = places.map((place) => attribute(`${place}/address`)).filter((found) => found !== undefined);
  return { kind: 'nvme-of', fabric, addresses };
}

function scsiTransport(disk: string, sysfs: string): BlockDeviceFacts['transport'] {
  const real = realOrUndefined(`${disk}/device`) ?? disk;
  const host = /\/(host\d+)\//.exec(`${real}/`)?.[1];
  if (host !== undefined && existsSync(`${sysfs}/class/fc_host/${host}`)) return { kind: 'fibre-channel' };
  if (host !== undefined && existsSync(`${sysfs}/class/iscsi_host/${host}`)) return { kind: 'iscsi' };
  if (host !== undefined && existsSync(`${sysfs}/class/sas_host/${host}`)) return { kind: 'sas' };
  if (/\/usb\d+\//.test(real)) return { kind: 'usb' };
  if (/\/ata\d+\//.test(real)) return { kind: 'ata' };
  return undefined;
}

function multipathAbove(...places: readonly string[]): string | undefined {
  for (const place of places) {
    for (const holder of names(`${place}/holders`)) {
      const uuid = attribute(`${place}/holders/${holder}/dm/uuid`);
      if (uuid?.startsWith('mpath-') !== true) continue;
      const name = attribute(`${place}/holders/${holder}/dm/name`);
      return name === undefined ? `/dev/${holder}` : `/dev/mapper/${name}`;
    }
  }
  return undefined;
}

const systemSources: FactSources = { sysfs: '/sys', opalStatus: askOpal };

function askOpal(device: string): number {
  const unsupported = -25;
  if (nativeFiles === undefined) return unsupported;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(device, 'r');
    return nativeFiles.opalStatus(descriptor);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    return typeof errno === 'number' && errno < 0 ? errno : unsupported;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** As sysfs writes it. */
export function deviceNumber(rdev: number): string {
  const major = (Math.floor(rdev / 256) & 0xfff) | (Math.floor(rdev / 2 ** 32) & ~0xfff);
  const minor = (rdev & 0xff) | (Math.floor(rdev / 2 ** 12) & 0xfff00);
  return `${major}:${minor}`;
}

function attribute(file: string): string | undefined {
  try {
    const text = readFileSync(file, 'utf8').trim();
    return text === '' ? undefined : text.substring(0, 256);
  } catch {
    return undefined; // sysfs has an attribute only where it means something
  }
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return [];
  }
}

function count(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function realOrUndefined(file: string): string | undefined {
  try {
    return realpathSync(file);
  } catch {
    return undefined;
  }
}
