/**
 * Reads a LUKS volume through the system's own programs: `cryptsetup` and the kernel's dm-crypt where there is
 * one, else nbdkit's LUKS filter, which decrypts in user space and knows LUKS 1 alone.
 *
 * Invariants: the passphrase travels through a pipe, never through an argument or a file; nothing is ever
 * written to the volume; a mapping that was made is removed, whatever happens.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { toolMilliseconds } from '../lib/limits.ts';

export interface LuksVolume {
  readonly path: string;
  readonly version: number;
  /** Of the file or device it lies on, bytes. */
  readonly containerBytes: number;
  /** Where the encrypted data begins, bytes; LUKS 1 only. */
  readonly payloadOffset: number;
}

/** What came out of it: a block device that shows the plaintext, or a pipe that carries it once. */
export type OpenLuks =
  | { readonly kind: 'device'; readonly path: string; readonly close: () => Promise<void> }
  | {
      readonly kind: 'pipe';
      readonly size: number;
      readonly stream: Readable;
      /** Rejects with what the program said when it failed. */
      readonly ended: Promise<void>;
      readonly close: () => Promise<void>;
    };

export const luksHeaderBytes = 592;
const magic = Uint8Array.from([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]);
const sectorBytes = 512;
const controlFile = '/dev/mapper/control';
/** What cryptsetup ends with when no key slot opens. */
const wrongPassphraseStatus = 2;

/** From the first `luksHeaderBytes` of a volume; undefined when it is none. */
export function parseLuksHeader(header: Uint8Array, path: string, containerBytes: number): LuksVolume | undefined {
  if (header.length < luksHeaderBytes || !magic.every((byte, at) => header[at] === byte)) return undefined;
  const view = new DataView(header.buffer, header.byteOffset);
  const version = view.getUint16(6);
  return { path, version, containerBytes, payloadOffset: version === 1 ? view.getUint32(104) * sectorBytes : 0 };
}

export async function openLuks(
  volume: LuksVolume,
  passphrase: Uint8Array,
  clock: Clock,
  mapperName: string,
): Promise<OpenLuks> {
  if (existsSync(controlFile)) {
    const mapped = await openMapping(volume, passphrase, clock, mapperName);
    if (mapped !== undefined) return mapped;
  }
  if (volume.version !== 1) throw needsKernel(volume);
  return openPipe(volume, passphrase, clock);
}

/** Undefined where cryptsetup is not installed, or cannot do it and there is another way. */
async function openMapping(
  { path, version }: LuksVolume,
  passphrase: Uint8Array,
  clock: Clock,
  name: string,
): Promise<OpenLuks | undefined> {
  const opened = start(
    'cryptsetup',
    ['open', '--readonly', '--type', 'luks', '--key-file', '/dev/fd/3', path, name],
    passphrase,
  );
  const { status, errorText } = await ended(opened, clock, toolMilliseconds);
  if (status === 'missing') return undefined;
  if (status === wrongPassphraseStatus) throw wrongPassphrase(path);
  if (status !== 0 && version === 1) return undefined; // a control device without the kernel's module
  if (status !== 0) throw failed('cryptsetup', status, errorText);
  const close = async (): Promise<void> => {
    const closed = start('cryptsetup', ['close', name], undefined);
    const result = await ended(closed, clock, toolMilliseconds);
    if (result.status !== 0) throw failed('cryptsetup', result.status, result.errorText);
  };
  return { kind: 'device', path: `/dev/mapper/${name}`, close };
}

function openPipe({ path, containerBytes, payloadOffset }: LuksVolume, passphrase: Uint8Array, clock: Clock): OpenLuks {
  const child = start(
    'nbdkit',
    [
      ...['--readonly', '--exit-with-parent', '--unix', '-', '--filter=luks', 'file', path, 'passphrase=-3'],
      ...['--run', 'exec nbdcopy "$uri" -'],
    ],
    passphrase,
  );
  const finished = ended(child, clock, undefined).then(({ status, errorText }) => {
    if (status === 0) return;
    if (status === 'missing') throw toolMissing();
    throw /passphrase|decrypt/i.test(errorText) ? wrongPassphrase(path) : failed('nbdkit', status, errorText);
  });
  finished.catch(() => undefined); // whoever reads the pipe asks for it at the end
  const close = async (): Promise<void> => {
    child.process.stdout?.destroy();
    child.process.kill('SIGKILL');
    await finished.catch(() => undefined);
  };
  return { kind: 'pipe', size: containerBytes - payloadOffset, stream: child.process.stdout!, ended: finished, close };
}

interface Started {
  readonly process: ChildProcess;
  readonly errors: () => string;
}

/** As `runTool`: no shell of ours, a fixed path and locale; the secret arrives on descriptor 3. */
function start(name: string, parameters: readonly string[], secret: Uint8Array | undefined): Started {
  const child = spawn(name, [...parameters], {
    cwd: '/',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const pipe = child.stdio[3] as Writable | null;
  pipe?.on('error', () => undefined); // a program that ends early says why by itself
  pipe?.end(secret === undefined ? undefined : Buffer.from(secret));
  let errors = '';
  child.stderr
    ?.setEncoding('utf8')
    .on('data', (piece: string) => (errors = (errors + piece).substring(0, errorTextMax)));
  return { process: child, errors: () => errors.trim().replace(/\s*\n\s*/g, '; ') };
}

const errorTextMax = 2_000;

function ended(
  { process: child, errors }: Started,
  clock: Clock,
  milliseconds: number | undefined,
): Promise<{ readonly status: number | 'missing'; readonly errorText: string }> {
  return new Promise((resolve, reject) => {
    const cancel = milliseconds === undefined ? undefined : clock.after(milliseconds, () => void child.kill('SIGKILL'));
    child.once('error', (error: NodeJS.ErrnoException) => {
      cancel?.();
      if (error.code === 'ENOENT') resolve({ status: 'missing', errorText: '' });
      else reject(new CaissonError('io', 'tool-failed', messageOf(error), { cause: error }));
    });
    child.once('close', (code) => {
      cancel?.();
      resolve({ status: code ?? 128, errorText: errors() });
    });
  });
}

function wrongPassphrase(path: string): CaissonError {
  return new CaissonError('denied', 'key-wrong', `no key slot of the LUKS volume ${path} opens with this passphrase`, {
    remedy: 'Give the passphrase of the LUKS volume with --luks-passphrase-file or --luks-passphrase-fd.',
    details: { path },
  });
}

function needsKernel({ path, version }: LuksVolume): CaissonError {
  return new CaissonError(
    'invalid',
    'unsupported',
    `${path} is LUKS ${version}, which only the kernel's dm-crypt reads`,
    {
      remedy:
        'Install cryptsetup on a machine whose kernel has dm-crypt, or decrypt it there and import the plain image.',
      details: { path, version },
    },
  );
}

function toolMissing(): CaissonError {
  return new CaissonError(
    'invalid',
    'tool-missing',
    'neither cryptsetup with dm-crypt nor nbdkit is there to decrypt it',
    {
      remedy: 'Install nbdkit and libnbd-bin, or cryptsetup.',
      details: { tool: 'nbdkit' },
    },
  );
}

function failed(tool: string, status: number | 'missing', errorText: string): CaissonError {
  return new CaissonError('io', 'tool-failed', `${tool} failed with status ${status}: ${errorText}`, {
    remedy: 'Check that the source is a sound LUKS volume.',
    details: { tool, status },
  });
}
