/** `caisson snapshot diff NAME FROM [TO]`: extents as they are found, in one of three forms. */
import type { ChangedExtent } from '../../admin/operations.ts';
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { watchSignals } from '../interruption.ts';
import { unlockingKey } from '../keys.ts';
import type { Output } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', from = '', to], options) => {
  checkName(name);
  const { output } = context;
  const form = formOf(output, options['compact'] === true);
  const local = await context.local();
  const holder = await operationsFor(context, name);
  // The newest state is compared as it is published.
  if (to === undefined) await holder.checkpointVolume({ name });
  const credential = await unlockingKey(local.operations, name, options);
  const totals = { data: 0, zero: 0, hole: 0 };
  let count = 0;
  const interruption = watchSignals(output, 'the comparison was stopped');
  try {
    const onExtents = (extents: readonly ChangedExtent[]): void => {
      const lines = extents.map((extent) => {
        totals[extent.kind] += extent.length;
        return lineOf[form](extent);
      });
      output.verbatim((form === 'text' && count === 0 ? [header, ...lines] : lines).join('\n'));
      count += extents.length;
    };
    await local.diffSnapshots({ name, credential, from, to }, onExtents, interruption.signal);
  } finally {
    interruption.stop();
  }
  if (form === 'json') {
    const { data: dataBytes, zero: zeroBytes, hole: holeBytes } = totals;
    output.verbatim(JSON.stringify({ end: true, extents: count, dataBytes, zeroBytes, holeBytes }));
  } else if (form === 'text') {
    const gone = totals.zero + totals.hole;
    output.note(
      count === 0
        ? 'nothing changed'
        : `${count} extents: ${formatBytes(totals.data)} of data, ${formatBytes(gone)} that now read as zeroes`,
    );
  }
};

type Form = 'text' | 'json' | 'compact';

function formOf({ format }: Output, isCompact: boolean): Form {
  if (!isCompact) return format;
  if (format === 'text') return 'compact';
  throw new CaissonError('invalid', 'argument-invalid', '--compact and -o json are two forms of the same', {
    remedy: 'Choose one.',
  });
}

const columns = [16, 14] as const;
const header = `${'OFFSET'.padStart(columns[0])}  ${'LENGTH'.padStart(columns[1])}  KIND`;

const lineOf: Readonly<Record<Form, (extent: ChangedExtent) => string>> = {
  text: ({ offset, length, kind }) =>
    `${String(offset).padStart(columns[0])}  ${String(length).padStart(columns[1])}  ${kind}`,
  json: ({ offset, length, kind }) => JSON.stringify({ offset, length, kind }),
  compact: ({ offset, length, kind }) => `${offset} ${length} ${kind}`,
};
