/**
 * The bytes of a keyring (section 4 of its page): a pure codec, no keys, no I/O.
 * Spec: spec/keys.md. Vectors: test/vectors/keyring/.
 *
 * `decodeKeyring` reads bytes that nobody has authenticated, so every length is bounded before it is
 * used. Decoding accepts exactly what encoding produces: re-encoding gives the same bytes.
 *
 * What binds each sealed part to its place:
 * - wrap: "caisson keyring slot v1" 0x00 || volume id || slot id || kind || parameter length || parameters
 * - body: "caisson keyring body v1" 0x00 || volume id || SHA-256(everything before the body length)
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { keyKinds } from '../lib/key-kinds.ts';
import { keyringBytesMax } from '../lib/limits.ts';
import { wrapOverheadBytes } from '../crypto/box.ts';
import { sha256 } from '../crypto/digest.ts';
import { keyBytes } from '../crypto/sealer.ts';
import { seedBytes, volumeIdBytes } from '../crypto/signature.ts';
import type { KeySourceKind } from './key-source.ts';

export const keyringSlotsMax = 32;
/** A passphrase costs time to try: what bounds the opening of a hostile keyring. */
export const keyringPassphraseSlotsMax = 8;
export const keyringEpochsMax = 256;
export const keyringInheritedMax = 256;
export const slotParametersBytesMax = 1024;
export const slotLabelBytesMax = 64;

const version = 1;
const magic = 'CAISKEYS';
const what = 'the keyring';
const wrapBytes = keyBytes + wrapOverheadBytes;
const labelFieldBytes = 1 + slotLabelBytesMax;
const epochBytes = 4 + keyBytes;
const inheritedBytes = volumeIdBytes + 4 + keyBytes;
const wrapPrefix = new TextEncoder().encode('caisson keyring slot v1\0');
const bodyPrefix = new TextEncoder().encode('caisson keyring body v1\0');

/** 4 is never given out: a frozen vector has it as the kind that nobody knows. */
const kindCodes: Readonly<Record<KeySourceKind, number>> = {
  passphrase: 1,
  'key-file': 2,
  none: 3,
  tpm: 5,
  pkcs11: 6,
  kmip: 7,
  tang: 8,
  vault: 9,
  'aws-kms': 10,
  broker: 11,
  kbs: 12,
  keystore: 13,
};

/** What names a slot and is bound to its wrap. */
export interface SlotHead {
  readonly id: number;
  readonly kind: KeySourceKind;
  readonly parameters: Uint8Array;
}

export interface EncodedSlot extends SlotHead {
  /** The keyring key under the slot wrapping key. */
  readonly wrap: Uint8Array;
}

export interface EncodedKeyring {
  readonly slots: readonly EncodedSlot[];
  readonly sealedBody: Uint8Array;
}

export interface DataKey {
  readonly epoch: number;
  readonly key: Uint8Array;
}

/** A data key of another volume, which a clone needs for what it took over. */
export interface InheritedKey extends DataKey {
  readonly lineage: Uint8Array; // 16 bytes, the id of that volume
}

export interface KeyringBody {
  readonly generation: number;
  readonly signingSeed: Uint8Array;
  /** One for each slot, in the order of the slots. */
  readonly labels: readonly string[];
  /** By ascending epoch; the last is the current one. */
  readonly dataKeys: readonly DataKey[];
  readonly inherited: readonly InheritedKey[];
}

/** Everything before the body length: what the body's additional data covers. */
export function encodeSlots(slots: readonly EncodedSlot[]): Uint8Array {
  const fault = slotsFault(slots);
  assert(fault === undefined, `a keyring to encode: ${fault}`);
  const writer = new ByteWriter().bytes(new TextEncoder().encode(magic)).u16(version).u8(slots.length);
  for (const slot of slots) writeSlotHead(writer, slot).bytes(slot.wrap, wrapBytes);
  return writer.finish();
}

/** The whole keyring: `encodeSlots`, then the sealed body. */
export function joinKeyring(encodedSlots: Uint8Array, sealedBody: Uint8Array): Uint8Array {
  const encoded = new ByteWriter().bytes(encodedSlots).block(sealedBody).finish();
  assert(encoded.length <= keyringBytesMax, 'a keyring is within its limit');
  return encoded;
}

export function decodeKeyring(encoded: Uint8Array): EncodedKeyring {
  const reader = new ByteReader(encoded, what);
  if (encoded.length > keyringBytesMax) throw reader.invalid('it is too long');
  reader.expect(magic);
  reader.version(version);
  const slotCount = reader.u8();
  if (slotCount > keyringSlotsMax) throw reader.invalid('it has too many slots');
  const slots = Array.from({ length: slotCount }, () => takeSlot(reader));
  const fault = slotsFault(slots);
  if (fault !== undefined) throw reader.invalid(fault);
  const sealedBody = Uint8Array.from(
    reader.block(wrapOverheadBytes + bodyBytes(slotCount, keyringEpochsMax, keyringInheritedMax)),
  );
  if (sealedBody.length < wrapOverheadBytes + bodyBytes(slotCount, 1, 0)) throw reader.invalid('its body is too short');
  reader.end();
  return { slots, sealedBody };
}

export function wrapAdditional(volumeId: Uint8Array, slot: SlotHead): Uint8Array {
  assert(volumeId.length === volumeIdBytes, 'a volume id has 16 bytes');
  return writeSlotHead(new ByteWriter().bytes(wrapPrefix).bytes(volumeId), slot).finish();
}

export function bodyAdditional(volumeId: Uint8Array, encodedSlots: Uint8Array): Uint8Array {
  assert(volumeId.length === volumeIdBytes, 'a volume id has 16 bytes');
  return new ByteWriter().bytes(bodyPrefix).bytes(volumeId).bytes(sha256(encodedSlots)).finish();
}

/**
 * The bytes that hold every secret of the volume; the caller seals and wipes them. Written by hand into
 * one array of the right size, because a growing writer would leave copies of the keys behind.
 */
export function encodeBody(body: KeyringBody): Uint8Array {
  const fault = bodyFault(body);
  assert(fault === undefined, `a keyring body to encode: ${fault}`);
  const encoded = new Uint8Array(bodyBytes(body.labels.length, body.dataKeys.length, body.inherited.length));
  const view = new DataView(encoded.buffer);
  view.setUint32(0, body.generation, true);
  encoded.set(body.signingSeed, 4);
  let offset = 4 + seedBytes;
  for (const label of body.labels) {
    const text = new TextEncoder().encode(label);
    view.setUint8(offset, text.length);
    encoded.set(text, offset + 1);
    offset += labelFieldBytes;
  }
  view.setUint16(offset, body.dataKeys.length, true);
  offset += 2;
  for (const { epoch, key } of body.dataKeys) {
    view.setUint32(offset, epoch, true);
    encoded.set(key, offset + 4);
    offset += epochBytes;
  }
  view.setUint16(offset, body.inherited.length, true);
  offset += 2;
  for (const { lineage, epoch, key } of body.inherited) {
    encoded.set(lineage, offset);
    view.setUint32(offset + volumeIdBytes, epoch, true);
    encoded.set(key, offset + volumeIdBytes + 4);
    offset += inheritedBytes;
  }
  assert(offset === encoded.length, 'a keyring body is filled to its end');
  return encoded;
}

/** Reads an authentic body; keys are copies, so that the caller can wipe `encoded`. */
export function decodeBody(encoded: Uint8Array, slotCount: number): KeyringBody {
  const reader = new ByteReader(encoded, what);
  const generation = reader.u32();
  const signingSeed = Uint8Array.from(reader.bytes(seedBytes));
  const labels = Array.from({ length: slotCount }, () => takeLabel(reader));
  const epochCount = reader.u16();
  if (epochCount > keyringEpochsMax) throw reader.invalid('it has too many data keys');
  const dataKeys = Array.from({ length: epochCount }, () => ({
    epoch: reader.u32(),
    key: Uint8Array.from(reader.bytes(keyBytes)),
  }));
  const inheritedCount = reader.u16();
  if (inheritedCount > keyringInheritedMax) throw reader.invalid('it has too many inherited keys');
  const inherited = Array.from({ length: inheritedCount }, () => ({
    lineage: Uint8Array.from(reader.bytes(volumeIdBytes)),
    epoch: reader.u32(),
    key: Uint8Array.from(reader.bytes(keyBytes)),
  }));
  reader.end();
  const body = { generation, signingSeed, labels, dataKeys, inherited };
  const fault = bodyFault(body);
  if (fault !== undefined) throw reader.invalid(fault);
  return body;
}

/** Why a label cannot be stored, or undefined. */
export function labelFault(label: string): string | undefined {
  if (!label.isWellFormed()) return 'a label is not well-formed text';
  if (/\p{Cc}/u.test(label)) return 'a label holds a control character';
  if (new TextEncoder().encode(label).length > slotLabelBytesMax)
    return `a label is longer than ${slotLabelBytesMax} bytes`;
  return undefined;
}

function slotsFault(slots: readonly EncodedSlot[]): string | undefined {
  if (slots.length < 1 || slots.length > keyringSlotsMax) return 'it has an impossible number of slots';
  let previousId = -1;
  for (const slot of slots) {
    if (slot.id <= previousId) return 'its slots are out of order';
    if (slot.id >= keyringSlotsMax) return 'a slot id is too large';
    if (slot.parameters.length > slotParametersBytesMax) return 'a slot has too long parameters';
    if (slot.wrap.length !== wrapBytes) return 'a wrap has the wrong length';
    previousId = slot.id;
  }
  if (slots.filter((slot) => slot.kind === 'passphrase').length > keyringPassphraseSlotsMax)
    return 'it has too many passphrase slots';
  if (slots.length > 1 && slots.some((slot) => slot.kind === 'none'))
    return 'a slot without protection lies beside others';
  return undefined;
}

function bodyFault(body: KeyringBody): string | undefined {
  if (!isNumber32(body.generation)) return 'its generation is impossible';
  if (body.signingSeed.length !== seedBytes) return 'its signing seed has the wrong length';
  for (const label of body.labels) {
    const fault = labelFault(label);
    if (fault !== undefined) return fault;
  }
  if (body.dataKeys.length < 1 || body.dataKeys.length > keyringEpochsMax)
    return 'it has an impossible number of data keys';
  let previousEpoch = 0;
  for (const { epoch, key } of body.dataKeys) {
    if (!isNumber32(epoch) || epoch <= previousEpoch) return 'its key epochs are out of order';
    if (key.length !== keyBytes) return 'a data key has the wrong length';
    previousEpoch = epoch;
  }
  return inheritedFault(body.inherited);
}

function inheritedFault(inherited: readonly InheritedKey[]): string | undefined {
  if (inherited.length > keyringInheritedMax) return 'it has too many inherited keys';
  for (const [index, { lineage, epoch, key }] of inherited.entries()) {
    if (lineage.length !== volumeIdBytes || key.length !== keyBytes) return 'an inherited key has the wrong length';
    if (!isNumber32(epoch)) return 'an inherited key has an impossible epoch';
    const last = inherited[index - 1];
    if (last !== undefined && compareInherited(last, { lineage, epoch }) >= 0)
      return 'its inherited keys are out of order';
  }
  return undefined;
}

/** By lineage, then epoch: the order in which a keyring lists them. */
export function compareInherited(
  left: Pick<InheritedKey, 'lineage' | 'epoch'>,
  right: Pick<InheritedKey, 'lineage' | 'epoch'>,
): number {
  for (let at = 0; at < volumeIdBytes; at++)
    if (left.lineage[at] !== right.lineage[at]) return left.lineage[at]! - right.lineage[at]!;
  return left.epoch - right.epoch;
}

function isNumber32(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 0xffffffff;
}

function bodyBytes(slotCount: number, epochCount: number, inheritedCount: number): number {
  const epochsBytes = 2 + epochCount * epochBytes + 2 + inheritedCount * inheritedBytes;
  return 4 + seedBytes + slotCount * labelFieldBytes + epochsBytes;
}

function writeSlotHead(writer: ByteWriter, slot: SlotHead): ByteWriter {
  return writer.u8(slot.id).u8(kindCodes[slot.kind]).u16(slot.parameters.length).bytes(slot.parameters);
}

function takeSlot(reader: ByteReader): EncodedSlot {
  const id = reader.u8();
  const kind = kindOf(reader);
  const parametersLength = reader.u16();
  if (parametersLength > slotParametersBytesMax) throw reader.invalid('a slot has too long parameters');
  const parameters = Uint8Array.from(reader.bytes(parametersLength));
  return { id, kind, parameters, wrap: Uint8Array.from(reader.bytes(wrapBytes)) };
}

function kindOf(reader: ByteReader): KeySourceKind {
  const code = reader.u8();
  for (const kind of keyKinds) {
    if (kindCodes[kind] === code) return kind;
  }
  throw reader.invalid(`a slot has the unknown kind ${code}`);
}

function takeLabel(reader: ByteReader): string {
  const length = reader.u8();
  if (length > slotLabelBytesMax) throw reader.invalid('a label is too long');
  const text = reader.bytes(length);
  reader.zeros(slotLabelBytesMax - length);
  const label = textOf(text);
  if (label === undefined) throw reader.invalid('a label is not UTF-8');
  return label;
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
