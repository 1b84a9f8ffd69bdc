/** A fresh S3 server for one part of a run, reached directly or from ten milliseconds away, and homes whose volumes lie on it. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { systemRandom } from '../src/crypto/random.ts';
import { patientClock } from '../src/lib/clock.ts';
import { uploadsInFlightMax } from '../src/lib/limits.ts';
import { CredentialChain } from '../src/aws/credentials.ts';
import { HttpTransport } from '../src/aws/http-transport.ts';
import { S3Client } from '../src/store/s3/s3-client.ts';
import { parseS3Url } from '../src/store/s3/s3-url.ts';
import { bytesUpload } from '../src/store/s3/uploads.ts';
import { launchRadosgw, launchVersitygw, serverKeys, serverTools } from '../test/support/s3-servers.ts';
import type { S3Server } from '../test/support/s3-servers.ts';
import { CaissonHome } from './caisson-home.ts';
import type { ServedVolume } from './caisson-home.ts';
import { LatencyProxy } from './latency-proxy.ts';
import { missingPrograms } from './machine.ts';
import type { PartContext } from './part.ts';

const bucket = 'bench';
const objectBytes = 16 * 2 ** 20; // a segment

export interface PlaceOptions {
  /** What the server must be able to hold, bytes. */
  readonly bytes: number;
  /** Added to each request. */
  readonly milliseconds: number;
  /** Goes through the proxy also without delay, for its counts. */
  readonly counts?: boolean;
  /** Where the server's files lie; by default in RAM. */
  readonly folder?: string;
}

export class S3Place {
  readonly proxy: LatencyProxy;
  readonly #endpoint: string;
  /** The largest resident memory that a daemon of this place ever had, bytes. */
  peakResidentBytes = 0;
  readonly #server: S3Server;
  readonly #folder: string;
  #homes = 0;

  private constructor(server: S3Server, proxy: LatencyProxy, isDirect: boolean, folder: string) {
    this.#server = server;
    this.proxy = proxy;
    this.#endpoint = isDirect ? server.endpoint : proxy.endpoint;
    this.#folder = folder;
  }

  static async start(
    context: PartContext,
    { bytes, milliseconds, counts = false, folder }: PlaceOptions,
  ): Promise<S3Place> {
    const missing = missingPrograms(serverTools[context.s3Server]);
    if (missing.length > 0) throw new Error(`left out: not installed: ${missing.join(', ')}`);
    const parent = fs.mkdtempSync(path.join(folder ?? context.ram, 's3-'));
    const server =
      context.s3Server === 'radosgw'
        ? await launchRadosgw(Math.ceil(bytes * 1.2) + 2 ** 29, parent)
        : await launchVersitygw(parent);
    try {
      await server.makeBucket(bucket);
      const proxy = await LatencyProxy.start(server.endpoint, milliseconds);
      return new S3Place(server, proxy, milliseconds === 0 && !counts, parent);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.proxy.stop();
    await this.#server.stop();
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }

  /** What a store on this server is called: through the proxy, or directly. */
  url(prefix: string): string {
    return `s3://${bucket}/${prefix}?endpoint=${this.#endpoint}`;
  }

  get keys(): Readonly<Record<string, string>> {
    return serverKeys;
  }

  /** With one volume named `volume`. */
  async home(bytes: number, durability: 'remote' | 'anchored' = 'remote', configuration = ''): Promise<CaissonHome> {
    const folder = path.join(this.#folder, `home-${++this.#homes}`);
    const store = { url: this.url(`h${this.#homes}`), environment: this.keys };
    const home = new CaissonHome(folder, configuration, store);
    await home.create({ name: 'volume', bytes, protection: 'sealed', durability });
    return home;
  }

  async serving<Value>(
    home: CaissonHome,
    work: (served: ServedVolume) => Promise<Value> | Value,
    crash = false,
  ): Promise<Value> {
    const served = await home.serve('volume');
    try {
      return await work(served);
    } finally {
      this.peakResidentBytes = Math.max(this.peakResidentBytes, peakOf(served.server.pid));
      await (crash ? served.server.kill() : served.server.stop());
    }
  }

  /** A plain client of the same server, as far away: no sealing, no spool, no order, objects as large as segments. */
  plainClient(prefix: string): PlainClient {
    return new PlainClient(this.url(prefix));
  }
}

/** The same exchange as the store's with nothing around it, by node:http alone, as a plain program would make it. */
export class PlainClient {
  readonly #client: S3Client;

  constructor(url: string) {
    const location = parseS3Url(url.replace(/^s3:/, ''), serverKeys);
    const clock = patientClock;
    const { profile, region } = location;
    this.#client = new S3Client({
      location,
      transport: new HttpTransport({ endpoint: location.endpoint, isDirect: false }),
      credentials: new CredentialChain({ environment: serverKeys, profile, region, clock }),
      clock,
      random: systemRandom,
    });
  }

  /** Bytes per second; as many objects at one time as the engine sends. */
  async write(bytes: number): Promise<number> {
    const content = new Uint8Array(randomBytes(objectBytes));
    const start = performance.now();
    await inParallel(bytes, async (name, length) => {
      await this.#client.put(name, bytesUpload(content.subarray(0, length)), 'absent');
    });
    return (bytes * 1000) / (performance.now() - start);
  }

  /** What `write` wrote. */
  async read(bytes: number): Promise<number> {
    const start = performance.now();
    await inParallel(bytes, async (name, length) => {
      const target = new Uint8Array(length);
      let done = 0;
      await this.#client.getRange(name, 0, length, {
        room: () => target.subarray(done),
        landed: (count) => void (done += count),
      });
      if (done !== length) throw new Error(`${done} of ${length} bytes came back`);
    });
    return (bytes * 1000) / (performance.now() - start);
  }

  close(): void {
    this.#client.close();
  }
}

async function inParallel(bytes: number, each: (name: string, length: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next * objectBytes < bytes) {
      const index = next++;
      await each(`object-${index}`, Math.min(objectBytes, bytes - index * objectBytes));
    }
  };
  await Promise.all(Array.from({ length: uploadsInFlightMax }, work));
}

function peakOf(pid: number): number {
  try {
    const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return Number(kibibytes ?? 0) * 1024;
  } catch {
    return 0; // it has ended
  }
}
