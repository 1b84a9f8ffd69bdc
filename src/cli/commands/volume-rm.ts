/** `caisson volume rm NAME`. */
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { confirmByName } from '../confirm.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const aliasOnly = options['keepData'] === true;
  const deleteObjects = options['deleteObjects'] === true;
  const force = options['force'] === true;
  const operations = await operationsFor(context, name);
  const { volumes } = await operations.listVolumes({});
  const volume = volumes.find((candidate) => candidate.name === name);
  if (volume !== undefined) {
    const keepsData = aliasOnly || (volume.root !== undefined && !deleteObjects);
    const loss = keepsData
      ? `The name ${name} will be forgotten`
      : `Everything in ${name} (${volume.store}) will be lost`;
    await confirmByName(name, options, loss, 'removed');
  }
  checkImageOptions(name, volume?.root !== undefined, aliasOnly, deleteObjects || force);
  const { removedObjects, parent = null } = await operations.removeVolume({ name, aliasOnly, deleteObjects, force });
  context.output.result({ name, removedObjects, parent }, () => {
    if (removedObjects === 0) return `forgot the name ${name}; its data is as it was`;
    const removed = `removed ${name} with ${removedObjects} objects`;
    if (parent === null) return removed;
    return `${removed}\n${parent.name ?? parent.volumeId} keeps what ${name} read from it until it is next opened for writing`;
  });
};

/** The objects of an image may be needed by others: they go only when that is asked for. */
function checkImageOptions(name: string, isImage: boolean, aliasOnly: boolean, hasImageOptions: boolean): void {
  if (!hasImageOptions || (isImage && !aliasOnly)) return;
  const message = isImage ? '--keep-data contradicts --delete-objects' : `${name} is no hashed volume`;
  throw new CaissonError('invalid', 'argument-invalid', message, {
    remedy: '--delete-objects and --force go with a hashed volume, without --keep-data.',
  });
}
