/** `caisson volume resize NAME --size SIZE`. */
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes, parseVolumeSize } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { textOption, unlockingKey } from '../keys.ts';
import { operationsFor } from '../reach.ts';
import { askLine, isInteractive } from '../terminal.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const size = parseVolumeSize(textOption(options, 'size') ?? '');
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  if (options['yes'] !== true) {
    const { sealed } = await operations.inspectVolume({ name, unlock: true, credential });
    if (sealed !== null && size < sealed.size) await confirmShrink(name, sealed.size, size);
  }
  const resized = await operations.resizeVolume({ name, size, credential });
  context.output.result(
    resized,
    () => `${name} has ${formatBytes(size)} now; grow the file system in it as its own tools do`,
  );
};

async function confirmShrink(name: string, from: number, to: number): Promise<void> {
  const remedy = `Shrink the file system in it first; then repeat the command with --yes.`;
  const loss = `${formatBytes(from - to)} at the end of ${name} would be lost`;
  if (!isInteractive()) throw new CaissonError('invalid', 'argument-invalid', loss, { remedy });
  const answer = await askLine(`${loss}. Type the name of the volume to go on: `);
  if (answer !== name) throw new CaissonError('closed', 'cancelled', `${name} was not changed`, { remedy });
}
