/**
 * The stores that a daemon has open, each once: some can be opened only once, and none needs to be opened
 * twice for two volumes, or for a volume and a snapshot of it.
 *
 * Invariant: a store is closed with the last of its users, and a new user waits for that.
 */
import type { OpenEnvironment } from './parts.ts';

interface Shared {
  readonly opening: Promise<OpenEnvironment>;
  users: number;
  closing: Promise<void> | undefined;
}

export class SharedEnvironments {
  readonly #open: (storeUrl: string) => Promise<OpenEnvironment>;
  readonly #shared = new Map<string, Shared>();

  constructor(open: (storeUrl: string) => Promise<OpenEnvironment>) {
    this.#open = open;
  }

  has(storeUrl: string): boolean {
    return this.#shared.get(storeUrl)?.closing === undefined && this.#shared.has(storeUrl);
  }

  async use(storeUrl: string): Promise<OpenEnvironment> {
    let shared = this.#shared.get(storeUrl);
    while (shared?.closing !== undefined) {
      await shared.closing.catch(() => undefined);
      shared = this.#shared.get(storeUrl);
    }
    if (shared === undefined) {
      shared = { opening: this.#open(storeUrl), users: 0, closing: undefined };
      this.#shared.set(storeUrl, shared);
    }
    const used = shared;
    used.users += 1;
    try {
      const { environment } = await used.opening;
      let isClosed = false;
      const close = async (): Promise<void> => {
        if (isClosed) return;
        isClosed = true;
        await this.#leave(storeUrl, used);
      };
      return { environment, close };
    } catch (error) {
      used.users -= 1;
      if (this.#shared.get(storeUrl) === used) this.#shared.delete(storeUrl);
      throw error;
    }
  }

  async #leave(storeUrl: string, shared: Shared): Promise<void> {
    shared.users -= 1;
    if (shared.users > 0) return;
    shared.closing = shared.opening.then(async (opened) => opened.close());
    try {
      await shared.closing;
    } finally {
      if (this.#shared.get(storeUrl) === shared) this.#shared.delete(storeUrl);
    }
  }
}
