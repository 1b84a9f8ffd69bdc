/**
 * Codec of the head, the one mutable object of a volume. Spec: spec/manifest-format.md. Vectors: test/vectors/head/. Pure.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';

export const headVersion = 1;
export const headBytesMax = 512;

export const HeadState = { open: 1, closed: 2, erased: 3, moved: 4 } as const;
export type HeadState = (typeof HeadState)[keyof typeof HeadState];

export interface Head {
  readonly state: HeadState;
  readonly volumeId: Uint8Array; // 16 bytes
  readonly epoch: number;
  readonly number: number; // of the newest manifest
  readonly manifestDigest: Uint8Array; // 32 bytes
  readonly holder: Uint8Array; // 16 bytes, fresh for each opening
  readonly writerKey: Uint8Array; // 32 bytes
}

export interface DecodedHead extends Head {
  readonly signedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

const magicHead = 'CSNHEAD\n';

/** Everything but the signature. */
export function encodeHead(head: Head): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of magicHead) writer.u8(letter.charCodeAt(0));
  writer.u16(headVersion).u8(head.state).zeros(5).bytes(head.volumeId, 16).u64(head.epoch).u64(head.number);
  return writer.bytes(head.manifestDigest, 32).bytes(head.holder, 16).bytes(head.writerKey, 32).finish();
}

export function decodeHead(bytes: Uint8Array): DecodedHead {
  const reader = new ByteReader(bytes, 'head');
  reader.expect(magicHead);
  reader.version(headVersion);
  const state = reader.u8();
  if (!isHeadState(state)) throw reader.invalid(`state ${state} is unknown`);
  reader.zeros(5);
  const fields = {
    state,
    volumeId: reader.bytes(16),
    epoch: reader.u64(),
    number: reader.u64(),
    manifestDigest: reader.bytes(32),
    holder: reader.bytes(16),
    writerKey: reader.bytes(32),
  };
  const signedBytes = bytes.subarray(0, reader.position);
  const signature = reader.bytes(64);
  reader.end();
  return { ...fields, signedBytes, signature };
}

function isHeadState(value: number): value is HeadState {
  return value >= HeadState.open && value <= HeadState.moved;
}
