/** INIT: which minor, flags and sizes are spoken (spec/fuse.md, "Handshake"). Pure. */
import { CaissonError } from '../../lib/errors.ts';
import { fuseRequestsInFlightMax, fuseTransferBytesMax } from '../../lib/limits.ts';
import type { InitReply, InitRequest } from './fuse-format.ts';

const majorSpoken = 7;
const minorMin = 31;
const minorMax = 41;

const InitFlag = {
  asyncRead: 1 << 0,
  bigWrites: 1 << 5,
  asyncDirect: 1 << 15,
  parallelFolders: 1 << 18,
  maxPages: 1 << 22,
} as const;

const flagsWanted =
  InitFlag.asyncRead | InitFlag.bigWrites | InitFlag.asyncDirect | InitFlag.parallelFolders | InitFlag.maxPages;

/** The smallest page there is; the kernel cuts the count down to its own limit. */
const pageBytesMin = 4096;

export interface Handshake {
  readonly reply: InitReply;
  /** False: the kernel speaks a newer major and will say INIT again. */
  readonly settled: boolean;
}

/** Throws `unsupported` when there is no common version. */
export function negotiate(request: InitRequest): Handshake {
  const { major, minor } = request;
  if (major < majorSpoken || (major === majorSpoken && minor < minorMin)) {
    throw new CaissonError(
      'invalid',
      'unsupported',
      `the kernel speaks FUSE ${major}.${minor}, Caisson needs ${majorSpoken}.${minorMin}`,
      {
        remedy: 'Use Linux 5.4 or later, or attach the volume by NBD.',
        details: { major, minor },
      },
    );
  }
  const settled = major === majorSpoken;
  const reply: InitReply = {
    major: majorSpoken,
    minor: settled ? Math.min(minor, minorMax) : minorMax,
    readaheadBytesMax: request.readaheadBytesMax,
    flags: request.flags & flagsWanted,
    backgroundMax: fuseRequestsInFlightMax,
    writeBytesMax: fuseTransferBytesMax,
    pagesMax: fuseTransferBytesMax / pageBytesMin,
  };
  return { reply, settled };
}
