/**
 * Codec of the anchor file. Spec: spec/anchor.md. Vectors: test/vectors/anchor/. Pure: bytes in, slots out.
 *
 * Invariant: slot `counter mod 2` holds `counter`, so that writing a new state never touches the
 * slot that holds the last one.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { equalBytes, sha256 } from '../crypto/digest.ts';
import type { AnchorState } from './anchor.ts';

export const anchorSlotBytes = 4096;
export const anchorFileBytes = 2 * anchorSlotBytes;

const magicAnchor = 'CSNANCR\n';
const anchorVersion = 1;
const checksumBytes = 32;
const checkedBytes = anchorSlotBytes - checksumBytes;

export interface AnchorSlot {
  /** Counts the writes of this file; the higher one holds. */
  readonly counter: number;
  readonly state: AnchorState;
}

export function encodeAnchorSlot({ counter, state }: AnchorSlot): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of magicAnchor) writer.u8(letter.charCodeAt(0));
  writer.u16(anchorVersion).zeros(6).u64(counter).bytes(state.volumeId, 16).u64(state.epoch).u64(state.manifestNumber);
  writer.bytes(state.manifestDigest, 32).u64(state.sequence).bytes(state.chain, 16);
  const slot = new Uint8Array(anchorSlotBytes);
  slot.set(writer.finish());
  slot.set(sha256(slot.subarray(0, checkedBytes)), checkedBytes);
  return slot;
}

/** Where the slot with this counter lies in the file. */
export function anchorSlotPosition(counter: number): number {
  return (counter % 2) * anchorSlotBytes;
}

/** A new file that holds its first state. */
export function encodeAnchorFile(state: AnchorState): Uint8Array {
  const file = new Uint8Array(anchorFileBytes);
  file.set(encodeAnchorSlot({ counter: 1, state }), anchorSlotPosition(1));
  return file;
}

export interface DecodedAnchor {
  readonly held: AnchorSlot;
  /** True when the other slot was damaged: an advance was interrupted, or is being written right now. */
  readonly isHalfDamaged: boolean;
}

/** The slot that holds. Throws `anchor-tampered`, or `format-version` for what a newer Caisson wrote. */
export function decodeAnchorFile(file: Uint8Array, volumeId: Uint8Array): DecodedAnchor {
  if (file.length !== anchorFileBytes) throw tampered(`it has ${file.length} bytes, not ${anchorFileBytes}`);
  const slots = [0, 1].map((index) =>
    decodeSlot(file.subarray(index * anchorSlotBytes, (index + 1) * anchorSlotBytes), index, volumeId),
  );
  const written = slots.filter((slot) => slot !== 'empty' && slot !== 'damaged');
  const [first, second] = written;
  if (first === undefined) throw tampered('neither of its copies can be read');
  const held = second === undefined || first.counter > second.counter ? first : second;
  return { held, isHalfDamaged: slots.includes('damaged') };
}

/** Slot `index` alone: for an anchor that learns from elsewhere which of the two holds. */
export function decodeSlot(bytes: Uint8Array, index: number, volumeId: Uint8Array): AnchorSlot | 'empty' | 'damaged' {
  if (bytes.every((byte) => byte === 0)) return 'empty';
  const checked = bytes.subarray(0, checkedBytes);
  if (!equalBytes(sha256(checked), bytes.subarray(checkedBytes))) return 'damaged';
  const reader = new ByteReader(checked, 'anchor');
  try {
    reader.expect(magicAnchor);
  } catch {
    return 'damaged';
  }
  try {
    reader.version(anchorVersion);
    const slot = readBody(reader);
    if (slot.counter < 1 || slot.counter % 2 !== index)
      throw reader.invalid(`counter ${slot.counter} is in slot ${index}`);
    if (!equalBytes(slot.state.volumeId, volumeId)) throw reader.invalid('it is of another volume');
    return slot;
  } catch (error) {
    if (!isCaissonError(error, 'format-invalid')) throw error;
    throw tampered(error.message, error);
  }
}

/** The bytes are copied out: a state outlives the buffer it was read into. */
function readBody(reader: ByteReader): AnchorSlot {
  reader.zeros(6);
  const counter = reader.u64();
  const state: AnchorState = {
    volumeId: new Uint8Array(reader.bytes(16)),
    epoch: reader.u64(),
    manifestNumber: reader.u64(),
    manifestDigest: new Uint8Array(reader.bytes(32)),
    sequence: reader.u64(),
    chain: new Uint8Array(reader.bytes(16)),
  };
  reader.zeros(checkedBytes - reader.position);
  return { counter, state };
}

export function tampered(reason: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'anchor-tampered', `the anchor of this volume is damaged: ${reason}`, {
    remedy: 'Restore the anchor file; only if you are sure that the store is the newest copy, accept its state anew.',
    ...(cause === undefined ? {} : { cause }),
  });
}
