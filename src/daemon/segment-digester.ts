/**
 * Digests of finished segments, away from the thread that serves requests. The worker starts with
 * the first digest, runs at the lowest priority (a segment is hashed when the machine has time, a
 * request is answered now) and holds one 1 MiB buffer.
 *
 * Invariant: every digest asked for is answered or failed; a worker that dies fails what it owed,
 * and the next request starts another.
 */
import { Worker } from 'node:worker_threads';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { ObjectDigester } from '../volume/volume-types.ts';
import type { DigestAnswer, DigestRequest } from './digest-messages.ts';

interface Waiting {
  readonly path: string;
  readonly resolve: (digest: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

export class SegmentDigester implements ObjectDigester {
  readonly #storeRoot: string;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #nextId = 0;
  #closed = false;

  /** `storeRoot` is the folder of a directory store, whose spools lie in `<volume>/spool/`. */
  constructor(storeRoot: string) {
    this.#storeRoot = storeRoot;
  }

  async digest(volumePrefix: string, name: string, length: number): Promise<Uint8Array> {
    if (this.#closed) throw new CaissonError('closed', 'volume-closed', 'the digester is closed');
    const worker = (this.#worker ??= this.#start());
    const path = `${this.#storeRoot}/${volumePrefix}spool/${name}`;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { path, resolve, reject });
      worker.ref();
      worker.postMessage({ id, path, length } satisfies DigestRequest);
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    this.#failAll('the digester was closed');
    await worker?.terminate();
  }

  #start(): Worker {
    // The build emits the worker beside this file, as JavaScript.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const worker = new Worker(new URL(`./segment-digester-worker.${extension}`, import.meta.url), {
      name: 'caisson-digest',
      resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 },
    });
    worker.on('message', (answer: DigestAnswer) => this.#settle(worker, answer));
    worker.once('error', (error) => this.#lose(worker, messageOf(error)));
    worker.once('exit', () => this.#lose(worker, 'the digest worker ended'));
    // An idle worker must not keep the process alive.
    worker.unref();
    return worker;
  }

  #settle(worker: Worker, answer: DigestAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) worker.unref();
    if ('digest' in answer) return waiting.resolve(answer.digest);
    waiting.reject(
      new CaissonError('io', 'store-io', `cannot read ${waiting.path} for its digest: ${answer.message}`, {
        details: { errno: answer.errno, path: waiting.path },
      }),
    );
  }

  #lose(worker: Worker, message: string): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#failAll(message);
  }

  #failAll(message: string): void {
    for (const { path, reject } of this.#waiting.values()) {
      reject(new CaissonError('io', 'store-io', `no digest of ${path}: ${message}`, { details: { path } }));
    }
    this.#waiting.clear();
  }
}
