/**
 * The index in memory: what lies where. About 150 bytes an object (a packed key, an entry of five fields,
 * its place in a map).
 *
 * Invariants: every Stored in the index holds its units; a Stored has as many pins as there are names and
 * open handles of it, and its units are given back when the last pin goes.
 */
import { assert } from '../../lib/assert.ts';
import { CaissonError } from '../../lib/errors.ts';
import { versionOf } from '../watched-files.ts';
import { countUnits } from './journal-format.ts';
import type { Extents, IndexRecord } from './journal-format.ts';

/** Bytes that lie in units of the device. */
export class Stored {
  size: number;
  /** The only extent of most objects. */
  first: number;
  count: number;
  /** All of them, where there are more than one. */
  #all: number[] | undefined;
  pins = 0;

  constructor(size: number, extents: Extents) {
    this.size = size;
    this.first = 0;
    this.count = 0;
    this.setExtents(extents);
  }

  get extents(): Extents {
    return this.#all ?? (this.count === 0 ? [] : [this.first, this.count]);
  }

  setExtents(extents: Extents): void {
    this.first = extents[0] ?? 0;
    this.count = extents[1] ?? 0;
    this.#all = extents.length > 2 ? [...extents] : undefined;
  }
}

/** A small mutable object, kept whole. */
export class Inline {
  readonly content: Uint8Array;
  readonly version: string;

  constructor(content: Uint8Array) {
    this.content = content;
    this.version = versionOf(content);
  }

  get size(): number {
    return this.content.length;
  }
}

export type Entry = Stored | Inline;

/** A spool file by its name. Its `stored.size` is what was written so far. */
export class SpoolName {
  readonly stored: Stored;
  /** As the journal says; undefined: the journal does not know the file yet. */
  recordedSize: number | undefined;
  /** Something of it is not in the journal: its name, its units, a smaller size. */
  isChanged = true;
  /** Written since the last sync that covered it. */
  isDirty = false;
  /** It is an object now, or about to be one. */
  isPublished = false;

  constructor(stored: Stored) {
    this.stored = stored;
  }
}

const shardedPattern = /^(segments|maps|catalog)\/([0-9a-f]{2})\/([0-9a-f]{30}([0-9a-f]{2}))$/;
const letterOfFolder: Readonly<Record<string, string>> = { segments: 'S', maps: 'M', catalog: 'C' };
const folderOfLetter: Readonly<Record<string, string>> = { S: 'segments', M: 'maps', C: 'catalog' };

class VolumeEntries {
  readonly objects = new Map<string, Entry>();
  readonly spool = new Map<string, SpoolName>();
}

export class BlockIndex {
  /** By the first word of the key. */
  readonly #volumes = new Map<string, VolumeEntries>();
  #objectCount = 0;

  get objectCount(): number {
    return this.#objectCount;
  }

  get(key: string): Entry | undefined {
    const [volume, rest] = split(key);
    return this.#volumes.get(volume)?.objects.get(pack(rest));
  }

  /** Returns what was there before. */
  set(key: string, entry: Entry): Entry | undefined {
    const [volume, rest] = split(key);
    const { objects } = this.#volume(volume);
    const packed = pack(rest);
    const before = objects.get(packed);
    objects.set(packed, entry);
    if (before === undefined) this.#objectCount++;
    return before;
  }

  delete(key: string): Entry | undefined {
    const [volume, rest] = split(key);
    const objects = this.#volumes.get(volume)?.objects;
    const packed = pack(rest);
    const before = objects?.get(packed);
    if (before === undefined) return undefined;
    objects!.delete(packed);
    this.#objectCount--;
    this.#dropIfEmpty(volume);
    return before;
  }

  *keys(prefix: string): Iterable<readonly [key: string, entry: Entry]> {
    for (const [volume, { objects }] of this.#volumes) {
      if (!`${volume}/`.startsWith(prefix) && !prefix.startsWith(`${volume}/`)) continue;
      for (const [packed, entry] of objects) {
        const key = `${volume}/${unpack(packed)}`;
        if (key.startsWith(prefix)) yield [key, entry];
      }
    }
  }

  getSpool(volume: string, name: string): SpoolName | undefined {
    return this.#volumes.get(volume)?.spool.get(name);
  }

  setSpool(volume: string, name: string, entry: SpoolName): void {
    this.#volume(volume).spool.set(name, entry);
  }

  deleteSpool(volume: string, name: string): void {
    this.#volumes.get(volume)?.spool.delete(name);
    this.#dropIfEmpty(volume);
  }

  spoolNames(volume: string): [name: string, entry: SpoolName][] {
    return [...(this.#volumes.get(volume)?.spool ?? [])];
  }

  /** The whole index as records, spool files with the size that was recorded last. */
  *records(): Iterable<IndexRecord> {
    for (const [volume, { objects, spool }] of this.#volumes) {
      for (const [packed, entry] of objects) yield recordOf(`${volume}/${unpack(packed)}`, entry);
      for (const [name, { stored, recordedSize }] of spool) {
        if (recordedSize === undefined) continue;
        // What was cut since is written as it is now: a size never exceeds what was ever durable.
        const size = Math.min(recordedSize, stored.size);
        yield { kind: 'spool', volume, name, size, extents: stored.extents };
      }
    }
  }

  /** Every Stored once, however many names it has. */
  stored(): Set<Stored> {
    const found = new Set<Stored>();
    for (const { objects, spool } of this.#volumes.values()) {
      for (const entry of objects.values()) if (entry instanceof Stored) found.add(entry);
      for (const { stored } of spool.values()) found.add(stored);
    }
    return found;
  }

  /** Applies a record while the device is being opened; pins follow in `join`. */
  apply(record: IndexRecord): void {
    switch (record.kind) {
      case 'object':
        this.set(record.key, new Stored(record.size, record.extents));
        break;
      case 'inline':
        this.set(record.key, new Inline(record.content));
        break;
      case 'removed':
        this.delete(record.key);
        break;
      case 'spool': {
        const entry = new SpoolName(new Stored(record.size, record.extents));
        entry.recordedSize = record.size;
        entry.isChanged = false;
        this.setSpool(record.volume, record.name, entry);
        break;
      }
      case 'spool-removed':
        this.deleteSpool(record.volume, record.name);
    }
  }

  /** After the last record: a spool file and the object it was published as share their units; each name is a pin. */
  join(): void {
    for (const { objects, spool } of this.#volumes.values()) {
      const published = new Map<number, SpoolName>();
      for (const file of spool.values()) if (file.stored.count > 0) published.set(file.stored.first, file);
      for (const [packed, entry] of objects) {
        if (!(entry instanceof Stored)) continue;
        entry.pins++;
        const file = entry.count > 0 ? published.get(entry.first) : undefined;
        if (file === undefined || !isSame(file.stored, entry)) continue;
        file.stored.pins++;
        objects.set(packed, file.stored);
      }
      for (const { stored } of spool.values()) stored.pins++;
    }
  }

  #volume(volume: string): VolumeEntries {
    let entries = this.#volumes.get(volume);
    if (entries === undefined) this.#volumes.set(volume, (entries = new VolumeEntries()));
    return entries;
  }

  #dropIfEmpty(volume: string): void {
    const entries = this.#volumes.get(volume);
    if (entries?.objects.size === 0 && entries.spool.size === 0) this.#volumes.delete(volume);
  }
}

export function recordOf(key: string, entry: Entry): IndexRecord {
  return entry instanceof Inline
    ? { kind: 'inline', key, content: entry.content }
    : { kind: 'object', key, size: entry.size, extents: entry.extents };
}

export function missing(key: string): CaissonError {
  return new CaissonError('invalid', 'object-missing', `object ${key} does not exist`, { details: { key } });
}

function isSame(one: Stored, other: Stored): boolean {
  return (
    one.size === other.size &&
    countUnits(one.extents) === countUnits(other.extents) &&
    one.extents.every((number, index) => number === other.extents[index])
  );
}

function split(key: string): readonly [volume: string, rest: string] {
  const slash = key.indexOf('/');
  assert(slash > 0, `key ${key}`);
  return [key.substring(0, slash), key.substring(slash + 1)];
}

/** A letter and 16 characters for the keys of which there are many; '/' and the rest for all others. */
function pack(rest: string): string {
  const match = shardedPattern.exec(rest);
  if (match === null || match[2] !== match[4]) return `/${rest}`;
  return letterOfFolder[match[1]!]! + Buffer.from(match[3]!, 'hex').toString('latin1');
}

function unpack(packed: string): string {
  const folder = folderOfLetter[packed[0]!];
  if (folder === undefined) return packed.substring(1);
  const id = Buffer.from(packed.substring(1), 'latin1').toString('hex');
  return `${folder}/${id.substring(30)}/${id}`;
}
