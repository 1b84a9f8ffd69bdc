/**
 * Creates objects in a store, several at one time, skipping those that are there already with the same bytes.
 *
 * Invariants: what waits is bounded in count and bytes; the first failure is the one that is heard; `settle`
 * returns only when nothing is under way any more.
 */
import { equalBytes } from '../crypto/digest.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { backupWriteBytesMax, backupWritesInFlightMax } from '../lib/limits.ts';
import { createExact } from '../manifest/manifest.ts';
import type { Store } from '../store/store.ts';

export class ObjectWrites {
  createdCount = 0;
  /** There already, byte for byte. */
  presentCount = 0;
  readonly #store: Store;
  readonly #underWay = new Set<Promise<void>>();
  #bytes = 0;
  #failure: Error | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Resolves when there is room for more, not when the object is there. The bytes are the queue's from here on. */
  async add(key: string, bytes: Uint8Array): Promise<void> {
    this.#bytes += bytes.length;
    const write = this.#write(key, bytes)
      .catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        this.#bytes -= bytes.length;
        this.#underWay.delete(write);
      });
    this.#underWay.add(write);
    while (
      this.#underWay.size >= backupWritesInFlightMax ||
      (this.#bytes > backupWriteBytesMax && this.#underWay.size > 0)
    )
      await Promise.race(this.#underWay);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Everything is durable, or the first failure is thrown. */
  async finish(): Promise<void> {
    await this.settle();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async settle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.race(this.#underWay);
  }

  async #write(key: string, bytes: Uint8Array): Promise<void> {
    if (await this.#isPresent(key, bytes)) {
      this.presentCount++;
      return;
    }
    await createExact(this.#store, key, bytes);
    this.createdCount++;
  }

  async #isPresent(key: string, bytes: Uint8Array): Promise<boolean> {
    try {
      if (
        (await this.#store.stat(key)).size === bytes.length &&
        equalBytes(await this.#store.get(key, bytes.length), bytes)
      )
        return true;
    } catch (error) {
      if (isCaissonError(error, 'object-missing')) return false;
      throw error;
    }
    throw new CaissonError(
      'integrity',
      'digest-mismatch',
      `${key} is in the store already, with other bytes than the volume's writer signed`,
      {
        remedy:
          'The store was changed from outside: check it with "caisson volume verify --public", or import into another one.',
        details: { object: key },
      },
    );
  }
}
