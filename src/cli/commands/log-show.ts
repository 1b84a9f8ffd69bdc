/** `caisson log show FILE`. */
import type { RunCommand } from '../command.ts';
import { copyOf, countOf, entryText, verdictText } from '../log-output.ts';
import { printable } from '../output.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.broker()).logs();
  const shown = await tools.show(copyOf(file, options), {
    kind: options['kind'] as string | undefined,
    tenant: options['tenant'] as string | undefined,
    from: countOf(String(options['from']), '--from'),
    count: countOf(String(options['count']), '--count'),
  });
  context.output.note(verdictText(shown));
  context.output.result(shown, () => {
    const rest = shown.matching - shown.entries.length;
    const more = rest === 0 ? [] : [`and ${rest} more: --from and --count choose`];
    const lines = shown.entries.length === 0 ? ['no such lines'] : shown.entries.map(entryText);
    return [...lines, ...more].map(printable).join('\n');
  });
};
