/** `caisson volume verify NAME`. */
import type { VerifyAnswer } from '../../admin/schema.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { unlockingKey } from '../keys.ts';
import { printable, table } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
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
};

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
  const rows = [
    ['checked', report.public ? 'digests and signatures (no key)' : 'everything, with the key'],
    ['manifests', `${report.manifestsChecked}, newest ${report.manifestNumber} (${report.manifestDigest})`],
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

function verdictOf(name: string, { findings }: VerifyAnswer): string {
  return findings.length === 0 ? `${name} is sound` : `${name} is NOT sound: ${findings.length} findings`;
}
