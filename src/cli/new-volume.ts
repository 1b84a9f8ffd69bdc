/** What the commands that make a volume share: its name, its store, its key. */
import { resolve } from 'node:path';
import type { OperationRequest, Operations } from '../admin/operations.ts';
import type { FillAnswer } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import type { CommandOptions } from './command.ts';
import { keyFromOptions, newKey, textOption } from './keys.ts';
import type { GivenKey } from './keys.ts';
import type { Output } from './output.ts';

export type NewVolume = Omit<OperationRequest<'createVolume'>, 'size'>;

/** Everything that can be refused is refused before a passphrase is asked for. `hasOldKey`: the new one has options of its own. */
export async function newVolume(
  operations: Operations,
  name: string,
  options: CommandOptions,
  hasOldKey = false,
): Promise<NewVolume> {
  const protection = options['protection'] === 'none' ? 'none' : 'sealed';
  const durability = textOption(options, 'durability') as NewVolume['durability'];
  const store = textOption(options, 'store');
  const anchor = textOption(options, 'anchor');
  const { volumes } = await operations.listVolumes({});
  if (volumes.some((volume) => volume.name === name && volume.unfinished !== true)) {
    throw new CaissonError('invalid', 'name-exists', `a volume called ${name} exists already`, {
      remedy: 'Choose another name, or remove the old one with "caisson volume rm".',
      details: { name },
    });
  }
  const { credential, hint } = await keyFor(protection, name, options, hasOldKey);
  return {
    name,
    protection,
    ...(durability === undefined ? {} : { durability }),
    credential,
    key: hint,
    ...(anchor === undefined ? {} : { anchor }),
    ...(store === undefined ? {} : { store: absoluteStore(store) }),
    ...(options['overwriteDevice'] === true ? { overwriteDevice: true } : {}),
  };
}

/** A volume without protection has no secret, so none is asked for. */
async function keyFor(protection: string, name: string, options: CommandOptions, isNew: boolean): Promise<GivenKey> {
  if (protection === 'sealed') return newKey(options, `New passphrase for ${name}`, isNew);
  return (await keyFromOptions(options, isNew)) ?? { credential: { kind: 'none' }, hint: { kind: 'none' } };
}

/** A path is relative to where the command was typed, whoever carries it out. */
export function absoluteStore(store: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(store) ? store : resolve(store);
}

/** Whoever repeats a command that was killed learns that it began anew. */
export function noteCleared(output: Output, name: string, { clearedObjects = 0 }: FillAnswer): void {
  if (clearedObjects > 0)
    output.note(`removed ${clearedObjects} objects that an earlier try at ${name} had left, and began anew`);
}
