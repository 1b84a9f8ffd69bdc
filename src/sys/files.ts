/**
 * The file calls that node:fs lacks: preadv2 with RWF_NOWAIT, flock, holes in files, size and discard of block devices. Feature-tested; `undefined`
 * where node:ffi or the symbols are missing, and callers then take the slower way.
 *
 * Invariant: the library object stays referenced by this module for the life of the process; the
 * functions of a collected library jump into nothing.
 */
import { CaissonError } from '../lib/errors.ts';
import { Region, regionBytesMin } from '../lib/region.ts';
import { native, pin } from './native.ts';
import type { Native } from './native.ts';

const RWF_NOWAIT = 0x8;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** _IO(0x12, 119) and _IOR(0x12, 114, size_t). */
const BLKDISCARD = 0x1277;
const BLKGETSIZE64 = 0x8008_1272;
/** _IOR('p', 236, struct opal_status), two words of 32 bits. */
const IOC_OPAL_GET_STATUS = 0x8008_70ec;
const LOCK_EX = 2;
const LOCK_NB = 4;
const EBADF = 9;
const EAGAIN = 11;
const ENOLCK = 37;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

/** What `readNow` says when the kernel will never answer it for this file, as against "not cached now". */
export const readNowUnsupported = -2;

export interface NativeFiles {
  /** The count read without waiting (it may be short), -1 when it would wait, `readNowUnsupported`. */
  readNow(descriptor: number, position: number, length: number, target: Region, targetOffset: number): number;
  /** True when the lock is ours until the descriptor closes, false when somebody else holds it. Throws where locks do not exist. */
  tryLock(descriptor: number): boolean;
  /** Bytes of a block device; undefined when the kernel does not say. */
  deviceBytes(descriptor: number): number | undefined;
  /** The flags of a TCG Opal drive's state, or the negated errno. */
  opalStatus(descriptor: number): number;
  /** Makes a hole in a file, or tells a block device that it may forget the range. False when that cannot be done. */
  discard(descriptor: number, isDevice: boolean, position: number, length: number): boolean;
}

function load(): NativeFiles | undefined {
  if (process.platform !== 'linux' || native === undefined) return undefined;
  try {
    const { lib, functions } = native.dlopen(null, {
      preadv2: { arguments: ['i32', 'pointer', 'i32', 'i64', 'i32'], return: 'i64' },
      flock: { arguments: ['i32', 'i32'], return: 'i32' },
      ioctl: { arguments: ['i32', 'u64', 'pointer'], return: 'i32' },
      fallocate: { arguments: ['i32', 'i32', 'i64', 'i64'], return: 'i32' },
      __errno_location: { arguments: [], return: 'pointer' },
    });
    return new LinuxFiles(native, lib, functions);
  } catch {
    return undefined; // another libc: node:fs carries on alone
  }
}

interface LinuxFunctions {
  preadv2(descriptor: number, vector: bigint, vectorCount: number, position: bigint, flags: number): bigint;
  flock(descriptor: number, operation: number): number;
  ioctl(descriptor: number, request: bigint, argument: bigint): number;
  fallocate(descriptor: number, mode: number, position: bigint, length: bigint): number;
  __errno_location(): bigint;
}

class LinuxFiles implements NativeFiles {
  readonly library: object;
  readonly #native: Native;
  readonly #functions: LinuxFunctions;
  /** One struct iovec, reused: every call is synchronous, so that no two use it at once. */
  readonly #scratch = new Region(regionBytesMin);
  readonly #vector = new BigUint64Array(this.#scratch.bytes.buffer, 0, 2);
  readonly #vectorAddress = pin(this.#scratch);

  constructor(entrance: Native, library: object, functions: LinuxFunctions) {
    this.library = library;
    this.#native = entrance;
    this.#functions = functions;
  }

  readNow(descriptor: number, position: number, length: number, target: Region, targetOffset: number): number {
    this.#vector[0] = pin(target) + BigInt(targetOffset);
    this.#vector[1] = BigInt(length);
    const count = Number(this.#functions.preadv2(descriptor, this.#vectorAddress, 1, BigInt(position), RWF_NOWAIT));
    if (count >= 0) return count;
    return this.#errno() === EAGAIN ? -1 : readNowUnsupported;
  }

  tryLock(descriptor: number): boolean {
    if (this.#functions.flock(descriptor, LOCK_EX | LOCK_NB) === 0) return true;
    const errno = this.#errno();
    // Only a clear "cannot lock at all" is an error; whatever else refuses counts as held elsewhere.
    if (errno === EBADF || errno === ENOLCK || errno === ENOSYS || errno === EOPNOTSUPP) {
      throw new CaissonError('io', 'store-io', 'this file system does not support locks', {
        remedy: 'Put the store on a local file system, or on one that supports flock.',
        details: { errno },
      });
    }
    return false;
  }

  deviceBytes(descriptor: number): number | undefined {
    this.#vector[0] = 0n;
    if (this.#functions.ioctl(descriptor, BigInt(BLKGETSIZE64), this.#vectorAddress) !== 0) return undefined;
    return Number(this.#vector[0]);
  }

  opalStatus(descriptor: number): number {
    this.#vector[0] = 0n;
    if (this.#functions.ioctl(descriptor, BigInt(IOC_OPAL_GET_STATUS), this.#vectorAddress) !== 0)
      return -this.#errno();
    return Number(this.#vector[0] & 0xffff_ffffn);
  }

  discard(descriptor: number, isDevice: boolean, position: number, length: number): boolean {
    if (!isDevice) {
      const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      return this.#functions.fallocate(descriptor, mode, BigInt(position), BigInt(length)) === 0;
    }
    this.#vector[0] = BigInt(position);
    this.#vector[1] = BigInt(length);
    return this.#functions.ioctl(descriptor, BigInt(BLKDISCARD), this.#vectorAddress) === 0;
  }

  /** To be read at once after a failed call, before anything else makes a system call on this thread. */
  #errno(): number {
    return this.#native.getInt32(this.#functions.__errno_location(), 0);
  }
}

export const nativeFiles: NativeFiles | undefined = load();
