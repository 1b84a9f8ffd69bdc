/** `caisson volume rekey NAME`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { keyFromOptions, unlockingKey } from '../keys.ts';
import { longWork } from '../long-work.ts';
import { table } from '../output.ts';
import { operationsFor } from '../reach.ts';
import { spaceRows } from './volume-clean.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const renewed = await keyFromOptions(options, true);
  const given = await keyFromOptions(options);
  const credential = given?.credential ?? (await unlockingKey(operations, name, {}));
  const request = {
    name,
    credential,
    wait: options['wait'] === true,
    ...(renewed === undefined ? {} : { newCredential: renewed.credential }),
    ...(renewed?.hint === undefined ? {} : { key: renewed.hint }),
  };
  const answer = await longWork(
    context,
    `rekeying ${name}`,
    (onProgress, signal) => operations.rekeyVolume(request, onProgress, signal),
    'the rekey goes on whenever the volume is open',
  );
  context.output.result(answer, () =>
    answer.complete
      ? `${name} is rekeyed: everything live is sealed under key epoch ${answer.keyEpoch}`
      : `${name} seals under key epoch ${answer.keyEpoch} from now on; the rest is sealed anew while it is open\n` +
        table(spaceRows(answer.space)),
  );
};
