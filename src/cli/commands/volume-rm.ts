/** `caisson volume rm NAME`. */
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { operationsFor } from '../reach.ts';
import { askLine, isInteractive } from '../terminal.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const aliasOnly = options['keepData'] === true;
  const deleteObjects = options['deleteObjects'] === true;
  const force = options['force'] === true;
  const operations = await operationsFor(context, name);
  const { volumes } = await operations.listVolumes({});
  const volume = volumes.find((candidate) => candidate.name === name);
  if (volume !== undefined && options['yes'] !== true) {
    await confirm(name, volume.store, aliasOnly || (volume.root !== undefined && !deleteObjects));
  }
  checkImageOptions(name, volume?.root !== undefined, aliasOnly, deleteObjects || force);
  const { removedObjects } = await operations.removeVolume({ name, aliasOnly, deleteObjects, force });
  context.output.result({ name, removedObjects }, () =>
    removedObjects === 0
      ? `forgot the name ${name}; its data is as it was`
      : `removed ${name} with ${removedObjects} objects`,
  );
};

/** The objects of an image may be needed by others: they go only when that is asked for. */
function checkImageOptions(name: string, isImage: boolean, aliasOnly: boolean, hasImageOptions: boolean): void {
  if (!hasImageOptions || (isImage && !aliasOnly)) return;
  const message = isImage ? '--keep-data contradicts --delete-objects' : `${name} is no hashed volume`;
  throw new CaissonError('invalid', 'argument-invalid', message, {
    remedy: '--delete-objects and --force go with a hashed volume, without --keep-data.',
  });
}

async function confirm(name: string, store: string, aliasOnly: boolean): Promise<void> {
  if (!isInteractive()) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      `${name} is removed only with --yes where nobody can be asked`,
      {
        remedy: 'Repeat the command with --yes.',
      },
    );
  }
  const loss = aliasOnly ? `The name ${name} will be forgotten` : `Everything in ${name} (${store}) will be lost`;
  const answer = await askLine(`${loss}. Type the name of the volume to go on: `);
  if (answer !== name) throw new CaissonError('closed', 'cancelled', `${name} was not removed`);
}
