/**
 * /dev/fuse and the mount behind it. Two ways, chosen by a feature test:
 *
 * - Signal: the descriptor does not block and is asynchronous (O_ASYNC), so the kernel raises SIGIO
 *   whenever it queues a request; the main thread then reads until there are none. No thread waits,
 *   none is woken, and many mounts cannot exhaust libuv's pool. Needs node:ffi (fcntl) and the main
 *   thread of the process, the only one that sees signals.
 * - Pool: one blocking read at a time in libuv's pool, mounted by mount(8). For builds without
 *   node:ffi. Each mount holds one thread of the pool as long as it lives.
 *
 * Invariants: the descriptor is close-on-exec, so a child never keeps the mount alive after us; the
 * listener for SIGIO is never removed, since the signal's default action ends the process.
 */
import { closeSync, constants, openSync, read, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { assert } from '../lib/assert.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import type { Clock } from '../lib/clock.ts';
import { native, pin } from './native.ts';
import type { Native } from './native.ts';
import { runTool } from './run-tool.ts';

export interface FuseMountOptions {
  /** An existing folder, absolute, without symbolic links. */
  readonly mountPoint: string;
  readonly readOnly: boolean;
  readonly userId: number;
  readonly groupId: number;
  readonly transferBytesMax: number;
  readonly requestBytesMax: number;
  readonly clock: Clock;
  /** Forces the way; by default the best that works. */
  readonly way?: 'signal' | 'pool';
}

/** Structurally the FuseChannel of export/fuse, plus the end of its life. */
export interface FuseDevice {
  readonly way: 'signal' | 'pool';
  receive(target: Region): number;
  send(source: Region, length: number): boolean;
  onReady(listener: () => void): void;
  soon(callback: () => void): void;
  /** Cuts the connection: whatever still uses the mount gets ENOTCONN. To be called once the mount is gone. */
  close(): void;
}

const devicePath = '/dev/fuse';
const sourceName = 'caisson';
export const fuseFileSystemType = 'fuse.caisson';
const ended = -1;
/** Requests that vanish between their announcement and the read, one after the other, before we look again later. */
const vanishedMax = 16;

const MS_RDONLY = 1n;
const MS_NOSUID = 2n;
const MS_NODEV = 4n;
const MS_NOEXEC = 8n;
const F_SETFL = 4;
const F_SETOWN = 8;
const O_ASYNC = 0o20000;
const PR_SET_IO_FLUSHER = 57;

interface Functions {
  mount(source: bigint, target: bigint, type: bigint, flags: bigint, data: bigint): number;
  fcntl(descriptor: number, command: number, argument: bigint): number;
  prctl(option: number, argument: bigint, unused3: bigint, unused4: bigint, unused5: bigint): number;
  read(descriptor: number, target: bigint, length: bigint): bigint;
  write(descriptor: number, source: bigint, length: bigint): bigint;
  __errno_location(): bigint;
}

interface Binding {
  readonly native: Native;
  /** Kept referenced: the functions of a collected library jump into nothing. */
  readonly library: object;
  readonly functions: Functions;
}

let binding: Binding | undefined;

export async function mountFuse(options: FuseMountOptions): Promise<FuseDevice> {
  if (endianness() !== 'LE')
    throw new CaissonError('invalid', 'unsupported', 'the FUSE export needs a little-endian machine');
  const way = options.way ?? (isMainThread && bind() !== undefined ? 'signal' : 'pool');
  return way === 'signal' ? mountSignal(options) : mountPool(options);
}

function bind(): Binding | undefined {
  if (binding !== undefined || native === undefined) return binding;
  try {
    const { lib, functions } = native.dlopen(null, {
      mount: { arguments: ['pointer', 'pointer', 'pointer', 'u64', 'pointer'], return: 'i32' },
      fcntl: { arguments: ['i32', 'i32', 'i64'], return: 'i32' },
      prctl: { arguments: ['i32', 'u64', 'u64', 'u64', 'u64'], return: 'i32' },
      read: { arguments: ['i32', 'pointer', 'u64'], return: 'i64' },
      write: { arguments: ['i32', 'pointer', 'u64'], return: 'i64' },
      __errno_location: { arguments: [], return: 'pointer' },
    });
    binding = { native, library: lib, functions: functions as unknown as Functions };
  } catch {
    binding = undefined; // another libc
  }
  return binding;
}

function openDevice(flags: number): number {
  try {
    return openSync(devicePath, flags); // libuv adds O_CLOEXEC
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code !== 'ENOENT';
    throw new CaissonError(
      denied ? 'denied' : 'io',
      denied ? 'permission-missing' : 'unsupported',
      `cannot open ${devicePath}: ${messageOf(error)}`,
      {
        remedy: denied
          ? 'Run the daemon as root, or give its container /dev/fuse and CAP_SYS_ADMIN.'
          : 'Load the kernel module fuse, or attach the volume by NBD.',
        cause: error,
      },
    );
  }
}

function mountData(descriptor: number, options: FuseMountOptions): string {
  const { userId, groupId, transferBytesMax } = options;
  return `fd=${descriptor},rootmode=40000,user_id=${userId},group_id=${groupId},default_permissions,max_read=${transferBytesMax}`;
}

// The way by signal

function mountSignal(options: FuseMountOptions): FuseDevice {
  const bound = bind();
  assert(bound !== undefined, 'the signal way is taken only where node:ffi works');
  const descriptor = openDevice(constants.O_RDWR | constants.O_NONBLOCK);
  try {
    mountNow(bound, options, mountData(descriptor, options));
    const { functions } = bound;
    listenForSignal();
    const owned = functions.fcntl(descriptor, F_SETOWN, BigInt(process.pid));
    const asynchronous = functions.fcntl(
      descriptor,
      F_SETFL,
      BigInt(constants.O_RDWR | constants.O_NONBLOCK | O_ASYNC),
    );
    if (owned !== 0 || asynchronous !== 0)
      throw new CaissonError('io', 'mount-failed', 'the kernel refuses to signal requests of /dev/fuse');
    // Memory that this process must allocate to write out dirty pages must not wait for dirty pages
    // to be written out. Needs CAP_SYS_RESOURCE; without it the kernel only throttles us like others.
    functions.prctl(PR_SET_IO_FLUSHER, 1n, 0n, 0n, 0n);
    return new SignalFuseDevice(bound, descriptor);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** The mount point is looked up on the file system below it, so this cannot wait for ourselves. */
function mountNow(bound: Binding, options: FuseMountOptions, data: string): void {
  const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (options.readOnly ? MS_RDONLY : 0n);
  const [source, target, type, parameters] = [sourceName, options.mountPoint, fuseFileSystemType, data].map((text) =>
    cString(text),
  );
  const result = bound.functions.mount(pin(source!), pin(target!), pin(type!), flags, pin(parameters!));
  if (result === 0) return;
  const errno = bound.native.getInt32(bound.functions.__errno_location(), 0);
  const denied = errno === 1;
  throw new CaissonError(
    denied ? 'denied' : 'io',
    denied ? 'permission-missing' : 'mount-failed',
    `cannot mount FUSE on ${options.mountPoint} (errno ${errno})`,
    {
      remedy: denied
        ? 'Run the daemon as root, or with CAP_SYS_ADMIN.'
        : 'Check that the mount point exists and that the kernel knows FUSE.',
      details: { errno },
    },
  );
}

function cString(text: string): Region {
  assert(!text.includes('\0'), 'a path holds no NUL');
  return Region.from(new TextEncoder().encode(`${text}\0`));
}

const readyListeners = new Set<() => void>();
let listening = false;

function listenForSignal(): void {
  if (listening) return;
  listening = true;
  process.on('SIGIO', () => {
    for (const listener of readyListeners) listener();
  });
}

class SignalFuseDevice implements FuseDevice {
  readonly way = 'signal';
  readonly #bound: Binding;
  readonly #descriptor: number;
  #listener: (() => void) | undefined;
  #closed = false;

  constructor(bound: Binding, descriptor: number) {
    this.#bound = bound;
    this.#descriptor = descriptor;
  }

  receive(target: Region): number {
    if (this.#closed) return ended;
    const address = pin(target);
    for (let vanished = 0; vanished < vanishedMax; vanished++) {
      const length = Number(this.#bound.functions.read(this.#descriptor, address, BigInt(target.length)));
      if (length > 0) return length;
      const errno = this.#bound.native.getInt32(this.#bound.functions.__errno_location(), 0);
      const outcome = outcomeOfErrno(errno);
      if (outcome !== 'again') return outcome === 'ended' ? ended : 0;
    }
    this.soon(() => this.#listener?.());
    return 0;
  }

  send(source: Region, length: number): boolean {
    if (this.#closed) return false;
    return Number(this.#bound.functions.write(this.#descriptor, pin(source), BigInt(length))) === length;
  }

  onReady(listener: () => void): void {
    assert(this.#listener === undefined, 'a FUSE device has one listener');
    this.#listener = listener;
    readyListeners.add(listener);
  }

  soon(callback: () => void): void {
    setImmediate(callback);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#listener !== undefined) readyListeners.delete(this.#listener);
    closeSync(this.#descriptor);
    this.soon(() => this.#listener?.()); // whoever listens learns of the end by receiving it
  }
}

// The way by pool

async function mountPool(options: FuseMountOptions): Promise<FuseDevice> {
  const descriptor = openDevice(constants.O_RDWR);
  try {
    const flags = `${options.readOnly ? 'ro' : 'rw'},nosuid,nodev,noexec`;
    // The child inherits the descriptor under number 3; -i keeps mount(8) from looking for a helper.
    const data = `${flags},${mountData(3, options)}`;
    const result = await runTool(
      'mount',
      ['-i', '-t', fuseFileSystemType, '-o', data, sourceName, options.mountPoint],
      {
        clock: options.clock,
        descriptor,
      },
    );
    if (result.status !== 0) {
      throw new CaissonError('io', 'mount-failed', `cannot mount FUSE on ${options.mountPoint}: ${result.errorText}`, {
        remedy: 'Run the daemon as root, or with CAP_SYS_ADMIN.',
        details: { status: result.status },
      });
    }
    return new PoolFuseDevice(descriptor, options.requestBytesMax);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

class PoolFuseDevice implements FuseDevice {
  readonly way = 'pool';
  readonly #descriptor: number;
  readonly #arrived: Region;
  #arrivedLength = 0;
  #reading = false;
  #ended = false;
  #closed = false;
  #listener: (() => void) | undefined;

  constructor(descriptor: number, requestBytesMax: number) {
    this.#descriptor = descriptor;
    this.#arrived = new Region(requestBytesMax);
  }

  receive(target: Region): number {
    const length = this.#arrivedLength;
    if (length > 0) {
      target.bytes.set(this.#arrived.bytes.subarray(0, length));
      this.#arrivedLength = 0;
    }
    if (this.#ended && length === 0) return ended;
    this.#readNext();
    return length;
  }

  send(source: Region, length: number): boolean {
    if (this.#closed) return false;
    try {
      return writeSync(this.#descriptor, source.bytes, 0, length) === length;
    } catch {
      return false; // the request was given up, or the mount is gone: the next receive tells
    }
  }

  onReady(listener: () => void): void {
    assert(this.#listener === undefined, 'a FUSE device has one listener');
    this.#listener = listener;
  }

  soon(callback: () => void): void {
    setImmediate(callback);
  }

  /** A read that waits in the kernel ends only with the mount, so the descriptor is closed behind it. */
  close(): void {
    this.#closed = true;
    this.#ended = true;
    if (!this.#reading) closeSync(this.#descriptor);
    this.soon(() => this.#listener?.());
  }

  #readNext(): void {
    if (this.#reading || this.#ended || this.#arrivedLength > 0) return;
    this.#reading = true;
    read(this.#descriptor, this.#arrived.bytes, 0, this.#arrived.length, null, (error, length) => {
      this.#reading = false;
      if (this.#closed) return closeSync(this.#descriptor);
      if (error === null) this.#arrivedLength = length;
      else if (outcomeOfErrno(Math.abs(error.errno ?? 0)) === 'ended') this.#ended = true;
      this.#listener?.();
    });
  }
}

/** What a failed read of /dev/fuse means. */
function outcomeOfErrno(errno: number): 'empty' | 'again' | 'ended' {
  if (errno === 11) return 'empty'; // EAGAIN
  // ENOENT: the request was given up meanwhile. EINTR: a signal. EIO: it did not fit, which the kernel has already answered.
  if (errno === 2 || errno === 4 || errno === 5) return 'again';
  return 'ended'; // ENODEV after unmounting, ECONNABORTED after an abort, anything else is beyond repair
}
