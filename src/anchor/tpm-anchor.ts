/**
 * Anchor in a TPM: the state in a file, its counter and digest in non-volatile memory. Spec: spec/anchor.md, "TPM anchor".
 *
 * Invariants: the slot that the register names is durable before the register names it, and is not touched while it
 * does; the write of the register is the commit; files of a volume are changed under its lock only.
 */
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { assert } from '../lib/assert.ts';
import { patientClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import type { FileSystem } from '../store/file-system.ts';
import type { Anchor, AnchorState } from './anchor.ts';
import {
  anchorFileBytes,
  anchorSlotBytes,
  anchorSlotPosition,
  decodeSlot,
  encodeAnchorFile,
  encodeAnchorSlot,
} from './anchor-format.ts';
import type { AnchorSlot } from './anchor-format.ts';
import { checkAdvance } from './anchor-order.ts';
import { registerTampered } from './tpm-register.ts';
import type { FreshnessRegister, RegisterContent } from './tpm-register.ts';
import { VolumeLock } from './volume-lock.ts';

export interface TpmAnchorOptions {
  readonly fileSystem: FileSystem;
  /** Absolute; made when it is missing. */
  readonly folder: string;
  readonly register: FreshnessRegister;
  readonly clock?: Clock;
  /** Between two writes of a volume's register, since its memory wears out. Whoever waits for an advance waits so long. */
  readonly intervalMilliseconds: number;
}

export async function openTpmAnchor(options: TpmAnchorOptions): Promise<Anchor> {
  await options.fileSystem.makeDirectory(options.folder);
  return new TpmAnchor(options);
}

interface Waiting {
  readonly state: AnchorState;
  resolve(): void;
  reject(error: unknown): void;
}

/** What is held, and in which file. */
interface Held {
  readonly slot: AnchorSlot;
  readonly isDraft: boolean;
}

class TpmAnchor implements Anchor {
  readonly describe: string;
  readonly #options: TpmAnchorOptions;
  readonly #clock: Clock;
  readonly #lock: VolumeLock;
  /** Volume -> states that wait for the next write. A volume that is here has a writer under way. */
  readonly #waiting = new Map<string, Waiting[]>();
  /** Volume -> when this process wrote its register last. */
  readonly #written = new Map<string, number>();

  constructor(options: TpmAnchorOptions) {
    const { folder, register, fileSystem, clock = patientClock } = options;
    this.describe = `Shows when an old copy of the store, of ${folder} or of both is put back; no protection against whoever may command ${register.name} as its owner.`;
    this.#options = options;
    this.#clock = clock;
    this.#lock = new VolumeLock(fileSystem, clock);
  }

  async read(volumeId: Uint8Array): Promise<AnchorState | undefined> {
    return this.#exclusively(nameOf(volumeId), async () => (await this.#held(volumeId)).held?.slot.state);
  }

  advance(state: AnchorState): Promise<void> {
    const copy = copyOf(state);
    const name = nameOf(copy.volumeId);
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(name);
      const entry: Waiting = { state: copy, resolve, reject };
      if (waiting !== undefined) return void waiting.push(entry);
      this.#waiting.set(name, [entry]);
      void this.#writeWaiting(name);
    });
  }

  async forget(volumeId: Uint8Array): Promise<void> {
    const { fileSystem, folder, register } = this.#options;
    const name = nameOf(volumeId);
    await this.#exclusively(name, async () => {
      const content = await register.read(volumeId);
      // From here on the files count for nothing, so that they may vanish one by one.
      if (content !== undefined) await register.write(volumeId, { counter: 0, digest: new Uint8Array(32) });
      for (const path of [this.#path(name), this.#draftPath(name), this.#lockPath(name)]) await fileSystem.unlink(path);
      await fileSystem.syncDirectory(folder);
      await register.remove(volumeId);
      this.#written.delete(name);
    });
  }

  /** All that wait, one write after the other, until none does. */
  async #writeWaiting(name: string): Promise<void> {
    for (;;) {
      await this.#pause(name);
      const batch = this.#waiting.get(name)?.splice(0) ?? [];
      if (batch.length === 0) return void this.#waiting.delete(name);
      try {
        await this.#exclusively(name, () => this.#writeBatch(name, batch));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
  }

  /** Each state is judged by the one before it; the last that may follow is written and answers for all. */
  async #writeBatch(name: string, batch: readonly Waiting[]): Promise<void> {
    const volumeId = batch[0]!.state.volumeId;
    const { held, content } = await this.#held(volumeId);
    const accepted: Waiting[] = [];
    let newest = held?.slot.state;
    for (const entry of batch) {
      try {
        if (newest !== undefined) checkAdvance(newest, entry.state);
        newest = entry.state;
        accepted.push(entry);
      } catch (error) {
        entry.reject(error);
      }
    }
    try {
      if (held?.isDraft === true) await this.#nameFile(name);
      if (newest !== undefined && held === undefined) await this.#create(name, newest);
      else if (newest !== undefined && held !== undefined && !isSame(held.slot.state, newest))
        await this.#update(name, content!, newest);
    } catch (error) {
      for (const { reject } of accepted) reject(error);
      return;
    }
    for (const { resolve } of accepted) resolve();
  }

  async #create(name: string, state: AnchorState): Promise<void> {
    const { fileSystem } = this.#options;
    const draft = this.#draftPath(name);
    await fileSystem.unlink(draft);
    await fileSystem.unlink(this.#path(name)); // of a volume whose forgetting was interrupted
    const bytes = encodeAnchorFile(state);
    await this.#write(draft, 'exclusive', 0, bytes);
    await fileSystem.syncDirectory(this.#options.folder);
    const at = anchorSlotPosition(1);
    await this.#commit(name, state.volumeId, 1, bytes.subarray(at, at + anchorSlotBytes));
    await this.#nameFile(name);
  }

  async #update(name: string, content: RegisterContent, state: AnchorState): Promise<void> {
    const counter = content.counter + 1;
    const slot = encodeAnchorSlot({ counter, state });
    await this.#write(this.#path(name), 'update', anchorSlotPosition(counter), slot);
    await this.#commit(name, state.volumeId, counter, slot);
  }

  async #commit(name: string, volumeId: Uint8Array, counter: number, slot: Uint8Array): Promise<void> {
    this.#written.set(name, this.#clock.monotonic());
    await this.#options.register.write(volumeId, { counter, digest: sha256(slot) });
  }

  async #nameFile(name: string): Promise<void> {
    const { fileSystem, folder } = this.#options;
    await fileSystem.rename(this.#draftPath(name), this.#path(name));
    await fileSystem.syncDirectory(folder);
  }

  /** Under the lock. Throws where register and files do not belong together. */
  async #held(volumeId: Uint8Array): Promise<{ readonly held?: Held; readonly content?: RegisterContent }> {
    const name = nameOf(volumeId);
    const content = await this.#options.register.read(volumeId);
    const file = this.#readFile(this.#path(name));
    if (content === undefined && file !== undefined)
      throw registerTampered(`${this.#options.register.name} does not know the volume that ${this.#path(name)} is of`);
    if (content === undefined || content.counter === 0) return {};
    const isDraft = file === undefined;
    const bytes = file ?? this.#readFile(this.#draftPath(name));
    if (bytes === undefined) throw registerTampered(`the file ${this.#path(name)} is missing`);
    if (bytes.length !== anchorFileBytes) throw registerTampered(`${this.#path(name)} has another length`);
    const at = anchorSlotPosition(content.counter);
    const slotBytes = bytes.subarray(at, at + anchorSlotBytes);
    const slot = decodeSlot(slotBytes, content.counter % 2, volumeId);
    const isHeld = typeof slot === 'object' && slot.counter === content.counter;
    if (!isHeld || !equalBytes(sha256(slotBytes), content.digest)) throw this.#putBack(name, content.counter);
    return { held: { slot, isDraft }, content };
  }

  #putBack(name: string, counter: number): Error {
    return registerTampered(
      `${this.#path(name)} is not the one that the TPM remembers (write ${counter}): it is an old copy, or was changed`,
    );
  }

  #readFile(path: string): Uint8Array | undefined {
    try {
      return this.#options.fileSystem.readFileNow(path, anchorFileBytes);
    } catch (error) {
      if (isCaissonError(error, 'object-missing')) return undefined;
      if (isCaissonError(error, 'object-too-large')) throw registerTampered(`${path} is too long`, error);
      throw error;
    }
  }

  /** The first error counts, not that of the closing after it. */
  async #write(path: string, mode: 'exclusive' | 'update', position: number, bytes: Uint8Array): Promise<void> {
    const file = await this.#options.fileSystem.open(path, mode);
    try {
      await file.write(position, bytes.length, Region.from(bytes), 0);
      await file.sync();
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    await file.close();
  }

  async #pause(name: string): Promise<void> {
    const { intervalMilliseconds } = this.#options;
    const left = (this.#written.get(name) ?? -Infinity) + intervalMilliseconds - this.#clock.monotonic();
    if (left > 0) await new Promise<void>((resolve) => void this.#clock.after(left, resolve));
  }

  #exclusively<T>(name: string, operation: () => Promise<T>): Promise<T> {
    return this.#lock.exclusively(this.#lockPath(name), operation);
  }

  #path(name: string): string {
    return `${this.#options.folder}/${name}.tpm-anchor`;
  }

  #draftPath(name: string): string {
    return `${this.#options.folder}/${name}.tpm-anchor.new`;
  }

  #lockPath(name: string): string {
    return `${this.#options.folder}/${name}.lock`;
  }
}

function isSame(left: AnchorState, right: AnchorState): boolean {
  const isSamePlace = left.epoch === right.epoch && left.manifestNumber === right.manifestNumber;
  return isSamePlace && left.sequence === right.sequence;
}

/** Kept until it is written, when the caller may have gone on with its buffers. */
function copyOf(state: AnchorState): AnchorState {
  return {
    ...state,
    volumeId: Uint8Array.from(state.volumeId),
    manifestDigest: Uint8Array.from(state.manifestDigest),
    chain: Uint8Array.from(state.chain),
  };
}

function nameOf(volumeId: Uint8Array): string {
  assert(volumeId.length === 16, `volume id of ${volumeId.length} bytes`);
  return toHex(volumeId);
}
