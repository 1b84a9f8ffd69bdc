/** What is sent: bytes in memory, or a file in pieces, so that an upload takes two pieces of memory whatever its size. */
import { createHash, hash } from 'node:crypto';
import { s3UploadPieceBytes } from '../../lib/limits.ts';
import { Region } from '../../lib/region.ts';
import type { ObjectReader } from '../store.ts';
import type { Upload } from './s3-client.ts';

export function bytesUpload(bytes: Uint8Array): Upload {
  return {
    length: bytes.length,
    pieces: () => (bytes.length === 0 ? [] : [bytes]),
    sha256: () => Promise.resolve(hash('sha256', bytes, 'hex')),
  };
}

/** The file must not change while it is sent: its digest is computed once. */
export function fileUpload(reader: ObjectReader): Upload {
  let digest: Promise<string> | undefined;
  return {
    length: reader.size,
    pieces: () => piecesOf(reader),
    sha256: () => (digest ??= digestOf(reader)),
  };
}

/** True when the object that `theirs` reads has the same bytes. */
export async function sameBytes(ours: ObjectReader, theirs: ObjectReader): Promise<boolean> {
  if (ours.size !== theirs.size) return false;
  const region = new Region(s3UploadPieceBytes);
  let position = 0;
  for await (const piece of piecesOf(ours)) {
    await theirs.read(position, piece.length, region, 0);
    if (Buffer.compare(piece, region.bytes.subarray(0, piece.length)) !== 0) return false;
    position += piece.length;
  }
  return true;
}

async function* piecesOf(reader: ObjectReader): AsyncIterable<Uint8Array> {
  // Two in turn: the first may be on its way to the socket while the second is filled.
  const regions = [new Region(s3UploadPieceBytes), new Region(s3UploadPieceBytes)];
  for (let position = 0, turn = 0; position < reader.size; turn ^= 1) {
    const region = regions[turn]!;
    const length = Math.min(s3UploadPieceBytes, reader.size - position);
    await reader.read(position, length, region, 0);
    yield region.bytes.subarray(0, length);
    position += length;
  }
}

async function digestOf(reader: ObjectReader): Promise<string> {
  const digest = createHash('sha256');
  for await (const piece of piecesOf(reader)) digest.update(piece);
  return digest.digest('hex');
}
