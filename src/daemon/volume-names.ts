/**
 * volumes.json: what the user calls each volume, and where it lies. It holds no secret, only where
 * one may be found. Losing the file loses no data: `caisson volume adopt` names a volume again.
 *
 * Invariants: names are unique and valid; a change reads, checks and replaces the whole file under
 * a lock, so that two commands at once cannot lose each other's entry.
 */
import type { KeyHint } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import { keyKinds } from '../lib/key-kinds.ts';
import { volumesFileBytesMax } from '../lib/limits.ts';
import { checkName, isName } from '../lib/names.ts';
import { makePrivateFolder, readSmallFile, replaceSmallFile } from './small-files.ts';

export interface VolumeEntry {
  readonly store: string;
  readonly volumeId: string;
  readonly key: KeyHint;
  /** What remembers its newest state; without it a file of this user. */
  readonly anchor?: string;
  /** Only of a hashed image: `sha256:…`. The id is its beginning then, and the key `none`. */
  readonly root?: string;
  /** An import or a copy that has not ended: the volume does not exist yet, only what was written of it. */
  readonly unfinished?: true;
  /** A move that has not ended: the volume is in one of the two, or the objects in the first are not all removed. */
  readonly move?: MoveNote;
}

export interface MoveNote {
  readonly from: string;
  readonly to: string;
}

/** Runs the change while no other process changes the file. */
export type WithLock = <Value>(file: string, change: () => Value) => Promise<Value>;

export class VolumeNames {
  readonly #file: string;
  readonly #withLock: WithLock;

  constructor(file: string, withLock: WithLock) {
    this.#file = file;
    this.#withLock = withLock;
  }

  list(): ReadonlyMap<string, VolumeEntry> {
    return new Map(Object.entries(this.#read()).sort(([left], [right]) => (left < right ? -1 : 1)));
  }

  /** A whole volume. */
  find(name: string): VolumeEntry {
    const entry = this.findAny(name);
    if (entry.unfinished === undefined) return entry;
    throw new CaissonError(
      'invalid',
      'volume-unfinished',
      `${name} is not whole: it is being imported, or that broke off`,
      {
        remedy: 'Wait for it, run the same import or copy again, or remove what there is with "caisson volume rm".',
        details: { name },
      },
    );
  }

  /** Also what an interrupted import left. */
  findAny(name: string): VolumeEntry {
    const entry = this.list().get(checkName(name));
    if (entry !== undefined) return entry;
    throw new CaissonError('invalid', 'name-missing', `no volume is called ${name}`, {
      remedy: 'See "caisson volume ls"; name an existing volume with "caisson volume adopt".',
      details: { name },
    });
  }

  /** Fails early, before anything is created under a name that is taken. */
  checkFree(name: string): void {
    if (this.list().has(checkName(name))) throw nameTaken(name);
  }

  async add(name: string, entry: VolumeEntry): Promise<void> {
    checkName(name);
    await this.#change((volumes) => {
      if (Object.hasOwn(volumes, name)) throw nameTaken(name);
      return { ...volumes, [name]: entry };
    });
  }

  /** The volume that was being made under this name is whole. */
  async finish(name: string): Promise<void> {
    await this.#change((volumes) => {
      const { unfinished: _, ...entry } = volumes[name] ?? { unfinished: true };
      return 'volumeId' in entry ? { ...volumes, [name]: entry } : volumes;
    });
  }

  async replaceKeyHint(name: string, key: VolumeEntry['key']): Promise<void> {
    await this.#changeEntry(name, (entry) => ({ ...entry, key }));
  }

  /** Before a move's first copy, and with undefined when nothing of it is left to do. */
  async noteMove(name: string, move: MoveNote | undefined): Promise<void> {
    await this.#changeEntry(name, ({ ...entry }) => {
      delete entry.move;
      return move === undefined ? entry : { ...entry, move };
    });
  }

  /** The volume is in this store now. */
  async noteStore(name: string, store: string): Promise<void> {
    await this.#changeEntry(name, (entry) => ({ ...entry, store }));
  }

  async remove(name: string): Promise<void> {
    await this.#change((volumes) => Object.fromEntries(Object.entries(volumes).filter(([other]) => other !== name)));
  }

  async #changeEntry(name: string, change: (entry: VolumeEntry) => VolumeEntry): Promise<void> {
    await this.#change((volumes) => {
      const entry = volumes[name];
      return entry === undefined ? volumes : { ...volumes, [name]: change(entry) };
    });
  }

  async #change(
    change: (volumes: Readonly<Record<string, VolumeEntry>>) => Record<string, VolumeEntry>,
  ): Promise<void> {
    makePrivateFolder(this.#file.replace(/\/[^/]*$/, ''));
    await this.#withLock(`${this.#file}.lock`, () => {
      const volumes = change(this.#read());
      replaceSmallFile(this.#file, `${JSON.stringify({ version: 1, volumes }, null, 2)}\n`);
    });
  }

  #read(): Record<string, VolumeEntry> {
    const text = readSmallFile(this.#file, volumesFileBytesMax);
    if (text === undefined) return {};
    const volumes = volumesOf(parseJson(text));
    if (volumes !== undefined) return volumes;
    throw new CaissonError('invalid', 'configuration-invalid', `${this.#file} is not a list of volumes`, {
      remedy: 'Repair the file, or move it away and name the volumes again with "caisson volume adopt".',
    });
  }
}

/** Checked by hand: this file is read by every command, and a schema library would be half of its start. */
function volumesOf(json: unknown): Record<string, VolumeEntry> | undefined {
  if (!hasExactly(json, ['version', 'volumes']) || json['version'] !== 1) return undefined;
  const { volumes } = json;
  if (!isRecord(volumes)) return undefined;
  return Object.entries(volumes).every(([name, entry]) => isName(name) && isEntry(entry))
    ? (volumes as Record<string, VolumeEntry>)
    : undefined;
}

function isEntry(entry: unknown): entry is VolumeEntry {
  if (!isRecord(entry)) return false;
  const { unfinished, root, move, anchor, ...rest } = entry;
  if (anchor !== undefined && (typeof anchor !== 'string' || anchor === '')) return false;
  if (move !== undefined && !isMoveNote(move)) return false;
  if (root !== undefined && (typeof root !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(root))) return false;
  if (unfinished !== undefined && unfinished !== true) return false;
  if (!hasExactly(rest, ['store', 'volumeId', 'key'])) return false;
  const { store, volumeId, key } = rest;
  if (typeof store !== 'string' || store === '' || typeof volumeId !== 'string' || !/^[0-9a-f]{32}$/.test(volumeId))
    return false;
  return isKeyHint(key);
}

function isKeyHint(key: unknown): boolean {
  if (!isRecord(key)) return false;
  const { kind, ...places } = key;
  return (
    keyKinds.some((known) => known === kind) &&
    Object.entries(places).every(([field, value]) => ['path', 'url'].includes(field) && typeof value === 'string')
  );
}

function isMoveNote(move: unknown): boolean {
  return hasExactly(move, ['from', 'to']) && typeof move['from'] === 'string' && typeof move['to'] === 'string';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasExactly(value: unknown, fields: readonly string[]): value is Record<string, unknown> {
  return (
    isRecord(value) &&
    Object.keys(value).length === fields.length &&
    fields.every((field) => Object.hasOwn(value, field))
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function nameTaken(name: string): CaissonError {
  return new CaissonError('invalid', 'name-exists', `a volume called ${name} exists already`, {
    remedy: 'Choose another name, or remove the old one with "caisson volume rm".',
    details: { name },
  });
}
