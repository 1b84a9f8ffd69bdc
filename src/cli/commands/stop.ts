/** `caisson stop`. */
import type { RunCommand } from '../command.ts';
import { requireDaemon } from '../reach.ts';

export const run: RunCommand = async (context) => {
  const daemon = await requireDaemon(context);
  const { pid } = await daemon.status({});
  await daemon.stop({});
  context.output.result({ pid }, () => `the daemon (process ${pid}) closes its volumes and ends`);
};
