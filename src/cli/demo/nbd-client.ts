/**
 * A small NBD client over a unix socket (fixed newstyle, simple replies), so that the demo needs no
 * program of the system. It trusts the server that the demo started; what a server may do wrong ends
 * in one error, never in a hang: every request has a bound in time.
 */
import net from 'node:net';
import { CaissonError } from '../../lib/errors.ts';
import { demoCommandMillisecondsMax } from '../../lib/limits.ts';

const Command = { read: 0, write: 1, disconnect: 2, flush: 3 } as const;
type Command = (typeof Command)[keyof typeof Command];

const optionGo = 7;
const replyAck = 1;
const replyInfo = 3;
const infoExport = 0;
const greetingMagic = 0x4e42444d41474943n;
const optionMagic = 0x49484156454f5054n;
const optionReplyMagic = 0x3e889045565a9n;
const requestMagic = 0x25609513;
const replyMagic = 0x67446698;
/** Fixed newstyle, no zeroes after the handshake. */
const clientFlags = 3;

interface Pending {
  readonly length: number;
  readonly settle: (error: CaissonError | undefined, payload: Buffer) => void;
}

export class NbdClient {
  readonly #socket: net.Socket;
  readonly #pending = new Map<bigint, Pending>();
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #wanted = 0;
  #wake: ((bytes: Buffer) => void) | undefined;
  #failure: CaissonError | undefined;
  #fail: (error: CaissonError) => void = () => undefined;
  #cookie = 0n;
  size = 0;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => this.#take(piece));
    socket.on('error', (error) => this.#end(lost(error.message)));
    socket.on('close', () => this.#end(lost('the server closed the connection')));
  }

  static async connect(socketPath: string, exportName: string): Promise<NbdClient> {
    const client = new NbdClient(net.connect(socketPath));
    try {
      await client.#handshake(exportName);
    } catch (error) {
      client.#socket.destroy();
      throw error;
    }
    void client.#readReplies();
    return client;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return this.#request(Command.read, offset, length);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#request(Command.write, offset, bytes.length, bytes);
  }

  /** Resolves when everything that was answered before is on stable storage. */
  async flush(): Promise<void> {
    await this.#request(Command.flush, 0, 0);
  }

  async close(): Promise<void> {
    if (this.#failure !== undefined) return;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    this.#socket.end(requestHeader(Command.disconnect, 0n, 0, 0));
    const timer = setTimeout(() => this.#socket.destroy(), 1000);
    await closed;
    clearTimeout(timer);
  }

  #request(command: Command, offset: number, length: number, payload?: Uint8Array): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      const cookie = this.#cookie++;
      const timer = setTimeout(
        () => this.#end(lost(`no reply for ${demoCommandMillisecondsMax / 1000} s`)),
        demoCommandMillisecondsMax,
      );
      this.#pending.set(cookie, {
        length: command === Command.read ? length : 0,
        settle: (error, bytes) => {
          clearTimeout(timer);
          if (error === undefined) resolve(bytes);
          else reject(error);
        },
      });
      this.#socket.cork();
      this.#socket.write(requestHeader(command, cookie, offset, length));
      if (payload !== undefined) this.#socket.write(payload);
      this.#socket.uncork();
    });
  }

  async #handshake(exportName: string): Promise<void> {
    const timer = setTimeout(() => this.#end(lost('no handshake')), demoCommandMillisecondsMax);
    const greeting = await this.#receive(18);
    if (greeting.readBigUInt64BE(0) !== greetingMagic || greeting.readBigUInt64BE(8) !== optionMagic)
      throw lost('this is not an NBD server');
    const name = Buffer.from(exportName);
    const option = Buffer.alloc(4 + 16 + 4 + name.length + 2);
    option.writeUInt32BE(clientFlags, 0);
    option.writeBigUInt64BE(optionMagic, 4);
    option.writeUInt32BE(optionGo, 12);
    option.writeUInt32BE(4 + name.length + 2, 16);
    option.writeUInt32BE(name.length, 20);
    name.copy(option, 24);
    this.#socket.write(option);
    for (;;) {
      const header = await this.#receive(20);
      if (header.readBigUInt64BE(0) !== optionReplyMagic) throw lost('the handshake went wrong');
      const type = header.readUInt32BE(12);
      const data = await this.#receive(header.readUInt32BE(16));
      if (type === replyAck) break;
      if (type !== replyInfo) throw lost(`the server refuses the export (reply ${type.toString(16)})`);
      if (data.readUInt16BE(0) === infoExport) this.size = Number(data.readBigUInt64BE(2));
    }
    clearTimeout(timer);
  }

  async #readReplies(): Promise<void> {
    try {
      for (;;) {
        const header = await this.#receive(16);
        const cookie = header.readBigUInt64BE(8);
        const pending = this.#pending.get(cookie);
        if (header.readUInt32BE(0) !== replyMagic || pending === undefined) throw lost('a reply to nothing');
        const code = header.readUInt32BE(4);
        const payload = await this.#receive(code === 0 ? pending.length : 0);
        this.#pending.delete(cookie);
        pending.settle(code === 0 ? undefined : refused(code), payload);
      }
    } catch (error) {
      this.#end(error instanceof CaissonError ? error : lost(String(error)));
    }
  }

  /** One reader at a time: the handshake, then the loop above. */
  #receive(length: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#wanted = length;
      this.#wake = resolve;
      this.#fail = reject;
      this.#give();
    });
  }

  #take(piece: Buffer): void {
    this.#received.push(piece);
    this.#receivedBytes += piece.length;
    this.#give();
  }

  #give(): void {
    if (this.#wake === undefined || this.#receivedBytes < this.#wanted) return;
    const all = this.#received.length === 1 ? (this.#received[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#received);
    const rest = all.subarray(this.#wanted);
    this.#received = rest.length === 0 ? [] : [rest];
    this.#receivedBytes = rest.length;
    const wake = this.#wake;
    this.#wake = undefined;
    wake(all.subarray(0, this.#wanted));
  }

  #end(error: CaissonError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#socket.destroy();
    this.#fail(error);
    for (const { settle } of this.#pending.values()) settle(error, Buffer.alloc(0));
    this.#pending.clear();
  }
}

function requestHeader(command: Command, cookie: bigint, offset: number, length: number): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(requestMagic, 0);
  header.writeUInt16BE(command, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeBigUInt64BE(BigInt(offset), 16);
  header.writeUInt32BE(length, 24);
  return header;
}

function lost(why: string): CaissonError {
  return new CaissonError('io', 'daemon-unreachable', `the connection to the volume was lost: ${why}`);
}

function refused(code: number): CaissonError {
  return new CaissonError('io', 'store-io', `the volume answered with NBD error ${code}`);
}
