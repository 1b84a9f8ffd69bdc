/**
 * A raw NBD client for tests. It writes what it is told, legal or not, and shares no code with the
 * server: its encoding is written from the protocol's text.
 */
import { connect, type Socket } from 'node:net';

export const magic = {
  option: 0x49484156454f5054n,
  optionReply: 0x0003e889045565a9n,
  request: 0x25609513,
  simple: 0x67446698,
  chunk: 0x668e33ef,
};

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export interface SimpleReply {
  readonly kind: 'simple';
  readonly error: number;
  readonly cookie: bigint;
}

export interface ChunkReply {
  readonly kind: 'chunk';
  readonly flags: number;
  readonly type: number;
  readonly cookie: bigint;
  readonly payload: Buffer;
}

export interface RequestFields {
  readonly magic?: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: bigint | number;
  readonly length?: number;
  readonly payload?: Uint8Array;
}

export class NbdClient {
  socket: Socket;
  #received: Buffer[] = [];
  #receivedLength = 0;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    this.listen(socket);
  }

  static async connect(where: { path: string } | { host: string; port: number }): Promise<NbdClient> {
    const socket = connect({ ...where, allowHalfOpen: true } as Parameters<typeof connect>[0] & object);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new NbdClient(socket);
  }

  listen(socket: Socket): void {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#receivedLength += chunk.length;
      this.#wake?.();
    });
    const over = (): void => {
      this.#ended = true;
      this.#wake?.();
    };
    socket
      .on('end', over)
      .on('close', over)
      .on('error', () => {});
  }

  get receivedLength(): number {
    return this.#receivedLength;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** One byte a write, each in a turn of its own, so that the server sees every possible cut. */
  async sendBytewise(bytes: Uint8Array): Promise<void> {
    for (let index = 0; index < bytes.length; index++) {
      this.socket.write(bytes.subarray(index, index + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The next `length` bytes; fails when the server ends before. */
  async take(length: number): Promise<Buffer> {
    while (this.#receivedLength < length) {
      if (this.#ended) throw new Error(`the server closed after ${this.#receivedLength} of ${length} bytes`);
      await this.#more();
    }
    const all = Buffer.concat(this.#received);
    this.#received = [all.subarray(length)];
    this.#receivedLength = all.length - length;
    return all.subarray(0, length);
  }

  /** Everything until the server closes. */
  async untilClosed(): Promise<Buffer> {
    while (!this.#ended) await this.#more();
    return Buffer.concat(this.#received);
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  destroy(): void {
    this.socket.destroy();
  }

  // Handshake

  async greet(flags = 3): Promise<Buffer> {
    const greeting = await this.take(18);
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags >>> 0);
    this.send(answer);
    return greeting;
  }

  async option(option: number, data: Uint8Array = Buffer.alloc(0)): Promise<OptionReply> {
    this.send(optionBytes(option, data));
    return await this.optionReply();
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.take(20);
    if (header.readBigUInt64BE(0) !== magic.optionReply) throw new Error('wrong magic in an option reply');
    return {
      option: header.readUInt32BE(8),
      type: header.readUInt32BE(12),
      data: await this.take(header.readUInt32BE(16)),
    };
  }

  /** All replies to one option: what comes before the ACK or the error, and that one. */
  async optionReplies(option: number, data: Uint8Array = Buffer.alloc(0)): Promise<OptionReply[]> {
    const replies = [await this.option(option, data)];
    while (replies.at(-1)!.type !== 1 && replies.at(-1)!.type < 0x80000000) replies.push(await this.optionReply());
    return replies;
  }

  /** The usual way into transmission. Returns the size and the flags of the export. */
  async open(
    name = '',
    options: { structured?: boolean; context?: boolean } = {},
  ): Promise<{ size: bigint; flags: number }> {
    await this.greet();
    if (options.structured) await this.option(8);
    if (options.context) await this.optionReplies(10, metaContextData(name, ['base:allocation']));
    const replies = await this.optionReplies(7, infoData(name));
    if (replies.at(-1)!.type !== 1) throw new Error(`GO was refused: ${replies.at(-1)!.type.toString(16)}`);
    const info = replies[0]!.data;
    return { size: info.readBigUInt64BE(2), flags: info.readUInt16BE(10) };
  }

  // Transmission

  request(command: number, fields: RequestFields = {}): void {
    this.send(requestBytes(command, fields));
  }

  async reply(): Promise<SimpleReply | ChunkReply> {
    const start = await this.take(16);
    const kind = start.readUInt32BE(0);
    if (kind === magic.simple)
      return { kind: 'simple', error: start.readUInt32BE(4), cookie: start.readBigUInt64BE(8) };
    if (kind !== magic.chunk) throw new Error(`wrong magic ${kind.toString(16)} in a reply`);
    const length = (await this.take(4)).readUInt32BE(0);
    return {
      kind: 'chunk',
      flags: start.readUInt16BE(4),
      type: start.readUInt16BE(6),
      cookie: start.readBigUInt64BE(8),
      payload: await this.take(length),
    };
  }

  /** The error number that answers one request, whichever way it is told; 0 for success. */
  async ask(command: number, fields: RequestFields = {}): Promise<number> {
    this.request(command, fields);
    return errorOf(await this.reply());
  }

  /** A READ over simple replies. */
  async read(offset: number, length: number, flags = 0): Promise<Buffer> {
    this.request(0, { offset, length, flags });
    const reply = await this.reply();
    if (errorOf(reply) !== 0) throw new Error(`READ failed with ${errorOf(reply)}`);
    return reply.kind === 'simple' ? await this.take(length) : reply.payload.subarray(8);
  }
}

export function errorOf(reply: SimpleReply | ChunkReply): number {
  if (reply.kind === 'simple') return reply.error;
  return reply.type >= 0x8000 ? reply.payload.readUInt32BE(0) : 0;
}

export function optionBytes(option: number, data: Uint8Array = Buffer.alloc(0), claimedLength = data.length): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64BE(magic.option, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(claimedLength, 12);
  return Buffer.concat([header, data]);
}

export function requestBytes(command: number, fields: RequestFields = {}): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(fields.magic ?? magic.request, 0);
  header.writeUInt16BE(fields.flags ?? 0, 4);
  header.writeUInt16BE(command, 6);
  header.writeBigUInt64BE(fields.cookie ?? 0x1122334455667788n, 8);
  header.writeBigUInt64BE(BigInt(fields.offset ?? 0), 16);
  header.writeUInt32BE(fields.length ?? fields.payload?.length ?? 0, 24);
  return fields.payload === undefined ? header : Buffer.concat([header, fields.payload]);
}

export function infoData(name: string, infos: readonly number[] = []): Buffer {
  const tail = Buffer.alloc(2 + infos.length * 2);
  tail.writeUInt16BE(infos.length, 0);
  infos.forEach((info, index) => tail.writeUInt16BE(info, 2 + index * 2));
  return Buffer.concat([lengthAndString(name), tail]);
}

export function metaContextData(name: string, queries: readonly string[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length, 0);
  return Buffer.concat([lengthAndString(name), count, ...queries.map(lengthAndString)]);
}

function lengthAndString(text: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(text), 0);
  return Buffer.concat([length, Buffer.from(text)]);
}
