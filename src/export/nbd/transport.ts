/**
 * The socket under the transmission phase, in two kinds with one face.
 *
 * The direct kind lets the system read straight into the connection's region: `onread` of net.Socket.
 * Node offers that only when a socket is made, and an accepted socket is already made, so its handle
 * moves to a second net.Socket. The handle is not public API: where it is missing or is not what we
 * expect, and always under TLS, the piecewise kind copies 'data' chunks into the region instead.
 */
import { Socket } from 'node:net';
import { nbdReadBytes } from '../../lib/limits.ts';

export interface TransportListener {
  /** Where incoming bytes go: `nbdReadBytes` long. */
  readonly readBuffer: Uint8Array<ArrayBuffer>;
  /** So many bytes are in the read buffer. False: no more until `resume`. */
  arrived(length: number): boolean;
  /** The client sends no more. */
  ended(): void;
  /** Nothing works any more. Called once. */
  closed(): void;
}

export interface Transport {
  readonly kind: 'direct' | 'piecewise';
  write(bytes: Uint8Array, done: () => void): void;
  readonly unsentBytes: number;
  /** After `arrived` returned false: go on. */
  resume(): void;
  /** Sends what is written, then says goodbye. */
  end(): void;
  destroy(): void;
}

/** Takes over `socket`, whose handshake is done and on which nobody listens; `rest` was already read from it. */
export function openTransport(
  socket: Socket,
  rest: Uint8Array,
  direct: boolean,
  listener: TransportListener,
): Transport {
  const handle = direct ? detachHandle(socket) : undefined;
  if (handle === undefined) return new PiecewiseTransport(socket, rest, listener);
  return new DirectTransport(socket, handle, rest, listener);
}

/** The handle when it can move: known to be one, and with nothing of the old socket still to be sent. */
function detachHandle(socket: Socket): object | undefined {
  const handle = (socket as unknown as { _handle?: unknown })._handle;
  if (typeof handle !== 'object' || handle === null || socket.writableLength > 0 || socket.readableLength > 0)
    return undefined;
  if (typeof (handle as { useUserBuffer?: unknown }).useUserBuffer !== 'function') return undefined;
  return handle;
}

class DirectTransport implements Transport {
  readonly kind = 'direct';
  readonly #socket: Socket;

  constructor(accepted: Socket, handle: object, rest: Uint8Array, listener: TransportListener) {
    const options = {
      handle,
      allowHalfOpen: true,
      pauseOnCreate: true,
      onread: { buffer: listener.readBuffer, callback: (length: number) => listener.arrived(length) },
    };
    const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
    this.#socket = socket;
    socket.on('end', () => listener.ended());
    // Every failure ends in 'close'; what failed is the client's business.
    socket.on('error', () => {});
    socket.on('close', () => {
      // The server counts the accepted socket until it is gone.
      (accepted as unknown as { _handle: unknown })._handle = null;
      accepted.destroy();
      listener.closed();
    });
    if (rest.length === 0) {
      socket.resume();
      return;
    }
    // The system does not read before `resume`, so the buffer is ours until then.
    listener.readBuffer.set(rest);
    queueMicrotask(() => {
      if (!socket.destroyed && listener.arrived(rest.length)) socket.resume();
    });
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#socket.write(bytes, done);
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

class PiecewiseTransport implements Transport {
  readonly kind = 'piecewise';
  readonly #socket: Socket;
  readonly #listener: TransportListener;
  /** What was read and not yet passed on. */
  #waiting: Uint8Array[] = [];
  #stopped = false;
  #ended = false;

  constructor(socket: Socket, rest: Uint8Array, listener: TransportListener) {
    this.#socket = socket;
    this.#listener = listener;
    socket.on('data', (chunk: Buffer) => {
      this.#waiting.push(chunk);
      this.#pass();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#pass();
    });
    socket.on('error', () => {});
    socket.on('close', () => listener.closed());
    if (rest.length > 0) this.#waiting.push(new Uint8Array(rest));
    queueMicrotask(() => this.#pass());
    socket.resume();
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#socket.write(bytes, done);
  }

  resume(): void {
    this.#stopped = false;
    this.#socket.resume();
    this.#pass();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #pass(): void {
    while (!this.#stopped && !this.#socket.destroyed) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      const piece = chunk.subarray(0, nbdReadBytes);
      if (piece.length < chunk.length) this.#waiting.unshift(chunk.subarray(piece.length));
      this.#listener.readBuffer.set(piece);
      if (!this.#listener.arrived(piece.length)) {
        this.#stopped = true;
        this.#socket.pause();
      }
    }
    if (this.#ended && !this.#stopped && this.#waiting.length === 0) {
      this.#ended = false;
      this.#listener.ended();
    }
  }
}
