/** Codec of the header of a backup. Spec: spec/broker-state.md, "Backup of SQLite". Pure: bytes in, header out. */
import { equalBytes, sha256 } from '../../crypto/digest.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { decodeHead, encodeHead } from '../../wire/release-log.ts';
import type { SignedHead } from '../../wire/release-log.ts';

export const backupHeaderBytes = 4096;
const magic = 'CSNBKUP\n';
const version = 1;
const checksumBytes = 32;
const checkedBytes = backupHeaderBytes - checksumBytes;

export interface BackupHeader {
  readonly databaseBytes: number;
  /** SHA-256 of the database. */
  readonly digest: Uint8Array;
  readonly logSize: number;
  readonly logRoot: Uint8Array;
  /** Milliseconds since 1970, for people. */
  readonly time: number;
  /** Undefined where the key of the log was not at hand. */
  readonly head: SignedHead | undefined;
}

export function encodeBackupHeader(header: BackupHeader): Uint8Array {
  const { databaseBytes, digest, logSize, logRoot, time, head } = header;
  const signed = head === undefined ? new Uint8Array(0) : encodeHead(head);
  const writer = new ByteWriter();
  for (const letter of magic) writer.u8(letter.charCodeAt(0));
  writer.u16(version).zeros(2).u64(databaseBytes).bytes(digest, 32).u64(logSize).bytes(logRoot, 32).u64(time);
  const body = writer.block(signed).finish();
  const bytes = new Uint8Array(backupHeaderBytes);
  bytes.set(body);
  bytes.set(sha256(bytes.subarray(0, checkedBytes)), checkedBytes);
  return bytes;
}

/** Throws `backup-invalid`, `format-version`, or `backup-ended-early` for fewer bytes. */
export function decodeBackupHeader(bytes: Uint8Array): BackupHeader {
  if (bytes.length < backupHeaderBytes)
    throw new CaissonError('integrity', 'backup-ended-early', 'the backup ends within its header', {
      remedy: 'Copy it again from where it was made.',
    });
  const checked = bytes.subarray(0, checkedBytes);
  const reader = new ByteReader(checked, 'backup');
  try {
    reader.expect(magic);
    reader.version(version);
    if (!equalBytes(sha256(checked), bytes.subarray(checkedBytes, backupHeaderBytes)))
      throw backupInvalid('its header is damaged');
    return readBody(reader);
  } catch (error) {
    if (isCaissonError(error, 'format-invalid')) throw backupInvalid(error.message, error);
    throw error;
  }
}

function readBody(reader: ByteReader): BackupHeader {
  reader.zeros(2);
  const header = {
    databaseBytes: reader.u64(),
    digest: Uint8Array.from(reader.bytes(32)),
    logSize: reader.u64(),
    logRoot: Uint8Array.from(reader.bytes(32)),
    time: reader.u64(),
  };
  const signed = Uint8Array.from(reader.block(checkedBytes));
  reader.zeros(checkedBytes - reader.position);
  const head = signed.length === 0 ? undefined : decodeHead(signed);
  if (head !== undefined && (head.size !== header.logSize || !equalBytes(head.root, header.logRoot)))
    throw backupInvalid('its signed head is of another log');
  return { ...header, head };
}

export function backupInvalid(reason: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'backup-invalid', `this backup of a broker cannot be used: ${reason}`, {
    remedy: 'Use another copy of it, or an earlier backup.',
    ...(cause === undefined ? {} : { cause }),
  });
}
