/**
 * Store in a bucket of any S3 server. Objects lie under `prefix + key`; the version of a mutable one
 * is its ETag. Spools and locks lie on this machine (`local-spool.ts`).
 *
 * Invariants:
 * - Nothing is written before the server has shown that it honours conditions (`probe.ts`), and
 *   nothing but the condition decides whether an object may be created or changed.
 * - An answer that leaves open what happened is never taken for a yes or a no (`conditional-put.ts`).
 * - At most `s3UploadsMax` spool files are on their way; a single PUT each, since no object comes near
 *   what one PUT takes: a part of an upload in several parts would escape its condition on old servers.
 */
import { CaissonError } from '../../lib/errors.ts';
import * as limits from '../../lib/limits.ts';
import type { Random } from '../../lib/random.ts';
import type { LocalSpool } from '../local-spool.ts';
import { checkKey, checkPrefix, isKey, probeFolder } from '../paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, Store, VersionedObject, WriterLock } from '../store.ts';
import { putUnderCondition } from './conditional-put.ts';
import type { Seen } from './conditional-put.ts';
import { closed } from './patience.ts';
import { probeConditions } from './probe.ts';
import type { Condition, S3Client } from './s3-client.ts';
import { isMissingKey, objectMissing } from './s3-errors.ts';
import { S3Reader } from './s3-reader.ts';
import { bytesUpload, fileUpload, sameBytes } from './uploads.ts';

export interface S3StoreParts {
  readonly url: string;
  readonly client: S3Client;
  readonly spool: LocalSpool;
  readonly random: Random;
}

export class S3Store implements Store {
  readonly url: string;
  readonly isRemote = true;
  readonly #client: S3Client;
  readonly #spool: LocalSpool;
  readonly #random: Random;
  #probing: Promise<void> | undefined;
  #uploads = 0;
  readonly #uploadsWaiting: (() => void)[] = [];

  constructor({ url, client, spool, random }: S3StoreParts) {
    this.url = url;
    this.#client = client;
    this.#spool = spool;
    this.#random = random;
  }

  /** Once per store; a probe that met an outage is made again. */
  async checkWritable(): Promise<void> {
    this.#probing ??= probeConditions(this.#client, this.#random).catch((error: unknown) => {
      this.#probing = undefined;
      throw error;
    });
    await this.#named('', () => this.#probing);
  }

  async get(key: string, bytesMax: number): Promise<Uint8Array> {
    return (await this.getVersioned(key, bytesMax)).bytes;
  }

  async stat(key: string): Promise<ObjectInfo> {
    const { size } = await this.#on(key, () => this.#client.head(key));
    return { key, size };
  }

  async open(key: string): Promise<ObjectReader> {
    const { size } = await this.#on(key, () => this.#client.head(key));
    return new S3Reader(this.#client, key, size);
  }

  async getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    const { bytes, version } = await this.#on(key, () => this.#client.get(key, bytesMax));
    return { bytes, version };
  }

  async version(key: string): Promise<string> {
    return (await this.#on(key, () => this.#client.head(key))).version;
  }

  async create(key: string, bytes: Uint8Array): Promise<void> {
    if ((await this.#put(key, bytes, 'absent')) !== undefined) return;
    throw new CaissonError('invalid', 'object-exists', `object ${key} exists already`, { details: { key } });
  }

  async swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    const { storeMutableObjectBytesMax: bytesMax } = limits;
    if (bytes.length > bytesMax) {
      throw new CaissonError(
        'invalid',
        'object-too-large',
        `a mutable object of ${bytes.length} bytes is more than a store takes`,
        { details: { key, size: bytes.length, bytesMax } },
      );
    }
    const version = await this.#put(key, bytes, expectedVersion === null ? 'absent' : { version: expectedVersion });
    if (version !== undefined) return version;
    throw new CaissonError('invalid', 'object-changed', `object ${key} was changed by somebody else`, {
      details: { key },
    });
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    this.#checkOpen();
    try {
      for await (const object of this.#client.list(prefix)) if (isKey(object.key)) yield object;
    } catch (error) {
      throw this.#client.errorOf(error);
    }
  }

  async remove(key: string): Promise<void> {
    await this.#on(key, () => this.#client.remove(key));
  }

  async spool(volumePrefix: string): Promise<SpoolArea> {
    this.#checkOpen();
    return this.#spool.area(volumePrefix, (key, file) => this.#upload(key, file));
  }

  async lock(volumePrefix: string): Promise<WriterLock> {
    this.#checkOpen();
    const lock = await this.#spool.lock(volumePrefix);
    try {
      await this.checkWritable();
      return lock;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#client.close();
    for (const wake of this.#uploadsWaiting.splice(0)) wake();
  }

  /** True where nothing lies in the store but what a probe left. */
  async isEmpty(): Promise<boolean> {
    try {
      for await (const { key } of this.#client.list('', 16)) if (!key.startsWith(`${probeFolder}/`)) return false;
      return true;
    } catch (error) {
      throw this.#client.errorOf(error);
    }
  }

  /** For the marker, whose name is no key. Undefined where there is none. */
  async readReserved(name: string, bytesMax: number): Promise<Uint8Array | undefined> {
    try {
      return (await this.#client.get(name, bytesMax)).bytes;
    } catch (error) {
      if (isMissingKey(error)) return undefined;
      throw this.#client.errorOf(error);
    }
  }

  /** False where it exists already. */
  async createReserved(name: string, bytes: Uint8Array): Promise<boolean> {
    await this.checkWritable();
    return (await this.#named(name, () => this.#putBytes(name, bytes, 'absent'))) !== undefined;
  }

  async #put(key: string, bytes: Uint8Array, condition: Condition): Promise<string | undefined> {
    checkKey(key);
    this.#checkOpen();
    // Sent, and perhaps sent again, after this call returned to its caller's next line.
    const own = Uint8Array.from(bytes);
    await this.checkWritable();
    return this.#on(key, () => this.#putBytes(key, own, condition));
  }

  #putBytes(key: string, bytes: Uint8Array, condition: Condition): Promise<string | undefined> {
    return putUnderCondition(this.#client, key, bytesUpload(bytes), condition, async (): Promise<Seen> => {
      try {
        const found = await this.#client.get(key, Math.max(bytes.length, limits.storeMutableObjectBytesMax));
        if (Buffer.compare(found.bytes, bytes) === 0) return { ours: found.version };
        return condition !== 'absent' && found.version === condition.version ? 'unchanged' : 'changed';
      } catch (error) {
        if (isMissingKey(error)) return condition === 'absent' ? 'unchanged' : 'changed';
        if (error instanceof CaissonError && error.code === 'object-too-large') return 'changed';
        throw error;
      }
    });
  }

  async #upload(key: string, file: ObjectReader): Promise<void> {
    this.#checkOpen();
    if (file.size > limits.s3ObjectBytesMax)
      throw new CaissonError('invalid', 'object-too-large', `${file.size} bytes are more than one object takes`);
    await this.checkWritable();
    while (this.#uploads >= limits.s3UploadsMax && !this.#client.isClosed)
      await new Promise<void>((resolve) => this.#uploadsWaiting.push(resolve));
    this.#uploads++;
    try {
      const version = await this.#on(key, () =>
        putUnderCondition(this.#client, key, fileUpload(file), 'absent', () => this.#lookAt(key, file)),
      );
      // Refused: by a copy of the same file that was published before, or by another object.
      if (version !== undefined || typeof (await this.#on(key, () => this.#lookAt(key, file))) === 'object') return;
      throw new CaissonError('invalid', 'object-exists', `another object ${key} exists already`, { details: { key } });
    } finally {
      this.#uploads--;
      this.#uploadsWaiting.shift()?.();
    }
  }

  async #lookAt(key: string, file: ObjectReader): Promise<Seen> {
    try {
      const { size, version } = await this.#client.head(key);
      return (await sameBytes(file, new S3Reader(this.#client, key, size))) ? { ours: version } : 'changed';
    } catch (error) {
      if (isMissingKey(error)) return 'unchanged';
      throw error;
    }
  }

  async #on<T>(key: string, operation: () => Promise<T>): Promise<T> {
    checkKey(key);
    this.#checkOpen();
    return this.#named(key, operation);
  }

  async #named<T>(key: string, operation: () => Promise<T> | undefined): Promise<T> {
    try {
      return (await operation()) as T;
    } catch (error) {
      if (isMissingKey(error)) throw objectMissing(key, error);
      throw this.#client.errorOf(error);
    }
  }

  #checkOpen(): void {
    if (this.#client.isClosed) throw closed();
  }
}
