/** `caisson volume export NAME --to FILE`. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { OperationResponse } from '../../admin/operations.ts';
import type { Credential } from '../../admin/schema.ts';
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { CommandContext, CommandOptions, RunCommand } from '../command.ts';
import { keyFromOptions, textOption, withKeyWhenNeeded } from '../keys.ts';
import { longWork } from '../long-work.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const to = textOption(options, 'to') ?? '';
  if (to === '-' && process.stdout.isTTY) {
    throw new CaissonError('invalid', 'argument-invalid', '--to - writes a pipe, and standard output is a terminal', {
      remedy: 'Pipe it: caisson volume export NAME --to - | ssh host caisson volume import-backup --from - --store URL',
    });
  }
  await publishFirst(context, name);
  const report = await withKeyWhenNeeded(name, (await keyFromOptions(options))?.credential, (credential) =>
    exportIt(context, name, options, to, credential),
  );
  if (to === '-') context.output.beside(report, () => describe(name, report));
  else context.output.result(report, () => describe(name, report));
};

/** What the daemon has flushed and not yet published would be missing. */
async function publishFirst(context: CommandContext, name: string): Promise<void> {
  const daemon = await context.daemon();
  if (daemon === undefined) return;
  const { volumes } = await daemon.status({});
  if (volumes.some((volume) => volume.name === name)) await daemon.checkpointVolume({ name });
}

async function exportIt(
  context: CommandContext,
  name: string,
  options: CommandOptions,
  to: string,
  credential: Credential | undefined,
): Promise<OperationResponse<'exportBackup'>> {
  const since = textOption(options, 'since');
  const { operations } = await context.local();
  const request = {
    name,
    to: to === '-' ? to : resolve(to),
    ...(since === undefined ? {} : { since: existsSync(since) ? resolve(since) : since }),
  };
  return longWork(context, `exporting ${name}`, (onProgress, signal) =>
    operations.exportBackup({ ...request, credential }, onProgress, signal),
  );
}

function describe(name: string, report: OperationResponse<'exportBackup'>): string {
  const { base, manifestNumber, manifestDigest, objects, bytes } = report;
  const kind = base === null ? 'in full' : `since manifest ${base}`;
  return (
    `exported ${name} ${kind}: manifest ${manifestNumber}, ${objects} objects, ${formatBytes(bytes)}\n` +
    `the next one may start from it: --since FILE, or --since ${manifestNumber}:${manifestDigest}`
  );
}
