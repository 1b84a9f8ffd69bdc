/**
 * Anchor in a folder outside the store: one small file per volume. Spec: spec/anchor.md.
 *
 * Invariants: the slot that holds is known durable before the other one is written; the file of a
 * volume is changed under its lock only; nothing is cached between calls but which counter this
 * process made durable, so that several processes may use one folder.
 */
import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { assert } from '../lib/assert.ts';
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import type { FileHandle, FileSystem } from '../store/file-system.ts';
import type { Anchor, AnchorState } from './anchor.ts';
import {
  anchorFileBytes,
  anchorSlotBytes,
  anchorSlotPosition,
  decodeAnchorFile,
  encodeAnchorFile,
  encodeAnchorSlot,
  tampered,
} from './anchor-format.ts';
import type { AnchorSlot, DecodedAnchor } from './anchor-format.ts';
import { checkAdvance } from './anchor-order.ts';
import { VolumeLock } from './volume-lock.ts';

/** `folder` is an absolute path; it is made when it is missing. */
export async function openFileAnchor(
  fileSystem: FileSystem,
  folder: string,
  clock: Clock = systemClock,
): Promise<Anchor> {
  await fileSystem.makeDirectory(folder);
  return new FileAnchor(fileSystem, folder, clock);
}

class FileAnchor implements Anchor {
  readonly describe: string;
  readonly #fileSystem: FileSystem;
  readonly #folder: string;
  readonly #lock: VolumeLock;
  /** Volume -> the counter that this process synced; anything else in the file may be another's unsynced write. */
  readonly #durableCounters = new Map<string, number>();

  constructor(fileSystem: FileSystem, folder: string, clock: Clock) {
    this.describe = `Shows when an old copy of the store is put back, as long as ${folder} is not put back with it; no protection against whoever can write into that folder.`;
    this.#fileSystem = fileSystem;
    this.#folder = folder;
    this.#lock = new VolumeLock(fileSystem, clock);
  }

  async read(volumeId: Uint8Array): Promise<AnchorState | undefined> {
    const name = nameOf(volumeId);
    try {
      const found = await this.#decode(name, volumeId);
      if (found === undefined || !found.isHalfDamaged) return found?.held.state;
    } catch (error) {
      if (!isCaissonError(error, 'anchor-tampered')) throw error;
    }
    // Damage may be an advance that is just being written: under the lock there is none.
    return this.#exclusively(name, async () => (await this.#decode(name, volumeId))?.held.state);
  }

  async advance(state: AnchorState): Promise<void> {
    const name = nameOf(state.volumeId);
    await this.#exclusively(name, async () => {
      const found = await this.#decode(name, state.volumeId);
      if (found === undefined) return this.#createFile(name, state);
      checkAdvance(found.held.state, state);
      await this.#update(name, found.held, state);
    });
  }

  async forget(volumeId: Uint8Array): Promise<void> {
    const name = nameOf(volumeId);
    await this.#exclusively(name, async () => {
      this.#durableCounters.delete(name);
      await this.#fileSystem.unlink(this.#path(name));
      await this.#fileSystem.unlink(this.#draftPath(name));
      await this.#fileSystem.unlink(this.#lockPath(name)); // whoever waits for it looks for the file again
      await this.#fileSystem.syncDirectory(this.#folder);
    });
  }

  async #decode(name: string, volumeId: Uint8Array): Promise<DecodedAnchor | undefined> {
    try {
      return decodeAnchorFile(this.#fileSystem.readFileNow(this.#path(name), anchorFileBytes), volumeId);
    } catch (error) {
      if (isCaissonError(error, 'object-missing')) return undefined;
      if (isCaissonError(error, 'object-too-large')) throw tampered('it is too long', error);
      throw error;
    }
  }

  async #createFile(name: string, state: AnchorState): Promise<void> {
    const draft = this.#draftPath(name);
    await this.#fileSystem.unlink(draft);
    const file = await this.#fileSystem.open(draft, 'exclusive');
    await this.#closing(file, async () => {
      await file.write(0, anchorFileBytes, Region.from(encodeAnchorFile(state)), 0);
      await file.sync();
    });
    await this.#fileSystem.rename(draft, this.#path(name));
    await this.#fileSystem.syncDirectory(this.#folder);
    this.#durableCounters.set(name, 1);
  }

  async #update(name: string, held: AnchorSlot, state: AnchorState): Promise<void> {
    const file = await this.#fileSystem.open(this.#path(name), 'update');
    await this.#closing(file, async () => {
      if (this.#durableCounters.get(name) !== held.counter) {
        await writeSlot(file, held);
        // The file may also have its name only since a process died before its sync of the folder.
        await this.#fileSystem.syncDirectory(this.#folder);
      }
      this.#durableCounters.delete(name);
      const next: AnchorSlot = { counter: held.counter + 1, state };
      await writeSlot(file, next);
      this.#durableCounters.set(name, next.counter);
    });
  }

  /** The first error counts, not that of the closing after it. */
  async #closing(file: FileHandle, operation: () => Promise<void>): Promise<void> {
    try {
      await operation();
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    await file.close();
  }

  #exclusively<T>(name: string, operation: () => Promise<T>): Promise<T> {
    return this.#lock.exclusively(this.#lockPath(name), operation);
  }

  #path(name: string): string {
    return `${this.#folder}/${name}.anchor`;
  }

  #draftPath(name: string): string {
    return `${this.#folder}/${name}.anchor.new`;
  }

  #lockPath(name: string): string {
    return `${this.#folder}/${name}.lock`;
  }
}

async function writeSlot(file: FileHandle, slot: AnchorSlot): Promise<void> {
  await file.write(anchorSlotPosition(slot.counter), anchorSlotBytes, Region.from(encodeAnchorSlot(slot)), 0);
  await file.sync();
}

function nameOf(volumeId: Uint8Array): string {
  assert(volumeId.length === 16, `volume id of ${volumeId.length} bytes`);
  return Buffer.from(volumeId.buffer, volumeId.byteOffset, volumeId.length).toString('hex');
}
