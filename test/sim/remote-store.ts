/**
 * A store that says of itself that it lies beyond the machine: the spool is local and may be lost with the machine,
 * what was published is not.
 */
import { StoreDecorator } from './lockless-store.ts';

export class RemoteStore extends StoreDecorator {
  override get isRemote(): boolean {
    return true;
  }
}
