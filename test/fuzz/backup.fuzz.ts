/** Changed parts of a backup stream: what decodes encodes to the same bytes, all else is refused by name. */
import {
  decodeBackupEnd,
  decodeBackupStart,
  decodeFrameHeader,
  encodeBackupEnd,
  encodeBackupStart,
  encodeFrameHeader,
} from '../../src/backup/backup-format.ts';
import { assertSame, fuzzVectors } from './vector-mutation.ts';

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('backup', ['format-invalid', 'format-version'], seed, iterations, ({ part, bytes }) =>
    recode(part, bytes),
  );
}

/** Decodes a part and makes sure that it has one form. */
export function recode(part: string, bytes: Uint8Array): void {
  if (part === 'start') return assertSame(encodeBackupStart(decodeBackupStart(bytes)), bytes);
  if (part === 'frame') return assertSame(encodeFrameHeader(decodeFrameHeader(bytes)), bytes);
  const end = decodeBackupEnd(bytes);
  assertSame(Buffer.concat([encodeBackupEnd(end), end.digest]), bytes);
}
