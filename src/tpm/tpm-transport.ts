/**
 * The two ways to a TPM: a character device, and a stream socket to a simulator (swtpm). Both carry one command and one
 * answer at a time, and both end for good when an answer does not come in its time: what comes later belongs to nobody.
 *
 * Invariant: an answer that is handed on has exactly the length that its header says, at most `tpmMessageBytesMax`.
 */
import { open } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { tpmConnectMillisecondsMax, tpmMessageBytesMax } from '../lib/limits.ts';
import { answerInvalid } from './tpm-errors.ts';

export interface TpmTransport {
  send(command: Uint8Array, milliseconds: number): Promise<Uint8Array>;
  /** Idempotent; never waits for a TPM that does not answer. */
  close(): Promise<void>;
}

const headerBytes = 10;
const sizeAt = 2;

/** What this file needs of an open device. */
export interface DeviceFile {
  write(bytes: Uint8Array, offset: number, length: number, position: null): Promise<{ readonly bytesWritten: number }>;
  read(bytes: Uint8Array, offset: number, length: number, position: null): Promise<{ readonly bytesRead: number }>;
  close(): Promise<void>;
}

export type OpenDevice = (path: string) => Promise<DeviceFile>;

const openFile: OpenDevice = (path) => open(path, 'r+');

export async function openDeviceTransport(
  path: string,
  clock: Clock,
  openDevice: OpenDevice = openFile,
): Promise<TpmTransport> {
  try {
    return new DeviceTransport(path, await openDevice(path), clock);
  } catch (error) {
    throw deviceError(path, error);
  }
}

class DeviceTransport implements TpmTransport {
  readonly #path: string;
  readonly #file: DeviceFile;
  readonly #clock: Clock;
  #isOpen = true;

  constructor(path: string, file: DeviceFile, clock: Clock) {
    this.#path = path;
    this.#file = file;
    this.#clock = clock;
  }

  async send(command: Uint8Array, milliseconds: number): Promise<Uint8Array> {
    if (!this.#isOpen) throw closed();
    try {
      return await inTime(this.#clock, milliseconds, this.#path, this.#exchange(command));
    } catch (error) {
      await this.close();
      throw error instanceof CaissonError ? error : deviceError(this.#path, error);
    }
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    // Not awaited: it ends when the kernel does, which may be never where the TPM hangs.
    this.#file.close().catch(() => undefined);
  }

  /** The driver takes a command as one write and gives the answer as one read. */
  async #exchange(command: Uint8Array): Promise<Uint8Array> {
    const { bytesWritten } = await this.#file.write(command, 0, command.length, null);
    if (bytesWritten !== command.length) throw answerInvalid('the device took only part of a command');
    const answer = new Uint8Array(tpmMessageBytesMax);
    const { bytesRead } = await this.#file.read(answer, 0, answer.length, null);
    if (answerBytes(answer.subarray(0, bytesRead)) !== bytesRead) throw answerInvalid('its length is wrong');
    return answer.subarray(0, bytesRead);
  }
}

/** `address`: host and port, or the path of a unix socket. */
export async function openSocketTransport(
  address: { readonly host: string; readonly port: number } | { readonly path: string },
  clock: Clock,
): Promise<TpmTransport> {
  const name = 'path' in address ? address.path : `${address.host}:${address.port}`;
  const socket = connect(address);
  const connected = new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  try {
    await inTime(clock, tpmConnectMillisecondsMax, name, connected);
  } catch (error) {
    socket.destroy();
    throw new CaissonError('io', 'tpm-failed', `no TPM answers at ${name}: ${messageOf(error)}`, {
      remedy: 'Start swtpm there, or name another TPM.',
      details: { device: name },
      cause: error,
    });
  }
  return new SocketTransport(name, socket, clock);
}

class SocketTransport implements TpmTransport {
  readonly #name: string;
  readonly #socket: Socket;
  readonly #clock: Clock;
  #received: Uint8Array = new Uint8Array(0);
  #waiting: { resolve(answer: Uint8Array): void; reject(error: Error): void } | undefined;
  #fault: Error | undefined;

  constructor(name: string, socket: Socket, clock: Clock) {
    this.#name = name;
    this.#socket = socket;
    this.#clock = clock;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Uint8Array) => this.#take(chunk));
    socket.on('error', (error) => this.#end(unreachable(name, error)));
    socket.on('close', () => this.#end(unreachable(name, new Error('the connection was closed'))));
  }

  async send(command: Uint8Array, milliseconds: number): Promise<Uint8Array> {
    if (this.#fault !== undefined) throw this.#fault;
    const answer = new Promise<Uint8Array>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    this.#socket.write(command);
    try {
      return await inTime(this.#clock, milliseconds, this.#name, answer);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#end(closed());
    this.#socket.destroy();
  }

  #take(chunk: Uint8Array): void {
    if (this.#waiting === undefined) return this.#end(answerInvalid('it was not asked for'));
    const received = new Uint8Array(this.#received.length + chunk.length);
    received.set(this.#received);
    received.set(chunk, this.#received.length);
    this.#received = received;
    if (received.length < headerBytes) return;
    try {
      const length = answerBytes(received);
      if (received.length < length) return;
      if (received.length > length) throw answerInvalid('more follows than its length says');
    } catch (error) {
      return this.#end(error as Error);
    }
    const { resolve } = this.#waiting;
    this.#waiting = undefined;
    this.#received = new Uint8Array(0);
    resolve(received);
  }

  #end(fault: Error): void {
    this.#fault ??= fault;
    this.#waiting?.reject(fault);
    this.#waiting = undefined;
    this.#socket.destroy();
  }
}

/** What the header of an answer says of its length. */
function answerBytes(answer: Uint8Array): number {
  if (answer.length < headerBytes) throw answerInvalid('it is shorter than a header');
  const length = new DataView(answer.buffer, answer.byteOffset).getUint32(sizeAt);
  if (length < headerBytes || length > tpmMessageBytesMax) throw answerInvalid(`its header says ${length} bytes`);
  return length;
}

async function inTime<T>(clock: Clock, milliseconds: number, name: string, work: Promise<T>): Promise<T> {
  let cancel = (): void => undefined;
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(milliseconds, () => {
      reject(
        new CaissonError('transient', 'timeout', `the TPM at ${name} did not answer within ${milliseconds} ms`, {
          remedy: 'Look for another program that holds the TPM; use /dev/tpmrm0, which shares it.',
          details: { device: name, limitMilliseconds: milliseconds },
        }),
      );
    });
  });
  work.catch(() => undefined); // it may fail after the limit, when nobody listens
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}

function deviceError(path: string, error: unknown): CaissonError {
  const code = (error as NodeJS.ErrnoException).code;
  const details = { device: path };
  if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV') {
    return new CaissonError('io', 'tpm-failed', `there is no TPM at ${path}`, {
      remedy: 'Switch the TPM on in the firmware, give the virtual machine one, or name another with its path.',
      details,
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CaissonError('denied', 'tpm-failed', `this user may not use the TPM at ${path}`, {
      remedy: 'Run as root, or add the user to the group that owns the device (often "tss").',
      details,
      cause: error,
    });
  }
  const isBusy = code === 'EBUSY';
  return new CaissonError(
    isBusy ? 'transient' : 'io',
    'tpm-failed',
    isBusy ? `another program holds the TPM at ${path}` : `the TPM at ${path} failed: ${messageOf(error)}`,
    { remedy: 'Use /dev/tpmrm0, which several programs share.', details, cause: error },
  );
}

function unreachable(name: string, error: Error): CaissonError {
  return new CaissonError('io', 'tpm-failed', `the connection to the TPM at ${name} broke: ${error.message}`, {
    remedy: 'Check that swtpm runs.',
    details: { device: name },
    cause: error,
  });
}

function closed(): CaissonError {
  return new CaissonError('closed', 'tpm-failed', 'the TPM was closed before the call');
}
