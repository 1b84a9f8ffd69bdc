/** Digests in the caller's thread, in pieces: for the simulator and for programs without workers. */
import { startDigest } from '../crypto/digest.ts';
import type { Clock } from '../lib/clock.ts';
import { Region } from '../lib/region.ts';
import type { ObjectReader, Store } from '../store/store.ts';
import type { ObjectDigester } from './volume-types.ts';

const pieceBytes = 1024 * 1024;

export class InlineDigester implements ObjectDigester {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async digest(volumePrefix: string, name: string, length: number): Promise<Uint8Array> {
    const area = await this.#store.spool(volumePrefix);
    const reader = await area.open(name);
    try {
      return await digestOf(reader, length, this.#clock);
    } finally {
      await reader.close();
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** SHA-256 over bytes [0, length) of an object, read in pieces with turns for others between them. */
export async function digestOf(reader: ObjectReader, length: number, clock: Clock): Promise<Uint8Array> {
  const piece = new Region(pieceBytes);
  const digest = startDigest();
  for (let at = 0; at < length; at += pieceBytes) {
    const count = Math.min(pieceBytes, length - at);
    await reader.read(at, count, piece, 0);
    digest.update(piece.bytes.subarray(0, count));
    await clock.turn();
  }
  return digest.finish();
}
