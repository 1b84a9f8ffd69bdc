/** `caisson volume move NAME --store URL`. */
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { unlockingKey } from '../keys.ts';
import { longWork } from '../long-work.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  const request = {
    name,
    credential,
    store: String(options['store']),
    keepSource: options['keepSource'] === true,
    overwriteDevice: options['overwriteDevice'] === true,
  };
  const report = await longWork(
    context,
    `moving ${name}`,
    (onProgress, signal) => operations.moveVolume(request, onProgress, signal),
    'the same command goes on where it stopped',
  );
  const { store, bytesCopied, objectsPresent, heldMilliseconds, removedObjects, sourceRemains } = report;
  const present = objectsPresent === 0 ? '' : ` (${objectsPresent} objects were there already)`;
  const rest = sourceRemains
    ? request.keepSource
      ? 'the store that it left keeps its objects'
      : 'not everything could be removed from the store that it left: the same command tries again'
    : `${removedObjects} objects removed from the store that it left`;
  context.output.result(
    report,
    () =>
      `${name} is in ${store} now: ${formatBytes(bytesCopied)} copied${present}, writers waited ` +
      `${Math.round(heldMilliseconds)} ms; ${rest}`,
  );
};
