/**
 * A store that says of itself that it lies beyond the machine: the spool is local and may be lost with the machine,
 * what was published is not. What such a store lists is there for good, so a folder is synced before it is believed.
 */
import type { ObjectInfo, Store } from '../../src/store/store.ts';
import { StoreDecorator } from './lockless-store.ts';

export class RemoteStore extends StoreDecorator {
  readonly #makeDurable: (key: string) => Promise<void>;

  /** `makeDurable` syncs the name of an object. */
  constructor(inner: Store, makeDurable: (key: string) => Promise<void> = () => Promise.resolve()) {
    super(inner);
    this.#makeDurable = makeDurable;
  }

  override get isRemote(): boolean {
    return true;
  }

  override async *list(prefix: string): AsyncIterable<ObjectInfo> {
    for await (const object of this.inner.list(prefix)) {
      await this.#makeDurable(object.key);
      yield object;
    }
  }
}
