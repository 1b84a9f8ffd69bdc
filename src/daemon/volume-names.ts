/**
 * volumes.json: what the user calls each volume, and where it lies. It holds no secret, only where
 * one may be found. Losing the file loses no data: `caisson volume adopt` names a volume again.
 *
 * Invariants: names are unique and valid; a change reads, checks and replaces the whole file under
 * a lock, so that two commands at once cannot lose each other's entry.
 */
import { z } from 'zod';
import { keyHint } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import { volumesFileBytesMax } from '../lib/limits.ts';
import { checkName, isName } from '../lib/names.ts';
import { makePrivateFolder, readSmallFile, replaceSmallFile } from './small-files.ts';

const entrySchema = z.strictObject({
  store: z.string().min(1).max(4096),
  volumeId: z.string().regex(/^[0-9a-f]{32}$/),
  key: keyHint,
});

const fileSchema = z.strictObject({ version: z.literal(1), volumes: z.record(z.string(), entrySchema) });

export type VolumeEntry = z.output<typeof entrySchema>;

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

  find(name: string): VolumeEntry {
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

  async replaceKeyHint(name: string, key: VolumeEntry['key']): Promise<void> {
    await this.#change((volumes) => {
      const entry = volumes[name];
      return entry === undefined ? volumes : { ...volumes, [name]: { ...entry, key } };
    });
  }

  async remove(name: string): Promise<void> {
    await this.#change((volumes) => Object.fromEntries(Object.entries(volumes).filter(([other]) => other !== name)));
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
    const parsed = fileSchema.safeParse(parseJson(text));
    if (parsed.success && Object.keys(parsed.data.volumes).every(isName)) return parsed.data.volumes;
    const issue = parsed.error?.issues[0];
    throw new CaissonError(
      'invalid',
      'configuration-invalid',
      `${this.#file} is not a list of volumes${issue === undefined ? '' : `: ${issue.path.join('.')}: ${issue.message}`}`,
      { remedy: 'Repair the file, or move it away and name the volumes again with "caisson volume adopt".' },
    );
  }
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
