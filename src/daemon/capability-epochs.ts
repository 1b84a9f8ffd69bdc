/**
 * The capability epochs of volumes (spec/capability-format.md, section 5), one small file each in the user's state
 * folder, by the id of the volume: so a volume that gets another name, or is named again, keeps its epoch.
 *
 * Invariant: an epoch only rises. Whoever can put an older state folder back brings revoked tokens to life again.
 */
import { CaissonError } from '../lib/errors.ts';
import type { Folders } from '../lib/folders.ts';
import { capabilityFileBytesMax } from '../lib/limits.ts';
import { makePrivateFolder, readSmallFile, replaceSmallFile } from './small-files.ts';

export class CapabilityEpochs {
  readonly #folder: string;

  constructor({ state }: Pick<Folders, 'state'>) {
    this.#folder = `${state}/capabilities`;
  }

  of(volumeId: string): number {
    const file = this.#file(volumeId);
    const text = readSmallFile(file, capabilityFileBytesMax);
    if (text === undefined) return 0;
    const epoch = /^\d{1,15}\n$/.test(text) ? Number(text) : 0;
    if (epoch > 0) return epoch;
    // Guessing lower would bring revoked tokens to life.
    throw new CaissonError('invalid', 'configuration-invalid', `${file} does not hold a capability epoch`, {
      remedy: 'Write a number into it that is higher than any it had, and a newline.',
      details: { path: file },
    });
  }

  raise(volumeId: string): number {
    const epoch = this.of(volumeId) + 1;
    makePrivateFolder(this.#folder);
    replaceSmallFile(this.#file(volumeId), `${epoch}\n`);
    return epoch;
  }

  /** To what somebody else knows, where that is higher. */
  raiseTo(volumeId: string, epoch: number): void {
    if (epoch <= this.of(volumeId)) return;
    makePrivateFolder(this.#folder);
    replaceSmallFile(this.#file(volumeId), `${epoch}\n`);
  }

  #file(volumeId: string): string {
    return `${this.#folder}/${volumeId}.epoch`;
  }
}
