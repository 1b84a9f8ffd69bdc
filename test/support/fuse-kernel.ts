/**
 * A kernel side of FUSE for tests: requests go in by hand, replies are collected. Beside it a small
 * device whose completions wait until the test lets them go.
 */
import type { BlockDevice, BlockWrite, Completion, Extent } from '../../src/export/block-device.ts';
import type { FuseChannel } from '../../src/export/fuse/fuse-channel.ts';
import { FuseServer } from '../../src/export/fuse/fuse-server.ts';
import type { Region } from '../../src/lib/region.ts';

export interface FuseReply {
  readonly unique: number;
  readonly errno: number; // positive, 0 for success
  readonly body: Uint8Array;
  readonly length: number; // as the header says
}

export class FuseKernel implements FuseChannel {
  readonly replies: FuseReply[] = [];
  #queue: Uint8Array[] = [];
  #listener: () => void = () => undefined;
  #over = false;
  #unique = 0;

  receive(target: Region): number {
    const message = this.#queue.shift();
    if (message === undefined) return this.#over ? -1 : 0;
    target.bytes.set(message);
    return message.length;
  }

  send(source: Region, length: number): boolean {
    const view = new DataView(source.bytes.buffer);
    this.replies.push({
      unique: Number(view.getBigUint64(8, true)),
      errno: Math.abs(view.getInt32(4, true)),
      body: Uint8Array.from(source.bytes.subarray(16, length)),
      length: view.getUint32(0, true),
    });
    return true;
  }

  onReady(listener: () => void): void {
    this.#listener = listener;
  }

  soon(callback: () => void): void {
    queueMicrotask(callback);
  }

  get waitingCount(): number {
    return this.#queue.length;
  }

  /** Queues a request and wakes the server; returns the request's unique number. */
  ask(opcode: number, node: number, body: Uint8Array): number {
    this.#unique += 2;
    this.raw(fuseRequest(opcode, node, this.#unique, body));
    return this.#unique;
  }

  raw(message: Uint8Array): void {
    this.#queue.push(message);
    this.#listener();
  }

  end(): void {
    this.#over = true;
    this.#listener();
  }

  replyTo(unique: number): FuseReply | undefined {
    return this.replies.find((reply) => reply.unique === unique);
  }
}

export function fuseRequest(opcode: number, node: number, unique: number, body: Uint8Array): Uint8Array {
  const message = new Uint8Array(40 + body.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(8, BigInt(unique), true);
  view.setBigUint64(16, BigInt(node), true);
  message.set(body, 40);
  return message;
}

/** The body of READ, READDIR and, with the payload behind it, WRITE. */
export function fuseTransfer(offset: number, size: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const body = new Uint8Array(40 + payload.length);
  const view = new DataView(body.buffer);
  view.setBigUint64(8, BigInt(offset), true);
  view.setUint32(16, size, true);
  body.set(payload, 40);
  return body;
}

export function fuseInit(major = 7, minor = 45): Uint8Array {
  const body = new Uint8Array(64);
  const view = new DataView(body.buffer);
  [major, minor, 131072, 0x73fffffb].forEach((value, index) => view.setUint32(index * 4, value, true));
  return body;
}

/** Completes at once, unless `hold` was called: then calls wait until `letGo`. */
export class SmallDevice implements BlockDevice {
  readonly blockSize = 4096;
  readonly bytes: Uint8Array;
  readonly calls: string[] = [];
  readOnly = false;
  failure: Error | undefined;
  pressed: Promise<void> | undefined;
  #held: (() => void)[] | undefined;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  hold(): void {
    this.#held = [];
  }

  letGo(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const go of held) go();
  }

  read(offset: number, length: number, target: Region, targetOffset: number): Completion {
    return this.#run(`read ${offset} ${length}`, () =>
      target.bytes.set(this.bytes.subarray(offset, offset + length), targetOffset),
    );
  }

  write(offset: number, length: number, source: Region, sourceOffset: number): Completion {
    const taken = Uint8Array.from(source.bytes.subarray(sourceOffset, sourceOffset + length));
    return this.#run(`write ${offset} ${length}`, () => this.bytes.set(taken, offset));
  }

  beginWrite(): BlockWrite {
    throw new Error('FUSE writes come whole');
  }

  zero(offset: number, length: number, mayPunch: boolean): Completion {
    return this.#run(`zero ${offset} ${length} ${mayPunch}`, () => this.bytes.fill(0, offset, offset + length));
  }

  trim(offset: number, length: number): Completion {
    return this.#run(`trim ${offset} ${length}`, () => this.bytes.fill(0, offset, offset + length));
  }

  flush(): Promise<void> {
    return Promise.resolve(this.#run('flush', () => undefined));
  }

  /** Blocks of zeroes are holes; at most `countMax` blocks are looked at, so that callers must ask again. */
  extents(offset: number, length: number, countMax: number): Extent[] {
    const extents: Extent[] = [];
    for (let at = offset; at < offset + length && extents.length < Math.min(countMax, 3);) {
      const end = Math.min((Math.floor(at / 4096) + 1) * 4096, offset + length);
      const zero = this.bytes.subarray(at, end).every((byte) => byte === 0);
      extents.push({ length: end - at, hole: zero, zero });
      at = end;
    }
    return extents;
  }

  async resize(): Promise<void> {
    throw new Error('not resized here');
  }

  pressure(): Promise<void> | undefined {
    return this.pressed;
  }

  onResize(): () => void {
    return () => undefined;
  }

  #run(call: string, apply: () => void): Completion {
    this.calls.push(call);
    if (this.failure !== undefined) throw this.failure;
    if (this.#held === undefined) {
      apply(); // its own result must not pass for a promise
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.push(resolve);
    return promise.then(apply);
  }
}

/** A server past its handshake; the log is dropped. */
export function serveSmallDevice(device: BlockDevice): { readonly kernel: FuseKernel; readonly server: FuseServer } {
  const kernel = new FuseKernel();
  const server = new FuseServer({
    device,
    channel: kernel,
    owner: { userId: 0, groupId: 0, seconds: 0 },
    log: () => undefined,
  });
  server.start();
  kernel.ask(26, 0, fuseInit());
  return { kernel, server };
}
