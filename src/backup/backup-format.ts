/**
 * Codec of the backup stream: its start, the headers of its frames, its end. Spec: spec/backup-format.md.
 * Vectors: test/vectors/backup/. Pure.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { ObjectKind } from '../manifest/catalog-format.ts';

export const backupVersion = 1;
export const backupStartBytes = 72;
export const backupFrameHeaderBytes = 48;
/** The end has the kind of a frame in front, and is read as what follows such a header. */
export const backupEndBytes = 88;

/** The first three are the kinds of objects in a catalog. */
export const FrameKind = {
  segment: ObjectKind.segment,
  map: ObjectKind.map,
  catalog: ObjectKind.catalog,
  newest: 4,
  manifest: 5,
  head: 6,
  end: 7,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** The state that an incremental stream starts from. */
export interface BackupBase {
  readonly number: number;
  readonly digest: Uint8Array; // 32 bytes
}

export interface BackupStart {
  readonly volumeId: Uint8Array; // 16 bytes
  /** Undefined in a full stream. */
  readonly base: BackupBase | undefined;
}

export interface FrameHeader {
  readonly kind: Exclude<FrameKind, typeof FrameKind.end>;
  readonly owner: Uint8Array; // 16 bytes
  readonly id: Uint8Array; // 16 bytes
  readonly length: number;
}

export interface BackupEnd {
  readonly frameCount: number;
  readonly manifestNumber: number;
  readonly manifestDigest: Uint8Array; // 32 bytes
  readonly digest: Uint8Array; // 32 bytes, of all before it
}

const magicBackup = 'CSNBAK1\n';
const noDigest = new Uint8Array(32);

export function encodeBackupStart({ volumeId, base }: BackupStart): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of magicBackup) writer.u8(letter.charCodeAt(0));
  writer.u16(backupVersion).zeros(6).bytes(volumeId, 16);
  return writer
    .u64(base?.number ?? 0)
    .bytes(base?.digest ?? noDigest, 32)
    .finish();
}

export function decodeBackupStart(bytes: Uint8Array): BackupStart {
  const reader = new ByteReader(bytes, 'start of the backup');
  reader.expect(magicBackup);
  reader.version(backupVersion);
  reader.zeros(6);
  const volumeId = reader.bytes(16);
  const number = reader.u64();
  const digest = reader.bytes(32);
  reader.end();
  if (!isZero(digest)) return { volumeId, base: { number, digest } };
  if (number !== 0) throw reader.invalid('a base without digest');
  return { volumeId, base: undefined };
}

export function encodeFrameHeader({ kind, owner, id, length }: FrameHeader): Uint8Array {
  return new ByteWriter().u8(kind).zeros(7).bytes(owner, 16).bytes(id, 16).u64(length).finish();
}

export function decodeFrameHeader(bytes: Uint8Array): FrameHeader {
  const reader = new ByteReader(bytes, 'frame of the backup');
  const kind = reader.u8();
  if (!isFrameKind(kind)) throw reader.invalid(`kind ${kind} is unknown`);
  reader.zeros(7);
  const header = { kind, owner: reader.bytes(16), id: reader.bytes(16), length: reader.u64() };
  reader.end();
  if (kind === FrameKind.head && !isZero(header.id)) throw reader.invalid('a head has no id');
  return header;
}

/** Everything but the digest over what comes before it. */
export function encodeBackupEnd({ frameCount, manifestNumber, manifestDigest }: Omit<BackupEnd, 'digest'>): Uint8Array {
  const writer = new ByteWriter().u8(FrameKind.end).zeros(7).u64(frameCount).u64(manifestNumber);
  return writer.bytes(manifestDigest, 32).finish();
}

export function decodeBackupEnd(bytes: Uint8Array): BackupEnd {
  const reader = new ByteReader(bytes, 'end of the backup');
  const kind = reader.u8();
  if (kind !== FrameKind.end) throw reader.invalid(`kind ${kind} is not that of the end`);
  reader.zeros(7);
  const end = {
    frameCount: reader.u64(),
    manifestNumber: reader.u64(),
    manifestDigest: reader.bytes(32),
    digest: reader.bytes(32),
  };
  reader.end();
  return end;
}

/** Both forms of what begins with a kind are told apart by it. */
export function isBackupEnd(header: Uint8Array): boolean {
  return header[0] === FrameKind.end;
}

function isFrameKind(value: number): value is FrameHeader['kind'] {
  return value >= FrameKind.segment && value < FrameKind.end;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
