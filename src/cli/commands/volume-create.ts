/** `caisson volume create NAME --size SIZE`, and `--protection hashed --from SOURCE`. */
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes, parseVolumeSize } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { createImage } from '../new-image.ts';
import { newVolume } from '../new-volume.ts';
import { protectionNote } from '../protection.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  if (options['protection'] === 'hashed') return createImage(context, name, options);
  if (textOption(options, 'from') !== undefined) {
    throw new CaissonError('invalid', 'argument-invalid', '--from goes with --protection hashed', {
      remedy: 'To fill a sealed volume from an image, use "caisson volume import".',
    });
  }
  const size = parseVolumeSize(requiredSize(textOption(options, 'size')));
  const { operations } = await context.local();
  const volume = await newVolume(operations, name, options);
  const created = await operations.createVolume({ ...volume, size });
  context.output.result(created, () => {
    const kind = volume.protection === 'none' ? 'volume' : 'sealed volume';
    const note = protectionNote(volume.protection);
    return `created ${name}: ${kind}${note} of ${formatBytes(size)} in ${created.store}\nnext: caisson mount ${name} DIRECTORY --mkfs ext4, or caisson serve ${name}`;
  });
};

function requiredSize(size: string | undefined): string {
  if (size !== undefined) return size;
  throw new CaissonError('invalid', 'argument-invalid', "required option '--size <size>' not specified", {
    remedy: 'Give the size of the volume: --size 10GiB.',
  });
}
