/** `caisson capability revoke NAME`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [name = '']) => {
  checkName(name);
  // A running daemon ends at once what it serves; without one there is nothing to end.
  const operations = (await context.daemon()) ?? (await context.local()).operations;
  const revoked = await operations.revokeCapabilities({ name });
  context.output.result(
    revoked,
    () => `every capability of ${name} from before is revoked; exports ended: ${revoked.ended}`,
  );
  if (revoked.brokerTold === false)
    context.output.note('the broker did not answer: it will be told when this volume is next opened by capability');
};
