/** The head of the log in a file: against an older database alone, not against an older copy of the whole disk. */
import fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { logHeadBodyBytesMax } from '../../lib/limits.ts';
import { treeHashBytes } from '../../wire/merkle.ts';
import { decodeCanonical, encodeCanonical, members, readBytes } from '../../wire/release-log.ts';
import { checkHeadAdvance, headTampered } from './log-head-anchor.ts';
import type { LogHead, LogHeadAnchor } from './log-head-anchor.ts';

const formatName = 'caisson-log-anchor-1';
const lineFeed = 0x0a;

export function openFileHeadAnchor(file: string): LogHeadAnchor {
  const write = (head: LogHead): Promise<void> => replaceFile(file, encodeFileHead(head));
  const read = async (): Promise<LogHead | undefined> => {
    const bytes = await readSmallFile(file);
    return bytes === undefined ? undefined : decodeFileHead(bytes, file);
  };
  return {
    describe: file,
    millisecondsMin: 0,
    read,
    replace: write,
    advance: async (head) => {
      checkHeadAdvance(await read(), head);
      await write(head);
    },
  };
}

export function encodeFileHead({ size, root }: LogHead): Uint8Array {
  const line = encodeCanonical({ format: formatName, root: toHex(root), size });
  const bytes = new Uint8Array(line.length + 1);
  bytes.set(line);
  bytes[line.length] = lineFeed;
  return bytes;
}

/** `where` is for people. */
export function decodeFileHead(bytes: Uint8Array, where: string): LogHead {
  try {
    if (bytes.at(-1) !== lineFeed) throw headTampered(where, 'it does not end with a line feed');
    const value = decodeCanonical(bytes.subarray(0, bytes.length - 1));
    const { format, root, size } = members(value, ['format', 'root', 'size'], 'the head');
    if (format !== formatName) throw headTampered(where, 'it has another format');
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      throw headTampered(where, 'its size is not a count');
    return { size, root: readBytes(root, treeHashBytes, 'the root') };
  } catch (error) {
    if (isCaissonError(error, 'format-invalid')) throw headTampered(where, error.message, error);
    throw error;
  }
}

/** Undefined where there is none; longer than any head is damage. */
export async function readSmallFile(file: string): Promise<Uint8Array | undefined> {
  try {
    const handle = await fs.open(file, 'r');
    try {
      const bytes = new Uint8Array(logHeadBodyBytesMax + 1);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      if (bytesRead > logHeadBodyBytesMax) throw headTampered(file, 'it is too long');
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return undefined;
    throw ioError(file, error);
  }
}

/** Whole or not at all, durable when it resolves. One writer at a time is for the caller to see to. */
export async function replaceFile(file: string, bytes: Uint8Array): Promise<void> {
  const next = `${file}.new`;
  try {
    const handle = await fs.open(next, 'w', 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(next, file);
    const folder = await fs.open(dirname(file), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (error) {
    throw ioError(file, error);
  }
}

function ioError(file: string, error: unknown): CaissonError {
  if (isCaissonError(error)) return error;
  const isFull = (error as { code?: unknown }).code === 'ENOSPC';
  return new CaissonError(
    isFull ? 'full' : 'io',
    isFull ? 'store-full' : 'store-io',
    `the head of the log cannot be kept in ${file}: ${messageOf(error)}`,
    {
      remedy: 'Check that the folder exists, has room, and that the user of the broker may write into it.',
      cause: error,
    },
  );
}
