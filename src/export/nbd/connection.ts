/**
 * One client from accept to close: handshake, TLS when asked, transmission; its timers and its end.
 *
 * Invariants: `onClosed` is called exactly once, after which nothing of the connection runs; a
 * handshake that takes too long and a client that stops in the middle of something are cut off.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { isCaissonError } from '../../lib/errors.ts';
import {
  nbdHandshakeMilliseconds,
  nbdLingerMilliseconds,
  nbdLoggedRefusalCountMax,
  nbdReadBytes,
  nbdStallMilliseconds,
} from '../../lib/limits.ts';
import type { BlockDevice } from '../block-device.ts';
import { Handshake, type HandshakeHost, type NbdExport, type Selection, type TlsMode } from './handshake.ts';
import type { NbdMetrics } from './metrics.ts';
import type { ReplyPool } from './reply-pool.ts';
import { commandNames } from './request-format.ts';
import type { Spinner } from './spin.ts';
import { startTls, type NbdTlsOptions } from './tls.ts';
import { readStart, Transmission, type TransmissionHost } from './transmission.ts';
import { openTransport, type Transport } from './transport.ts';

/** What happens on a server, for people and tests. Texts never hold data of the volume. */
export type NbdEvent =
  | { readonly event: 'connection-opened'; readonly connection: number; readonly from: string }
  | { readonly event: 'export-opened'; readonly connection: number; readonly export: string; readonly secure: boolean }
  | {
      readonly event: 'request-failed';
      readonly connection: number;
      readonly command: string;
      readonly errno: number;
      readonly error?: unknown;
    }
  | { readonly event: 'connection-failed'; readonly connection: number; readonly reason: string }
  | { readonly event: 'connection-closed'; readonly connection: number }
  | { readonly event: 'connection-refused'; readonly reason: string };

/** What connections share: the server. */
export interface ConnectionContext {
  readonly clock: Clock;
  readonly metrics: NbdMetrics;
  readonly pool: ReplyPool;
  readonly spinner: Spinner;
  readonly tls: NbdTlsOptions | undefined;
  readonly directReads: boolean;
  log(event: NbdEvent): void;
  find(name: string): { name: string; chosen: NbdExport } | undefined;
  list(): Iterable<readonly [string, NbdExport]>;
  stopping(): boolean;
  connectionCount(device: BlockDevice): number;
}

export class Connection {
  readonly id: number;
  readonly #context: ConnectionContext;
  readonly #onClosed: (connection: Connection) => void;
  readonly #handshake: Handshake;
  #socket: Socket;
  #secure = false;
  #transport: Transport | undefined;
  #transmission: Transmission | undefined;
  #selection: Selection | undefined;
  #cancelTimer: () => void;
  #cancelLinger: (() => void) | undefined;
  #loggedRefusals = 0;
  #progress = -1;
  #stalledChecks = 0;
  #finishing = false;
  #closed = false;

  constructor(
    id: number,
    socket: Socket,
    tls: TlsMode,
    context: ConnectionContext,
    onClosed: (connection: Connection) => void,
  ) {
    this.id = id;
    this.#context = context;
    this.#onClosed = onClosed;
    this.#socket = socket;
    this.#handshake = new Handshake({
      host: this.#handshakeHost(),
      find: (name) => context.find(name),
      list: () => context.list(),
      tls,
      stopping: () => context.stopping(),
    });
    this.#cancelTimer = context.clock.after(nbdHandshakeMilliseconds, () =>
      this.#violate('the handshake took too long'),
    );
    this.#listen(socket);
    this.#handshake.greet();
  }

  /** The device this connection serves, once the handshake is over. */
  get device(): BlockDevice | undefined {
    return this.#selection?.chosen.device;
  }

  get exportName(): string | undefined {
    return this.#selection?.name;
  }

  /** Finish what is in flight, refuse the rest, then close. */
  drain(): void {
    if (this.#transmission !== undefined) this.#transmission.drain();
    else this.destroy();
  }

  destroy(): void {
    if (this.#transport !== undefined) this.#transport.destroy();
    else this.#socket.destroy();
    this.#close();
  }

  // Handshake

  readonly #onData = (chunk: Buffer): void => this.#haggle(chunk);
  readonly #onEnd = (): void => this.destroy();
  readonly #onClose = (): void => this.#close();

  #listen(socket: Socket): void {
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    // Every failure of a socket ends in 'close'; what failed is the client's business.
    socket.on('error', () => {});
  }

  #unlisten(socket: Socket): void {
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
  }

  #haggle(chunk: Buffer): void {
    if (this.#finishing) return;
    const socket = this.#socket;
    socket.cork();
    this.#handshake.feed(chunk);
    socket.uncork();
  }

  #handshakeHost(): HandshakeHost {
    const unsentBytes = (): number => this.#socket.writableLength;
    return {
      send: (bytes) => void this.#socket.write(bytes),
      get unsentBytes() {
        return unsentBytes();
      },
      startTls: () => this.#startTls(),
      begin: (selection, rest) => this.#begin(selection, rest),
      finish: () => this.#finish(),
      violate: (reason) => this.#violate(reason),
    };
  }

  #startTls(): void {
    const plain = this.#socket;
    const tls = this.#context.tls;
    plain.uncork();
    this.#unlisten(plain);
    if (tls === undefined) {
      this.#violate('TLS is not configured');
      return;
    }
    startTls(
      plain,
      tls,
      (secure) => {
        if (this.#closed) {
          secure.destroy();
          return;
        }
        this.#context.metrics.tlsHandshakes += 1;
        this.#secure = true;
        this.#socket = secure;
        this.#listen(secure);
        this.#handshake.secured();
      },
      (reason) => {
        this.#context.metrics.tlsFailures += 1;
        this.#violate(`the TLS handshake failed: ${reason}`);
      },
    );
  }

  // Transmission

  #begin(selection: Selection, rest: Uint8Array): void {
    // The answer that ends the handshake must be out before the handle may move.
    while (this.#socket.writableCorked > 0) this.#socket.uncork();
    this.#cancelTimer();
    this.#selection = selection;
    const { metrics, pool, spinner } = this.#context;
    const transmission = new Transmission({
      device: selection.chosen.device,
      negotiated: selection.negotiated,
      pool,
      metrics,
      spinner,
      host: this.#transmissionHost(),
    });
    this.#transmission = transmission;
    this.#unlisten(this.#socket);
    this.#socket.off('close', this.#onClose);
    this.#transport = openTransport(this.#socket, rest, this.#context.directReads && !this.#secure, {
      readBuffer: transmission.region.bytes.subarray(readStart, readStart + nbdReadBytes),
      arrived: (length) => transmission.arrived(length),
      ended: () => transmission.ended(),
      closed: () => this.#close(),
    });
    this.#watch();
    // A name that is not listed is a secret of whoever was told it.
    const name = selection.chosen.isHidden === true ? '(hidden)' : selection.name;
    this.#context.log({ event: 'export-opened', connection: this.id, export: name, secure: this.#secure });
  }

  #transmissionHost(): TransmissionHost {
    const transport = (): Transport => this.#transport!;
    return {
      write: (bytes, done) => transport().write(bytes, done),
      get unsentBytes() {
        return transport().unsentBytes;
      },
      resumeReading: () => transport().resume(),
      finish: () => this.#finish(),
      violate: (reason) => this.#violate(reason),
      logFailure: (command, errno, error) => this.#logFailure(command, errno, error),
      deviceConnectionCount: () => this.#context.connectionCount(this.#selection!.chosen.device),
    };
  }

  /** A client that owes bytes and moves none for the whole time is given up. */
  #watch(): void {
    this.#cancelTimer = this.#context.clock.after(nbdStallMilliseconds / 2, () => {
      const transmission = this.#transmission!;
      const stalled = transmission.waitsForClient && transmission.progress === this.#progress;
      this.#stalledChecks = stalled ? this.#stalledChecks + 1 : 0;
      this.#progress = transmission.progress;
      if (this.#stalledChecks >= 2) this.#violate('the client stopped in the middle of a request or of its replies');
      else this.#watch();
    });
  }

  // The end

  #finish(): void {
    if (this.#finishing || this.#closed) return;
    this.#finishing = true;
    if (this.#transport !== undefined) this.#transport.end();
    else this.#socket.end();
    this.#cancelLinger = this.#context.clock.after(nbdLingerMilliseconds, () => this.destroy());
  }

  #violate(reason: string): void {
    if (this.#closed) return;
    this.#context.metrics.connectionsFailed += 1;
    this.#context.log({ event: 'connection-failed', connection: this.id, reason });
    this.destroy();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer();
    this.#cancelLinger?.();
    this.#transmission?.close();
    this.#context.log({ event: 'connection-closed', connection: this.id });
    this.#onClosed(this);
  }

  #logFailure(command: number, errno: number, error: unknown): void {
    // Our own defects are always told; a client's refusals only so often.
    const ours = error !== undefined && !(isCaissonError(error) && error.kind !== 'bug');
    if (!ours && this.#loggedRefusals >= nbdLoggedRefusalCountMax) return;
    if (!ours) this.#loggedRefusals += 1;
    const name = commandNames[command] ?? 'unknown';
    this.#context.log({
      event: 'request-failed',
      connection: this.id,
      command: name,
      errno,
      ...(error === undefined ? {} : { error }),
    });
  }
}
