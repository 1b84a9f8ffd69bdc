/** `caisson umount NAME|DIRECTORY`. */
import { resolve } from 'node:path';
import { isReference } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [target = '']) => {
  const daemon = await context.daemon();
  // With no daemon it was killed: what it left behind is put right from here.
  const operations = daemon ?? (await context.local()).operations;
  const unmounted = await operations.unmountVolume({ target: isReference(target) ? target : resolve(target) });
  context.output.result(unmounted, () =>
    [...unmounted.notes, `unmounted ${unmounted.name} from ${unmounted.directory}`].join('\n'),
  );
};
