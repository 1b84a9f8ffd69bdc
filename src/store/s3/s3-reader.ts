/** Reads of one immutable object by ranges. What has arrived before a connection breaks is not asked for again. */
import type { Region } from '../../lib/region.ts';
import { shortObject } from '../file-reader.ts';
import type { ObjectReader } from '../store.ts';
import { noS3 } from './s3-client.ts';
import type { S3Client } from './s3-client.ts';
import { isMissingKey, isPassing, objectMissing, S3Refusal } from './s3-errors.ts';

export class S3Reader implements ObjectReader {
  readonly size: number;
  readonly #client: S3Client;
  readonly #key: string;

  constructor(client: S3Client, key: string, size: number) {
    this.#client = client;
    this.#key = key;
    this.size = size;
  }

  tryRead(): boolean {
    return false;
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    if (offset + length > this.size)
      throw shortObject(this.#key, offset, length, Math.max(0, Math.min(length, this.size - offset)));
    let done = 0;
    const { observer } = this.#client;
    const landing = {
      room: () => target.bytes.subarray(targetOffset + done, targetOffset + length),
      landed: (count: number) => {
        if (count > length - done) throw noS3('more bytes than were asked for');
        done += count;
        observer.received(count);
      },
    };
    let patience = this.#client.patience();
    while (done < length) {
      const before = done;
      try {
        await this.#client.getRange(this.#key, offset + done, offset + length, landing);
        if (done < length) throw shortObject(this.#key, offset, length, done);
      } catch (error) {
        if (isMissingKey(error)) throw objectMissing(this.#key, error);
        if (error instanceof S3Refusal && error.status === 416) throw shortObject(this.#key, offset, length, done);
        if (!isPassing(error)) throw this.#client.errorOf(error);
        if (done > before) patience = this.#client.patience();
        if (done < length) await patience.afterFailure(error);
      }
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
