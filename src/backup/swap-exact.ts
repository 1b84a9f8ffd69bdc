/** A swap whose answer may be lost: it is tried once more, and our own bytes under the key are success. */
import { equalBytes } from '../crypto/digest.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { Store } from '../store/store.ts';

export async function swapExact(store: Store, key: string, expected: string | null, bytes: Uint8Array): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await store.swap(key, expected, bytes);
      return;
    } catch (error) {
      if (isCaissonError(error, 'object-changed')) {
        const found = await store.getVersioned(key, bytes.length);
        if (equalBytes(found.bytes, bytes)) return;
        throw error;
      }
      if (attempt > 0) throw error;
    }
  }
}
