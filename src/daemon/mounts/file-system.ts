/**
 * What is on a device, and making a file system on it. Invariant: a device is formatted only when it
 * was read without error and is blank, or when the caller forces it. A probe that fails, a signature
 * that is not understood and data without a signature all count as "not blank".
 */
import { open } from 'node:fs/promises';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { blankProbeBytes, toolSlowMilliseconds } from '../../lib/limits.ts';
import { expectStatus } from '../../sys/run-tool.ts';
import { withoutMounts } from '../../sys/without-mounts.ts';
import { foreignMounts } from './foreign-mounts.ts';
import type { MountEnvironment } from './mount-environment.ts';

export type FileSystemType = 'ext4' | 'xfs' | 'btrfs';

export type DeviceContent =
  | { readonly kind: 'blank' }
  | { readonly kind: 'file-system'; readonly type: string }
  | { readonly kind: 'other'; readonly description: string };

export type FileSystemTools = Pick<MountEnvironment, 'run' | 'clock' | 'readTable' | 'listLoops'>;

export async function probeDevice(device: string, size: number, tools: FileSystemTools): Promise<DeviceContent> {
  const endsAreZero = await readEnds(device, size);
  const result = await tools.run('blkid', ['-p', '-o', 'export', device], { clock: tools.clock });
  if (result.status === 0) return contentOf(result.output);
  if (result.status === 8) return { kind: 'other', description: 'signatures of more than one kind' };
  // blkid says 2 both for "nothing known" and for "cannot tell"; the ends decide, and they were readable.
  if (result.status === 2) {
    return endsAreZero ? { kind: 'blank' } : { kind: 'other', description: 'data without a known signature' };
  }
  throw new CaissonError('io', 'mount-failed', `blkid cannot tell what is on ${device}: ${result.errorText}`, {
    remedy: 'Nothing was changed. Look in the kernel log for errors of the device.',
    details: { device, status: result.status },
  });
}

/** The type to mount, after making the file system if that was asked for. */
export async function prepareFileSystem(
  device: string,
  size: number,
  make: FileSystemType | undefined,
  force: boolean,
  tools: FileSystemTools,
): Promise<string> {
  const content = await probeDevice(device, size, tools);
  if (make !== undefined) {
    if (content.kind !== 'blank' && !force) throw notBlank(content);
    await makeFileSystem(device, make, content.kind !== 'blank', tools);
    return make;
  }
  if (content.kind === 'file-system') return content.type;
  if (content.kind === 'blank') {
    throw new CaissonError('invalid', 'mount-failed', 'the volume holds no file system yet', {
      remedy: 'Mount it once with --mkfs ext4 (or xfs, btrfs).',
    });
  }
  throw new CaissonError(
    'invalid',
    'mount-failed',
    `the volume holds ${content.description}, which cannot be mounted`,
    {
      remedy: 'Use the volume as a block device through its NBD or FUSE export instead.',
    },
  );
}

async function makeFileSystem(
  device: string,
  type: FileSystemType,
  overwrite: boolean,
  tools: FileSystemTools,
): Promise<void> {
  const options = { clock: tools.clock, milliseconds: toolSlowMilliseconds };
  const remedy = 'Look in the kernel log for errors of the device; the volume may be too small for this file system.';
  // A signature that mkfs does not overwrite would make the next probe ambiguous.
  if (overwrite) expectStatus('wipefs', await tools.run('wipefs', ['--all', device], options), remedy);
  const forceFlag = type === 'ext4' ? '-F' : '-f';
  const parameters = ['-q', ...(overwrite ? [forceFlag] : []), device];
  // mkfs looks for its device among all that is mounted; another volume with a dead daemon must not fail it.
  const run = withoutMounts(foreignMounts(device, await tools.readTable(), await tools.listLoops()), tools.run);
  expectStatus(`mkfs.${type}`, await run(`mkfs.${type}`, parameters, options), remedy);
}

function contentOf(output: string): DeviceContent {
  const tags = new Map(output.split('\n').map((line) => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]));
  const type = tags.get('TYPE');
  if (type !== undefined && tags.get('USAGE') === 'filesystem') return { kind: 'file-system', type };
  if (type !== undefined) return { kind: 'other', description: `data of type ${type}` };
  return { kind: 'other', description: `a partition table (${tags.get('PTTYPE') ?? 'of unknown type'})` };
}

function notBlank(content: DeviceContent): CaissonError {
  const what = content.kind === 'file-system' ? `a file system (${content.type})` : 'data';
  const description = content.kind === 'other' ? content.description : what;
  return new CaissonError('invalid', 'mount-failed', `the volume already holds ${description}; it was left as it is`, {
    remedy: 'Mount it without --mkfs to use what is there, or add --force to destroy it.',
    details: { content: content.kind === 'file-system' ? content.type : content.kind },
  });
}

/** True when the first and the last part hold only zeroes. Throws when they cannot be read. */
async function readEnds(device: string, size: number): Promise<boolean> {
  try {
    const handle = await open(device, 'r');
    try {
      const length = Math.min(blankProbeBytes, size);
      const bytes = new Uint8Array(length);
      let zero = true;
      for (const position of [0, size - length]) {
        const { bytesRead } = await handle.read(bytes, 0, length, position);
        if (bytesRead !== length) throw new Error(`only ${bytesRead} of ${length} bytes could be read at ${position}`);
        zero &&= bytes.every((byte) => byte === 0);
      }
      return zero;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new CaissonError('io', 'mount-failed', `cannot read ${device}: ${messageOf(error)}`, {
      remedy: 'Nothing was changed. "caisson verify" tells whether the store or the volume is damaged.',
      details: { device },
      cause: error,
    });
  }
}
