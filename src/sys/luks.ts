/**
 * Reads a LUKS volume through the system's own programs: `cryptsetup` and the kernel's dm-crypt where there is
 * one. Elsewhere nbdkit's LUKS filter decrypts LUKS 1 in user space, and for LUKS 2 `cryptsetup` opens the key slot
 * and says how the data is encrypted, which the caller then decrypts itself.
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
import { toolMilliseconds, toolOutputBytesMax } from '../lib/limits.ts';

export interface LuksVolume {
  readonly path: string;
  readonly version: number;
  /** Of the file or device it lies on, bytes. */
  readonly containerBytes: number;
  /** Where the encrypted data begins, bytes; LUKS 1 only. */
  readonly payloadOffset: number;
}

/** How the data of a LUKS 2 volume is encrypted. */
export interface LuksSegment {
  readonly offset: number; // bytes
  readonly size: number; // bytes
  readonly sectorBytes: number;
  /** Number of the first sector in its initialization vector, in sectors of 512 bytes. */
  readonly firstSector: number;
  /** Two AES keys, one after the other; the caller wipes them. */
  readonly key: Uint8Array;
}

/** What came out of it: a block device that shows the plaintext, a pipe that carries it once, or the key. */
export type OpenLuks =
  | { readonly kind: 'segment'; readonly segment: LuksSegment }
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
  if (volume.version !== 1) return { kind: 'segment', segment: await openSegment(volume, passphrase, clock) };
  return openPipe(volume, passphrase, clock);
}

/** Undefined where cryptsetup is not installed, or cannot do it and there is another way. */
async function openMapping(
  { path }: LuksVolume,
  passphrase: Uint8Array,
  clock: Clock,
  name: string,
): Promise<OpenLuks | undefined> {
  const opened = start(
    'cryptsetup',
    ['open', '--readonly', '--type', 'luks', '--key-file', '-', path, name],
    passphrase,
  );
  const { status } = await ended(opened, clock, toolMilliseconds);
  if (status === 'missing') return undefined;
  if (status === wrongPassphraseStatus) throw wrongPassphrase(path);
  if (status !== 0) return undefined; // a control device without the kernel's module
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

/** Key and layout by cryptsetup, which checks the passphrase against the volume's own digest. */
async function openSegment(volume: LuksVolume, passphrase: Uint8Array, clock: Clock): Promise<LuksSegment> {
  const { path } = volume;
  const metadata = await dump(volume, ['--dump-json-metadata'], undefined, clock);
  const layout = parseLuksLayout(metadata.toString('utf8'), volume);
  const text = await dump(volume, ['--dump-master-key', '--key-file', '-'], passphrase, clock);
  const key = parseDumpedKey(text.toString('latin1'));
  text.fill(0);
  if (key === undefined) throw failed('cryptsetup', 0, `it showed no key for ${path}`);
  if (key.length !== 32 && key.length !== 64) throw otherCipher(volume, `a key of ${key.length} bytes`);
  return { ...layout, key };
}

async function dump(
  { path, version }: LuksVolume,
  options: readonly string[],
  passphrase: Uint8Array | undefined,
  clock: Clock,
): Promise<Buffer> {
  const program = start('cryptsetup', ['--batch-mode', 'luksDump', ...options, path], passphrase);
  const pieces: Buffer[] = [];
  let length = 0;
  program.process.stdout?.on('data', (piece: Buffer) => {
    length += piece.length;
    if (length <= toolOutputBytesMax) pieces.push(piece);
  });
  const { status, errorText } = await ended(program, clock, toolMilliseconds);
  if (status === 'missing') throw needsKernel({ path, version });
  if (status === wrongPassphraseStatus) throw wrongPassphrase(path);
  if (status !== 0) throw failed('cryptsetup', status, errorText);
  return Buffer.concat(pieces);
}

/** One segment that is encrypted the usual way; anything else is left to the kernel. */
export function parseLuksLayout(json: string, volume: LuksVolume): Omit<LuksSegment, 'key'> {
  const segments = Object.values(recordOf(recordOf(parseJson(json))['segments']));
  const segment = recordOf(segments[0]);
  const offset = Number(segment['offset']);
  const size = segment['size'] === 'dynamic' ? volume.containerBytes - offset : Number(segment['size']);
  const sectorBytes_ = Number(segment['sector_size']);
  const firstSector = Number(segment['iv_tweak']);
  if (segments.length !== 1 || segment['type'] !== 'crypt' || segment['integrity'] !== undefined)
    throw otherCipher(volume, 'more than one plain segment');
  if (segment['encryption'] !== 'aes-xts-plain64') throw otherCipher(volume, String(segment['encryption']));
  const isSound =
    [offset, size, firstSector].every((value) => Number.isSafeInteger(value) && value >= 0) &&
    [512, 1024, 2048, 4096].includes(sectorBytes_) &&
    size % sectorBytes_ === 0 &&
    size > 0 &&
    offset + size <= volume.containerBytes;
  if (!isSound) throw otherCipher(volume, 'a layout that does not fit it');
  return { offset, size, sectorBytes: sectorBytes_, firstSector };
}

/** From the hexadecimal lines that follow "MK dump:". */
export function parseDumpedKey(text: string): Uint8Array | undefined {
  const hex = /MK dump:\s*((?:[0-9a-f]{2}\s+)+)/.exec(`${text}\n`)?.[1];
  return hex === undefined ? undefined : new Uint8Array(Buffer.from(hex.replace(/\s/g, ''), 'hex'));
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

interface Started {
  readonly process: ChildProcess;
  readonly errors: () => string;
}

/** As `runTool`: no shell of ours, a fixed path and locale; the secret arrives on standard input, and on descriptor 3. */
function start(name: string, parameters: readonly string[], secret: Uint8Array | undefined): Started {
  const child = spawn(name, [...parameters], {
    cwd: '/',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
  });
  for (const pipe of [child.stdin, child.stdio[3] as Writable]) {
    pipe.on('error', () => undefined); // a program that ends early says why by itself
    pipe.end(secret === undefined ? undefined : Buffer.from(secret));
  }
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

function needsKernel({ path, version }: Pick<LuksVolume, 'path' | 'version'>): CaissonError {
  return new CaissonError('invalid', 'tool-missing', `${path} is LUKS ${version}, which needs cryptsetup`, {
    remedy: 'Install cryptsetup-bin.',
    details: { tool: 'cryptsetup', version },
  });
}

function otherCipher({ path }: LuksVolume, what: string): CaissonError {
  return new CaissonError(
    'invalid',
    'unsupported',
    `only the kernel's dm-crypt reads ${path}: it has ${what}, not one segment of aes-xts-plain64`,
    {
      remedy: 'Import it on a machine whose kernel has dm-crypt, or decrypt it there and import the plain image.',
      details: { path },
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
