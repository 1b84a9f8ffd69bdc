/** Files that hold what opens a service: PINs, tokens, certificates. Read when they are needed, since agents renew them. */
import { closeSync, openSync, readSync } from 'node:fs';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { secretFileBytesMax } from '../lib/limits.ts';

/** The whole file; the caller wipes it. */
export function readSecretFile(path: string, what: string): Uint8Array {
  const bytes = new Uint8Array(secretFileBytesMax + 1);
  let length = 0;
  try {
    const descriptor = openSync(path, 'r');
    try {
      let count;
      while (length < bytes.length && (count = readSync(descriptor, bytes, length, bytes.length - length, null)) > 0)
        length += count;
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw unreadable(path, what, `cannot be read: ${messageOf(error)}`, error);
  }
  if (length > secretFileBytesMax) throw unreadable(path, what, `has more than ${secretFileBytesMax} bytes`);
  return bytes.subarray(0, length);
}

/** Its text without one line end behind it; never empty, no control characters within. */
export function readSecretText(path: string, what: string): string {
  const bytes = readSecretFile(path, what);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r?\n$/, '');
    if (text !== '' && !/\p{Cc}/u.test(text)) return text;
  } catch {
    // Reported below: what the bytes are is nobody's business.
  } finally {
    bytes.fill(0);
  }
  throw unreadable(path, what, 'is not one line of text');
}

function unreadable(path: string, what: string, fault: string, cause?: unknown): CaissonError {
  return new CaissonError('denied', 'key-source-unavailable', `${what} in ${path} ${fault}`, {
    remedy: 'Check the path in the URL of the key source, and who may read the file.',
    details: { path },
    ...(cause === undefined ? {} : { cause }),
  });
}
