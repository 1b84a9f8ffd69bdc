/**
 * Where an import comes from: a file, a block device, standard input, or any of them inside LUKS.
 *
 * Invariants: a source is only ever read; `finish` says so when it was changed while it was read, and
 * `close` gives back everything, whatever happened before.
 */
import fs from 'node:fs';
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { ContentSource } from '../../backup/content.ts';
import { systemRandom } from '../../crypto/random.ts';
import { passphraseFromBytes } from '../../keys/passphrase.ts';
import { systemClock } from '../../lib/clock.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { contentStreamReadBytes } from '../../lib/limits.ts';
import { errnoOf } from '../../store/file-errors.ts';
import { luksHeaderBytes, openLuks, parseLuksHeader } from '../../sys/luks.ts';
import { nextDataOfFile } from '../../sys/seek.ts';
import { luksContent } from './luks-content.ts';
import { StreamContent } from './stream-content.ts';

export interface ImportSource {
  readonly content: ContentSource;
  /** Mostly holes, as far as its file system tells: reading through them would be most of the work. */
  readonly isThin: boolean;
  /** Throws `import-source-changed` when what was read is no state the source ever had. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** `blocks` of a stat counts in these, whatever the file system has. */
const statBlockBytes = 512;
const thinShare = 0.25;

export async function openSource(
  path: string,
  luksPassphrase: Uint8Array | undefined,
  signal: AbortSignal | undefined,
): Promise<ImportSource> {
  if (path === '-') {
    if (luksPassphrase !== undefined)
      throw invalidSource('a LUKS volume cannot be read from a pipe', 'Give the file or device that it lies on.');
    return openStandardInput(signal);
  }
  if (luksPassphrase === undefined) return openFile(path);
  return openLuksSource(path, luksPassphrase, signal);
}

/** process.stdin rather than the descriptor: that one may be a socket that must not be waited on in a thread. */
function openStandardInput(signal: AbortSignal | undefined): ImportSource {
  const { stdin } = process;
  const content = new StreamContent(stdin, undefined, signal);
  return { content, isThin: false, finish: async () => undefined, close: async () => void stdin.destroy() };
}

async function openFile(path: string): Promise<ImportSource> {
  const before = await statOf(path);
  if (!before.isFile() && !before.isBlockDevice()) {
    if (before.isFIFO()) return openPipeFile(path);
    throw invalidSource(`${path} is no file, block device or pipe`, 'Give an image file, a block device, or "-".');
  }
  const handle = await openForReading(path, before);
  const size = before.isFile() ? before.size : deviceBytes(before, path);
  const content: ContentSource = {
    size,
    nextData: async (offset) => nextDataOfFile(handle.fd, offset, size),
    read: async (offset, length, target) => readFully(handle, offset, length, target.bytes, path),
  };
  const finish = async (): Promise<void> => {
    const after = await handle.stat();
    if (before.isFile() && (after.size !== before.size || after.mtimeMs !== before.mtimeMs)) throw changed(path);
  };
  const isThin = before.isFile() && before.blocks * statBlockBytes < size * thinShare;
  return { content, isThin, finish, close: async () => handle.close() };
}

async function openPipeFile(path: string): Promise<ImportSource> {
  const stream = fs.createReadStream(path, { highWaterMark: contentStreamReadBytes });
  const content = new StreamContent(stream, undefined, undefined);
  return { content, isThin: false, finish: async () => undefined, close: async () => void stream.destroy() };
}

async function openLuksSource(
  path: string,
  secret: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<ImportSource> {
  const header = new Uint8Array(luksHeaderBytes);
  const outer = await openFile(path);
  const { size = 0 } = outer.content;
  await outer.close();
  const handle = await openForReading(path, await statOf(path));
  try {
    await readFully(handle, 0, Math.min(size, header.length), header, path);
  } finally {
    await handle.close();
  }
  const volume = parseLuksHeader(header, path, size);
  if (volume === undefined)
    throw invalidSource(
      `${path} is no LUKS volume`,
      'Leave out --luks, or give the device that holds the LUKS header.',
    );
  const passphrase = passphraseFromBytes(secret);
  const opened = await openLuks(volume, passphrase, systemClock, `caisson-import-${toHex(systemRandom.bytes(4))}`);
  passphrase.fill(0);
  if (opened.kind === 'segment') {
    const container = await openFile(path);
    const close = async (): Promise<void> => {
      opened.segment.key.fill(0);
      await container.close();
    };
    return { ...container, content: luksContent(container.content, opened.segment), isThin: false, close };
  }
  if (opened.kind === 'pipe') {
    const content = new StreamContent(opened.stream, opened.size, signal, opened.ended);
    return { content, isThin: false, finish: () => opened.ended, close: opened.close };
  }
  try {
    const device = await openFile(opened.path);
    const close = async (): Promise<void> => {
      await device.close();
      await opened.close();
    };
    return { ...device, close };
  } catch (error) {
    await opened.close().catch(() => undefined); // the first error counts
    throw error;
  }
}

async function statOf(path: string): Promise<Stats> {
  try {
    return await fs.promises.stat(path);
  } catch (error) {
    throw sourceError(path, error);
  }
}

/** A block device is taken exclusively, which the kernel refuses while it is mounted. */
async function openForReading(path: string, stats: Stats): Promise<FileHandle> {
  const { O_RDONLY, O_EXCL } = fs.constants;
  try {
    return await fs.promises.open(path, stats.isBlockDevice() ? O_RDONLY | O_EXCL : O_RDONLY);
  } catch (error) {
    throw sourceError(path, error);
  }
}

async function readFully(
  handle: FileHandle,
  offset: number,
  length: number,
  target: Uint8Array,
  path: string,
): Promise<number> {
  let done = 0;
  while (done < length) {
    let count;
    try {
      count = (await handle.read(target, done, length - done, offset + done)).bytesRead;
    } catch (error) {
      throw sourceError(path, error);
    }
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** node:fs has no size for a block device; sysfs counts in sectors of 512 bytes whatever the device has. */
function deviceBytes({ rdev }: Stats, path: string): number {
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + (Math.floor(rdev / 1_048_576) % 4096) * 256;
  try {
    return Number(fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
  } catch (error) {
    throw new CaissonError(
      'io',
      'import-source-invalid',
      `the size of ${path} cannot be found out: ${messageOf(error)}`,
      {
        remedy: 'Mount sysfs, or pipe the device in: caisson volume import NAME --from - < DEVICE.',
        cause: error,
      },
    );
  }
}

function sourceError(path: string, error: unknown): CaissonError {
  const errno = errnoOf(error);
  const about = { details: { path, errno }, cause: error };
  if (errno === 'ENOENT' || errno === 'ENOTDIR')
    return new CaissonError('invalid', 'import-source-missing', `there is no ${path}`, {
      ...about,
      remedy: 'Check the path given with --from.',
    });
  if (errno === 'EACCES' || errno === 'EPERM')
    return new CaissonError('denied', 'permission-missing', `not permitted to read ${path}`, {
      ...about,
      remedy: 'Run the command as a user who may read it.',
    });
  if (errno === 'EBUSY')
    return new CaissonError('fenced', 'import-source-busy', `${path} is mounted or otherwise in use`, {
      ...about,
      remedy: 'Unmount it first: what changes while it is read would be torn.',
    });
  return new CaissonError('io', 'store-io', `cannot read ${path}: ${messageOf(error)}`, {
    ...about,
    remedy: 'Nothing of it was kept. Look in the kernel log for the device.',
  });
}

function invalidSource(message: string, remedy: string): CaissonError {
  return new CaissonError('invalid', 'import-source-invalid', message, { remedy });
}

function changed(path: string): CaissonError {
  return new CaissonError('invalid', 'import-source-changed', `${path} was changed while it was read`, {
    remedy: 'Nothing of it was kept. Stop whatever writes to it, and import it again.',
    details: { path },
  });
}
