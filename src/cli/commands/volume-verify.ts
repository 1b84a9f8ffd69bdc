/** `caisson volume verify NAME`, and `--receipt FILE` for the receipt of an erasure. */
import { resolve } from 'node:path';
import type { Operations } from '../../admin/operations.ts';
import type { EraseReceiptAnswer, VerifyAnswer } from '../../admin/schema.ts';
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { CommandContext, CommandOptions, RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { textOption, unlockingKey } from '../keys.ts';
import { printable, table } from '../output.ts';
import { protectionText } from '../protection.ts';
import { operationsFor } from '../reach.ts';
import { receiptRows } from '../receipt.ts';

export const run: RunCommand = async (context, [name], options) => {
  if (name !== undefined) checkName(name);
  const receipt = textOption(options, 'receipt');
  if (receipt !== undefined) return verifyReceipt(context, resolve(receipt), name);
  if (name === undefined) {
    throw new CaissonError('invalid', 'argument-invalid', 'nothing to verify was named', {
      remedy: 'Give the name of a volume, or the receipt of an erasure with --receipt.',
    });
  }
  return verifyVolume(context, name, options);
};

async function verifyVolume(context: CommandContext, name: string, options: CommandOptions): Promise<number> {
  const isPublic = options['public'] === true;
  const operations = await operationsFor(context, name);
  const credential = isPublic ? undefined : await unlockingKey(operations, name, options);
  const progress = await context.output.progress(`verifying ${name}`);
  try {
    const report = await operations.verifyVolume({ name, public: isPublic, credential }, (done, total, unit) =>
      progress.update(done, total, unit),
    );
    progress.stop();
    context.output.result(report, () => describe(name, report));
    return exitCode(report);
  } finally {
    progress.stop();
  }
}

/** With nothing but the file; a name says which volume it must be of. */
async function verifyReceipt(context: CommandContext, file: string, name: string | undefined): Promise<number> {
  const { operations } = await context.local();
  const volumeId = name === undefined ? undefined : await idOf(operations, name);
  const receipt = await operations.checkReceipt({ file, ...(volumeId === undefined ? {} : { volumeId }) });
  context.output.result(
    { ...receipt, sound: true },
    () => `${table(receiptRows(receipt))}\nthe receipt is sound: whoever signed it held the keys of this volume`,
  );
  return ExitCode.good;
}

async function idOf(operations: Operations, name: string): Promise<string> {
  const volume = (await operations.listVolumes({})).volumes.find((candidate) => candidate.name === name);
  if (volume !== undefined) return volume.volumeId;
  throw new CaissonError('invalid', 'name-missing', `no volume is called ${name}`, {
    remedy: 'Leave the name out: a receipt is checked with nothing else.',
    details: { name },
  });
}

/** An old state outranks a damaged one: it is the finding that explains the others. */
function exitCode({ freshness, findings }: VerifyAnswer): number {
  if (freshness === 'rolled-back' || freshness === 'forked') return ExitCode.rolledBack;
  return findings.length > 0 ? ExitCode.tampered : ExitCode.good;
}

const freshnessText: Readonly<Record<VerifyAnswer['freshness'], string>> = {
  current: 'current: the newest state that the anchor knows',
  'rolled-back': 'ROLLED BACK: the store shows an older state than the anchor knows',
  forked: 'FORKED: the store shows another history than the anchor knows',
  'not-checked': 'not checked: no anchor here knows this volume',
};

function describe(name: string, report: VerifyAnswer): string {
  if (report.root !== undefined) return describeImage(name, report.root, report);
  if (report.receipt !== undefined) return describeErased(name, report.receipt, report);
  const rows = [
    ...(report.protection === undefined ? [] : [['protection', protectionText(report.protection)]]),
    ['checked', checkedText(report)],
    [
      'manifests',
      `${report.manifestsChecked}${pinsText(report.pinsChecked)}, newest ${report.manifestNumber} (${report.manifestDigest})`,
    ],
    ['objects', `${report.objectsChecked}, ${formatBytes(report.objectBytes)}`],
    ...(report.public ? [] : [['units', String(report.unitsChecked)]]),
    ['freshness', freshnessText[report.freshness]],
    ...(report.orphans.length === 0
      ? []
      : [['remains', `${report.orphans.length} objects that nothing needs (harmless)`]]),
    ...report.findings.map(({ code, object, message }) => [code, printable(`${object}: ${message}`)]),
  ];
  return `${table(rows)}\n${verdictOf(name, report)}`;
}

function checkedText(report: VerifyAnswer): string {
  if (report.public) return 'digests and signatures (no key)';
  return report.protection === 'none' ? 'everything; there is no key' : 'everything, with the key';
}

function describeErased(name: string, receipt: EraseReceiptAnswer, report: VerifyAnswer): string {
  const rows = [
    ...receiptRows(receipt),
    ['freshness', freshnessText[report.freshness]],
    ...report.findings.map(({ code, object, message }) => [code, printable(`${object}: ${message}`)]),
  ];
  const verdict =
    report.findings.length === 0
      ? `${name} is erased: its keys are destroyed`
      : `${name} is erased, but NOT cleanly: ${report.findings.length} findings; run "caisson volume erase ${name}" again`;
  return `${table(rows)}\n${verdict}`;
}

function describeImage(name: string, root: string, report: VerifyAnswer): string {
  const rows = [
    ['checked', 'every byte, against the root; no key is needed'],
    ['root', root],
    ['objects', `${report.objectsChecked}, ${formatBytes(report.objectBytes)}`],
    ['freshness', 'the root is the state: choosing the newest root is up to whoever hands it out'],
    ...report.findings.map(({ code, object, message }) => [code, printable(`${object}: ${message}`)]),
  ];
  return `${table(rows)}\n${verdictOf(name, report)}`;
}

function pinsText(count: number): string {
  return count === 0 ? '' : `, ${count} of them pinned by snapshots or clones`;
}

function verdictOf(name: string, { findings }: VerifyAnswer): string {
  return findings.length === 0 ? `${name} is sound` : `${name} is NOT sound: ${findings.length} findings`;
}
