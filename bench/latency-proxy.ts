/**
 * A proxy in front of an S3 server, in a thread of its own: each request waits so many milliseconds
 * before its first byte goes on, as if the server were so far away; bytes then flow as fast as they
 * come. It counts what passes, which is how requests and uploaded bytes are measured.
 *
 * Invariant: nothing is changed. A client that sends its next request before it has the answer to the
 * last one (pipelining) is not understood; Node's client never does.
 */
import net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

export interface ProxyCounts {
  /** By method. */
  readonly requests: Readonly<Record<string, number>>;
  /** How often a request came when none was under way: those that go together are one round trip. */
  readonly roundTrips: number;
  /** Bodies of requests, bytes. */
  readonly uploadedBytes: number;
  /** Everything that came back, bytes. */
  readonly downloadedBytes: number;
}

interface ProxyOptions {
  readonly host: string;
  readonly port: number;
  readonly milliseconds: number;
}

const headBytesMax = 64 * 1024;

export class LatencyProxy {
  readonly endpoint: string;
  readonly #worker: Worker;

  private constructor(worker: Worker, port: number) {
    this.#worker = worker;
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  static async start(endpoint: string, milliseconds: number): Promise<LatencyProxy> {
    const { hostname, port } = new URL(endpoint);
    const data: ProxyOptions = { host: hostname, port: Number(port), milliseconds };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    worker.unref();
    const listening = await nextMessage<number>(worker);
    return new LatencyProxy(worker, listening);
  }

  /** Since the last call. */
  async takeCounts(): Promise<ProxyCounts> {
    const counts = nextMessage<ProxyCounts>(this.#worker);
    this.#worker.postMessage('take');
    return counts;
  }

  /** Bytes uploaded since the last such question; `takeCounts` still counts them. */
  async uploadsSinceLook(): Promise<number> {
    const bytes = nextMessage<number>(this.#worker);
    this.#worker.postMessage('look');
    return bytes;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

export function requestCount({ requests }: ProxyCounts): number {
  return Object.values(requests).reduce((sum, count) => sum + count, 0);
}

function nextMessage<Message>(worker: Worker): Promise<Message> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(error);
    worker.once('error', fail);
    worker.once('message', (message: Message) => {
      worker.off('error', fail);
      resolve(message);
    });
  });
}

class Counter {
  #requests: Record<string, number> = {};
  #uploadedBytes = 0;
  #downloadedBytes = 0;
  #unseenBytes = 0;
  #roundTrips = 0;
  #underWay = 0;

  request(method: string, bodyBytes: number): void {
    if (this.#underWay++ === 0) this.#roundTrips++;
    this.#requests[method] = (this.#requests[method] ?? 0) + 1;
    this.#uploadedBytes += bodyBytes;
    this.#unseenBytes += bodyBytes;
  }

  /** The answer to a request has begun, or never will. */
  end(): void {
    this.#underWay--;
  }

  answer(bytes: number): void {
    this.#downloadedBytes += bytes;
  }

  look(): number {
    const bytes = this.#unseenBytes;
    this.#unseenBytes = 0;
    return bytes;
  }

  take(): ProxyCounts {
    const requests = this.#requests;
    const counts = {
      requests,
      roundTrips: this.#roundTrips,
      uploadedBytes: this.#uploadedBytes,
      downloadedBytes: this.#downloadedBytes,
    };
    this.#requests = {};
    this.#roundTrips = 0;
    this.#uploadedBytes = 0;
    this.#downloadedBytes = 0;
    return counts;
  }
}

/** One client connection: heads are looked at, bodies are counted down, everything is passed on. */
class Passage {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #milliseconds: number;
  readonly #counter: Counter;
  #head: Buffer = Buffer.alloc(0);
  #bodyBytesLeft = 0;
  #isUnderWay = false;

  static open(client: Socket, server: Socket, milliseconds: number, counter: Counter): Passage {
    return new Passage(client, server, milliseconds, counter);
  }

  private constructor(client: Socket, server: Socket, milliseconds: number, counter: Counter) {
    this.#client = client;
    this.#server = server;
    this.#milliseconds = milliseconds;
    this.#counter = counter;
    const end = (): void => {
      this.#end();
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', end).on('close', end);
    }
    client.on('data', (piece: Buffer) => this.#take(piece));
    server.on('data', (piece: Buffer) => {
      this.#end();
      counter.answer(piece.length);
      if (!client.write(piece)) {
        server.pause();
        client.once('drain', () => server.resume());
      }
    });
  }

  #take(piece: Buffer): void {
    if (this.#bodyBytesLeft > 0) {
      this.#bodyBytesLeft -= piece.length;
      this.#pass(piece);
      return;
    }
    this.#head = this.#head.length === 0 ? piece : Buffer.concat([this.#head, piece]);
    const end = this.#head.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.#head.length > headBytesMax) this.#client.destroy(new Error('a head without an end'));
      return;
    }
    const head = this.#head.toString('latin1', 0, end);
    const bodyBytes = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    this.#counter.request(head.substring(0, head.indexOf(' ')), bodyBytes);
    this.#isUnderWay = true;
    const whole = this.#head;
    this.#head = Buffer.alloc(0);
    this.#bodyBytesLeft = bodyBytes - (whole.length - end - 4);
    if (this.#milliseconds === 0) {
      this.#pass(whole);
      return;
    }
    this.#client.pause();
    setTimeout(() => {
      this.#pass(whole);
      this.#client.resume();
    }, this.#milliseconds);
  }

  #end(): void {
    if (this.#isUnderWay) this.#counter.end();
    this.#isUnderWay = false;
  }

  #pass(piece: Buffer): void {
    if (this.#server.destroyed || this.#server.write(piece)) return;
    this.#client.pause();
    this.#server.once('drain', () => this.#client.resume());
  }
}

function serve({ host, port, milliseconds }: ProxyOptions): void {
  const counter = new Counter();
  const listener = net.createServer((client) => {
    Passage.open(client, net.connect(port, host), milliseconds, counter);
  });
  parentPort?.on('message', (message: 'take' | 'look') => {
    parentPort?.postMessage(message === 'take' ? counter.take() : counter.look());
  });
  listener.listen(0, '127.0.0.1', () => parentPort?.postMessage((listener.address() as AddressInfo).port));
}

if (!isMainThread) serve(workerData as ProxyOptions);
