/** `caisson volume create NAME --size SIZE`. */
import { checkName } from '../../lib/names.ts';
import { formatBytes, parseVolumeSize } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { newVolume } from '../new-volume.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const size = parseVolumeSize(textOption(options, 'size') ?? '');
  const { operations } = await context.local();
  const volume = await newVolume(operations, name, options);
  const created = await operations.createVolume({ ...volume, size });
  context.output.result(created, () => {
    const kind =
      volume.protection === 'none'
        ? 'UNPROTECTED volume (anyone who reaches the store can read and change it)'
        : 'sealed volume';
    return `created ${name}: ${kind} of ${formatBytes(size)} in ${created.store}\nnext: caisson mount ${name} DIRECTORY --mkfs ext4, or caisson serve ${name}`;
  });
};
