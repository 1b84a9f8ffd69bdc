/** `caisson volume create NAME --size SIZE`. */
import { resolve } from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes, parseVolumeSize } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { keyFromOptions, newKey, textOption } from '../keys.ts';
import type { GivenKey } from '../keys.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  // Everything that can be refused is refused before a passphrase is asked for.
  checkName(name);
  const size = parseVolumeSize(textOption(options, 'size') ?? '');
  const protection = options['protection'] === 'none' ? 'none' : 'sealed';
  const durability = options['durability'] === 'anchored' ? 'anchored' : 'local';
  const store = textOption(options, 'store');
  const { operations } = await context.local();
  const { volumes } = await operations.listVolumes({});
  if (volumes.some((volume) => volume.name === name)) {
    throw new CaissonError('invalid', 'name-exists', `a volume called ${name} exists already`, {
      remedy: 'Choose another name, or remove the old one with "caisson volume rm".',
      details: { name },
    });
  }
  const { credential, hint } = await keyFor(protection, name, options);
  const created = await operations.createVolume({
    name,
    size,
    protection,
    durability,
    credential,
    key: hint,
    ...(store === undefined ? {} : { store: absoluteStore(store) }),
  });
  context.output.result(created, () => {
    const kind =
      protection === 'none'
        ? 'UNPROTECTED volume (anyone who reaches the store can read and change it)'
        : 'sealed volume';
    return `created ${name}: ${kind} of ${formatBytes(size)} in ${created.store}\nnext: caisson mount ${name} DIRECTORY --mkfs ext4, or caisson serve ${name}`;
  });
};

/** A volume without protection has no secret, so none is asked for. */
async function keyFor(protection: string, name: string, options: Parameters<RunCommand>[2]): Promise<GivenKey> {
  if (protection === 'sealed') return newKey(options, `New passphrase for ${name}`);
  return keyFromOptions(options) ?? { credential: { kind: 'none' }, hint: { kind: 'none' } };
}

/** A path is relative to where the command was typed, whoever carries it out. */
export function absoluteStore(store: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(store) ? store : resolve(store);
}
