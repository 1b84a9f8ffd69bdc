/** `caisson volume inspect NAME`. */
import type { VolumeDetails } from '../../admin/schema.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { namesKey, unlockingKey } from '../keys.ts';
import { relativesText } from '../lineage.ts';
import { printable, table } from '../output.ts';
import { protectionText } from '../protection.ts';
import { operationsFor } from '../reach.ts';
import { spaceRows } from './volume-clean.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const unlock = options['unlock'] === true || namesKey(options);
  const credential = unlock ? await unlockingKey(operations, name, options) : undefined;
  const details = await operations.inspectVolume({ name, unlock, credential });
  context.output.result(details, () => describe(details));
};

export function describe(details: VolumeDetails): string {
  const { name, store, public: shown, sealed, hashed } = details;
  const rows: string[][] = [
    ['name', name],
    ['id', shown.volumeId],
    ['store', store],
    ['state', stateText(details)],
    ['protection', protectionText(shown.protection)],
    ['format', String(shown.formatVersion)],
  ];
  if (hashed !== undefined) {
    return table([
      ...rows,
      ['root', hashed.root],
      ['size', `${formatBytes(hashed.imageBytes)} (${hashed.imageBytes} bytes)`],
      ['data', formatBytes(hashed.dataBytes)],
      ['objects', `${shown.objectCount}, ${formatBytes(shown.objectBytes)}; some may be shared with other images`],
    ]);
  }
  rows.push(
    ['manifest', `${shown.manifestNumber} (${shown.manifestDigest})`],
    ['writer', `epoch ${shown.epoch}, key ${shown.writerKey}`],
    ['objects', `${shown.objectCount}, ${formatBytes(shown.objectBytes)}`],
    ...shown.keySlots.map(({ slot, kind, description }) => [`key ${slot}`, `${kind}: ${description}`]),
  );
  rows.push(...lineageRows(details));
  // An erased volume has no slot left, and a size that nobody will see.
  if (sealed === null && details.lineage?.state === 'erased') return table(rows);
  if (sealed === null) return table([...rows, ['size', sizeHint(shown.protection)]]);
  rows.push(
    ['size', `${formatBytes(sealed.size)} (${sealed.size} bytes)`],
    ['durability', sealed.durability],
    ['writable', sealed.latched ?? (sealed.readOnly ? 'no' : 'yes')],
    ['sealer', sealed.sealer],
    ['spool', formatBytes(sealed.spoolBytes)],
    ...(details.space === undefined ? [] : spaceRows(details.space)),
    ['records', `${sealed.sequence} written, ${sealed.anchoredSequence} anchored`],
  );
  return table(rows);
}

/** Only a sealed volume hides its size; of another it merely lies in what has to be opened. */
function sizeHint(protection: 'sealed' | 'none' | 'hashed'): string {
  return protection === 'sealed' ? 'sealed; show it with --unlock' : 'show it with --unlock';
}

function stateText({ open, lineage }: VolumeDetails): string {
  return open ? 'open in the daemon' : closedText[lineage?.state ?? 'closed'];
}

const closedText = {
  closed: 'closed',
  open: 'open elsewhere, or its last writer crashed',
  erased: 'ERASED: its keys are destroyed; "caisson volume verify --public" shows the receipt',
  moved: 'moved to another store',
} as const;

function lineageRows({ lineage, snapshots }: VolumeDetails): string[][] {
  if (lineage === undefined) return [];
  const { parent, clones, snapshotCount } = lineage;
  const names = snapshots?.map((snapshot) => printable(snapshot.name)).join(', ');
  return [
    ...(parent === null ? [] : [['parent', `${relativesText([parent])}, from its manifest ${parent.manifestNumber}`]]),
    ...(snapshotCount === 0 ? [] : [['snapshots', `${snapshotCount}${names === undefined ? '' : `: ${names}`}`]]),
    ...(clones.length === 0 ? [] : [['clones', relativesText(clones)]]),
  ];
}
