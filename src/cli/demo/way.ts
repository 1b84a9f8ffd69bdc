/**
 * A way for files to reach a volume and come back, and the choice among the three: a kernel mount, an
 * ext4 image copied over NBD by programs of the system, or NBD by the demo's own client.
 */
import fs from 'node:fs';
import { CaissonError } from '../../lib/errors.ts';
import { findProgram } from './caisson.ts';
import type { CaissonCommand } from './caisson.ts';
import type { WayName } from './report.ts';
import type { Tree } from './tree.ts';

export type VolumeName = 'sealed' | 'plain';

export interface WayContext {
  readonly caisson: CaissonCommand;
  /** The demo's folder; ways keep their images and mount points in it. */
  readonly folder: string;
  readonly tree: Tree;
  readonly signal: AbortSignal;
}

/** A volume that a daemon holds open. */
export interface OpenedVolume {
  /** Of the daemon. */
  readonly pid: number;
  /** Durable when it resolves. */
  putTree(): Promise<void>;
  /** How many files of the tree are missing or not what they were. */
  countChangedFiles(tree: Tree): Promise<number>;
  /** One record of the write load; acknowledged as durable when it resolves. */
  putRecord(index: number, bytes: Uint8Array): Promise<void>;
  readRecord(index: number, bytes: number): Promise<Uint8Array>;
  /** Writes without a flush, to keep the daemon busy. */
  putBulk(index: number, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
  /** After the daemon was killed: lets go of what this process holds. */
  abandon(): Promise<void>;
}

export interface Way {
  readonly name: WayName;
  /** For people, with the words of this machine. */
  readonly description: string;
  /** `isNew`: the volume is blank. */
  open(volume: VolumeName, isNew: boolean): Promise<OpenedVolume>;
  /** Puts right what a killed daemon left behind. */
  clearCrash(volume: VolumeName): Promise<void>;
  /** The closed volume's file system, checked by a program that knows nothing of Caisson. */
  checkFileSystem(volume: VolumeName): Promise<'clean' | 'not-run'>;
}

export const volumeBytes = 512 * 1024 * 1024;

export interface Choice {
  readonly name: WayName;
  readonly reason: string;
}

/** The best way that this machine seems able to go. */
export function chooseWay(asked: WayName | undefined): Choice {
  const noMount = whyNoMount();
  const noImage = whyNoImage();
  if (asked === 'mount' && noMount !== undefined) throw impossible('mount', noMount);
  if (asked === 'nbd' && noImage !== undefined) throw impossible('nbd', noImage);
  if (asked !== undefined) return { name: asked, reason: 'asked for with --way' };
  if (noMount === undefined) return { name: 'mount', reason: 'root, /dev/fuse, a loop device and mkfs.ext4 are there' };
  return afterMount(noMount);
}

/** When the mount turned out not to be possible: a container may forbid what it shows. */
export function afterMount(reason: string): Choice {
  const noImage = whyNoImage();
  if (noImage === undefined) return { name: 'nbd', reason: `no mount: ${reason}` };
  return { name: 'built-in', reason: `no mount: ${reason}; no image: ${noImage}` };
}

function whyNoMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  for (const device of ['/dev/fuse', '/dev/loop-control']) {
    if (!fs.existsSync(device)) return `there is no ${device}`;
  }
  return missing(['mkfs.ext4', 'mount', 'umount']);
}

function whyNoImage(): string | undefined {
  const lacking = missing(['mkfs.ext4', 'fsck.ext4', 'debugfs']);
  if (lacking !== undefined) return lacking;
  const hasCopier = findProgram('nbdcopy') !== undefined || findProgram('qemu-img') !== undefined;
  return hasCopier ? undefined : 'nbdcopy and qemu-img are not installed';
}

function missing(programs: readonly string[]): string | undefined {
  const lacking = programs.filter((program) => findProgram(program) === undefined);
  return lacking.length === 0 ? undefined : `${lacking.join(', ')} not installed`;
}

function impossible(way: WayName, reason: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `--way ${way} is not possible here: ${reason}`, {
    remedy: 'Leave --way out; the demo takes the best way there is.',
  });
}
