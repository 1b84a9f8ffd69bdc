/** A volume served over NBD and used through the demo's own client: what the ways without a mount share. */
import fs from 'node:fs/promises';
import type { CaissonCommand, Served } from './caisson.ts';
import { NbdClient } from './nbd-client.ts';
import type { VolumeName } from './way.ts';

const mebibyte = 1024 * 1024;
/** The files lie below this. */
export const filesBytesMax = 256 * mebibyte;
const recordsOffset = 256 * mebibyte;
const bulkOffset = 320 * mebibyte;
const bulkBytesMax = 128 * mebibyte;
const copyBytes = mebibyte;
const copiesAtOnce = 4;

export class RawVolume {
  readonly served: Served;
  readonly client: NbdClient;

  private constructor(served: Served, client: NbdClient) {
    this.served = served;
    this.client = client;
  }

  static async open(caisson: CaissonCommand, volume: VolumeName): Promise<RawVolume> {
    const served = await caisson.serve(volume);
    try {
      return new RawVolume(served, await NbdClient.connect(served.socket, volume));
    } catch (error) {
      await served.stop();
      throw error;
    }
  }

  get pid(): number {
    return this.served.pid;
  }

  async putRecord(index: number, bytes: Uint8Array): Promise<void> {
    await this.client.write(recordsOffset + index * bytes.length, bytes);
    await this.client.flush();
  }

  async readRecord(index: number, bytes: number): Promise<Uint8Array> {
    return this.client.read(recordsOffset + index * bytes, bytes);
  }

  async putBulk(index: number, bytes: Uint8Array): Promise<void> {
    await this.client.write(bulkOffset + ((index * bytes.length) % bulkBytesMax), bytes);
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.served.stop();
  }

  async abandon(): Promise<void> {
    await this.client.close();
  }

  /** The whole volume as a file, with holes where it is empty. */
  async copyTo(file: string): Promise<void> {
    const handle = await fs.open(file, 'w');
    try {
      const { size } = this.client;
      await handle.truncate(size);
      let next = 0;
      const copy = async (): Promise<void> => {
        while (next < size) {
          const offset = next;
          next += copyBytes;
          const bytes = await this.client.read(offset, Math.min(copyBytes, size - offset));
          if (!bytes.equals(zeros.subarray(0, bytes.length))) await handle.write(bytes, 0, bytes.length, offset);
        }
      };
      await Promise.all(Array.from({ length: copiesAtOnce }, copy));
    } finally {
      await handle.close();
    }
  }
}

const zeros = Buffer.alloc(copyBytes);
