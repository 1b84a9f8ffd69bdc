/** ObjectReader over an open file; a short answer is an error that names the object, never a short read. */
import { CaissonError } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';
import type { FileHandle } from './file-system.ts';
import type { ObjectReader } from './store.ts';

export class FileReader implements ObjectReader {
  readonly size: number;
  readonly #name: string;
  readonly #file: FileHandle;
  readonly #ownsFile: boolean;

  /** `ownsFile` false: the file belongs to a SpoolFile, which closes it. */
  constructor(name: string, size: number, file: FileHandle, ownsFile: boolean) {
    this.#name = name;
    this.size = size;
    this.#file = file;
    this.#ownsFile = ownsFile;
  }

  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean {
    return this.#file.readNow(offset, length, target, targetOffset) === length;
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    const count = await this.#file.read(offset, length, target, targetOffset);
    if (count !== length) throw shortObject(this.#name, offset, length, count);
  }

  async close(): Promise<void> {
    if (this.#ownsFile) await this.#file.close();
  }
}

export function shortObject(name: string, offset: number, length: number, count: number): CaissonError {
  return new CaissonError(
    'invalid',
    'format-invalid',
    `object ${name} is too short: ${count} of ${length} bytes at ${offset}`,
    {
      remedy: 'The object was cut off by something other than Caisson; restore it from a copy of the store.',
      details: { key: name, offset, length, count },
    },
  );
}
