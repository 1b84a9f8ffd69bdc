/** `caisson volume import NAME --from SOURCE`. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { OperationRequest } from '../../admin/operations.ts';
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes, parseVolumeSize } from '../../lib/sizes.ts';
import type { CommandOptions, RunCommand } from '../command.ts';
import { luksPassphrase, textOption } from '../keys.ts';
import { longWork } from '../long-work.ts';
import { newVolume, noteCleared } from '../new-volume.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const request = sourceOf(options);
  const { operations } = await context.local();
  const volume = await newVolume(operations, name, options);
  const luks = await luksPassphrase(options);
  const report = await longWork(context, `importing ${name}`, (onProgress, signal) =>
    operations.importVolume({ ...volume, ...request, ...(luks === undefined ? {} : { luks }) }, onProgress, signal),
  );
  const { sourceBytes, paddedBytes, writtenBytes, digest, sha256 } = report;
  noteCleared(context.output, name, report);
  if (paddedBytes > 0)
    context.output.note(`${name} ends with ${paddedBytes} bytes of zeroes that the source does not have`);
  context.output.result(
    report,
    () =>
      `imported ${name}: ${formatBytes(sourceBytes)}, of which ${formatBytes(writtenBytes)} hold data, in ${report.volume.store}\n` +
      `${digest === 'plain' ? 'SHA-256' : 'sparse SHA-256'} ${sha256}, the same in the source and in the volume`,
  );
};

function sourceOf(options: CommandOptions): Pick<OperationRequest<'importVolume'>, 'from' | 'size' | 'sha256'> {
  const from = textOption(options, 'from') ?? '';
  const size = textOption(options, 'size');
  const sha256 = textOption(options, 'sha256');
  if (sha256 !== undefined && !/^[0-9a-fA-F]{64}$/.test(sha256)) {
    throw new CaissonError('invalid', 'argument-invalid', '--sha256 takes 64 hexadecimal digits', {
      remedy: 'Give what sha256sum printed for the image.',
    });
  }
  if (from === '-' && process.stdin.isTTY) {
    throw new CaissonError('invalid', 'argument-invalid', '--from - reads a pipe, and standard input is a terminal', {
      remedy: 'Pipe the image in: zstdcat disk.img.zst | caisson volume import NAME --from -',
    });
  }
  if (from !== '-' && !existsSync(from)) {
    throw new CaissonError('invalid', 'import-source-missing', `there is no ${from}`, {
      remedy: 'Check the path given with --from.',
    });
  }
  return {
    from: from === '-' ? from : resolve(from),
    ...(size === undefined ? {} : { size: parseVolumeSize(size) }),
    ...(sha256 === undefined ? {} : { sha256 }),
  };
}
