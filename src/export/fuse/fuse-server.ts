/**
 * Serves one BlockDevice as the file `disk` to a FUSE channel. Spec: spec/fuse.md.
 *
 * Each request is parsed and checked completely, then carried out; whatever fails on the way becomes
 * an errno in fuse-errors.ts. This file owns the list of operations; names and attributes are in
 * fuse-namespace.ts, file content in fuse-data.ts, buffers and bounds in fuse-session.ts.
 */
import { CaissonError } from '../../lib/errors.ts';
import type { Region } from '../../lib/region.ts';
import type { BlockDevice } from '../block-device.ts';
import type { FuseChannel, FuseLog } from './fuse-channel.ts';
import { FuseData } from './fuse-data.ts';
import { Errno } from './fuse-errors.ts';
import {
  encodeErrorReply,
  encodeInitReply,
  encodeReply,
  expectBody,
  Opcode,
  parseForgetMany,
  parseInit,
} from './fuse-format.ts';
import type { RequestHeader } from './fuse-format.ts';
import { negotiate } from './fuse-handshake.ts';
import { FuseNamespace } from './fuse-namespace.ts';
import type { FileOwner } from './fuse-namespace.ts';
import { FuseSession } from './fuse-session.ts';

export interface FuseServerOptions {
  readonly device: BlockDevice;
  readonly channel: FuseChannel;
  readonly owner: FileOwner;
  readonly log: FuseLog;
}

export class FuseServer {
  /** Fulfilled when INIT is answered; rejected when there is no common version. */
  readonly ready: Promise<void>;
  /** Fulfilled when the mount is gone and nothing waits any more; rejected after a broken message. */
  readonly ended: Promise<void>;
  readonly #device: BlockDevice;
  readonly #session: FuseSession;
  readonly #namespace: FuseNamespace;
  readonly #data: FuseData;
  #handshakeDone = false;
  readonly #settleReady: { readonly resolve: () => void; readonly reject: (reason: unknown) => void };

  constructor({ device, channel, owner, log }: FuseServerOptions) {
    this.#device = device;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#settleReady = { resolve, reject };
    this.#session = new FuseSession(channel, this, log);
    this.#namespace = new FuseNamespace(device, owner);
    this.#data = new FuseData(device, this.#session);
    this.ended = this.#session.ended;
    // Whoever waits for one of the two hears the reason; the other must not become an unhandled rejection.
    this.ready.catch(() => undefined);
    this.ended.catch((error: unknown) =>
      log('error', 'FUSE export ended by a broken message', { error: String(error) }),
    );
    this.ended.then(() => reject(endedEarly()), reject);
  }

  start(): void {
    this.#session.start();
  }

  /** Called by the session for each request, in the order of arrival. */
  handle(header: RequestHeader, message: Uint8Array): void {
    if (header.opcode === Opcode.init) return this.#init(header, message);
    if (!this.#handshakeDone) return this.#session.sendErrno(header, Errno.EIO);
    if (this.#serveData(header, message) || isForget(header, message)) return;
    const { reply } = this.#session;
    this.#session.send(reply, this.#serveAtOnce(header, message, reply));
  }

  pressure(): Promise<void> | undefined {
    return this.#device.pressure();
  }

  /** What may wait for the device. True: the reply is sent or will be. */
  #serveData(header: RequestHeader, message: Uint8Array): boolean {
    switch (header.opcode) {
      case Opcode.read:
        this.#data.read(header, message);
        return true;
      case Opcode.write:
        this.#data.write(header, message);
        return true;
      case Opcode.sync:
        expectBody(message, 16, 'FSYNC');
        this.#data.flush(header);
        return true;
      case Opcode.allocate:
        this.#data.allocate(header, message);
        return true;
      case Opcode.seek:
        this.#data.seek(header, message);
        return true;
      default:
        return false;
    }
  }

  /** The rest; returns the length of the reply. */
  #serveAtOnce(header: RequestHeader, message: Uint8Array, region: Region): number {
    const reply = region.bytes;
    switch (header.opcode) {
      case Opcode.lookup:
        return this.#namespace.lookup(header, message, reply);
      case Opcode.getAttributes:
        expectBody(message, 16, 'GETATTR');
        return this.#namespace.getAttributes(header, reply);
      case Opcode.setAttributes:
        return this.#namespace.setAttributes(header, message, reply);
      case Opcode.open:
        return this.#namespace.open(header, message, reply);
      case Opcode.openFolder:
        return this.#namespace.openFolder(header, message, reply);
      case Opcode.readFolder:
        return this.#namespace.readFolder(header, message, reply);
      case Opcode.statFileSystem:
        expectBody(message, 0, 'STATFS');
        return this.#namespace.statFileSystem(header, reply);
      case Opcode.release:
      case Opcode.releaseFolder:
        expectBody(message, 24, 'RELEASE');
        return encodeReply(reply, header, 0);
      case Opcode.syncFolder:
        expectBody(message, 16, 'FSYNCDIR');
        return encodeReply(reply, header, 0);
      case Opcode.access: // default_permissions: the kernel has already decided by mode and owner
        expectBody(message, 8, 'ACCESS');
        return encodeReply(reply, header, 0);
      case Opcode.destroy:
        expectBody(message, 0, 'DESTROY');
        return encodeReply(reply, header, 0);
      default: // INTERRUPT and FLUSH among them: ENOSYS makes the kernel stop sending them
        return encodeErrorReply(reply, header, Errno.ENOSYS);
    }
  }

  #init(header: RequestHeader, message: Uint8Array): void {
    const { reply } = this.#session;
    let handshake;
    try {
      handshake = negotiate(parseInit(message));
    } catch (error) {
      this.#session.sendErrno(header, Errno.EPROTO);
      this.#settleReady.reject(error);
      return;
    }
    this.#session.send(reply, encodeInitReply(reply.bytes, header, handshake.reply));
    if (!handshake.settled) return;
    this.#handshakeDone = true;
    this.#settleReady.resolve();
  }
}

/** FORGET counts references to nodes; both nodes live as long as the mount, so there is nothing to count. */
function isForget(header: RequestHeader, message: Uint8Array): boolean {
  // A malformed one has no reply either: there is nobody to tell.
  if (header.opcode === Opcode.forget) return true;
  if (header.opcode !== Opcode.forgetMany) return false;
  try {
    parseForgetMany(message);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
  }
  return true;
}

function endedEarly(): CaissonError {
  return new CaissonError('io', 'mount-failed', 'the FUSE mount ended before the kernel said INIT', {
    remedy: 'Look in the kernel log for messages about fuse.',
  });
}
