/**
 * Codec of manifests. Spec: spec/manifest-format.md. Vectors: test/vectors/manifest/. Pure: it neither signs, verifies nor seals.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { keyringBytesMax } from '../lib/limits.ts';
import { isObjectKind, type ObjectKind } from './catalog-format.ts';

export const manifestVersion = 1;
export const manifestBytesMax = 64 * 1024 * 1024;
export const manifestSignatureBytes = 64;
export const pinsMax = 4096;

export const ManifestKind = {
  create: 1,
  checkpoint: 2,
  recovery: 3,
  close: 4,
  keyring: 5,
  snapshot: 6,
  rollback: 7,
  clone: 8,
  rekey: 9,
  rekeyed: 10,
  erase: 11,
  move: 12,
} as const;
export type ManifestKind = (typeof ManifestKind)[keyof typeof ManifestKind];

export const PinKind = { snapshot: 1, clone: 2 } as const;
export type PinKind = (typeof PinKind)[keyof typeof PinKind];

/** Keeps the state of one manifest readable. The digest is zero where a manifest pins itself. */
export interface Pin {
  readonly kind: PinKind;
  readonly id: Uint8Array; // 16 bytes: of the snapshot, or the clone's volume id
  readonly number: number;
  readonly digest: Uint8Array; // 32 bytes
}

/** The pinned manifest that a clone starts from. */
export interface Parent {
  readonly volumeId: Uint8Array; // 16 bytes
  readonly number: number;
  readonly digest: Uint8Array; // 32 bytes
}

export interface CatalogReference {
  readonly firstIndex: number;
  readonly entryCount: number;
  readonly owner: Uint8Array; // 16 bytes: the volume under whose prefix the page lies
  readonly id: Uint8Array; // 16 bytes
  readonly bytes: number;
  /** Number of the manifest that named the page first. */
  readonly birth: number;
  readonly digest: Uint8Array; // 32 bytes
}

export interface AddedObject {
  readonly kind: ObjectKind;
  readonly id: Uint8Array;
  readonly bytes: number;
  readonly digest: Uint8Array;
}

export interface DroppedObject {
  readonly kind: ObjectKind;
  readonly id: Uint8Array;
}

export interface ManifestPublic {
  readonly kind: ManifestKind;
  readonly protection: 0 | 1;
  readonly volumeId: Uint8Array; // 16 bytes
  readonly number: number;
  readonly epoch: number;
  readonly previousDigest: Uint8Array; // 32 bytes
  readonly writerKey: Uint8Array; // 32 bytes
  readonly floor: number;
  /** Milliseconds since 1970; for people, nothing is decided by it. */
  readonly time: number;
  readonly parent: Parent | undefined;
  /** Empty once the volume is erased. */
  readonly keyring: Uint8Array;
  readonly pins: readonly Pin[];
  readonly catalog: readonly CatalogReference[];
  readonly added: readonly AddedObject[];
  readonly dropped: readonly DroppedObject[];
  readonly salt: Uint8Array; // 16 bytes
}

export interface DecodedManifest extends ManifestPublic {
  /** Everything before the length of the sealed part: what its additional data covers. */
  readonly publicBytes: Uint8Array;
  readonly sealed: Uint8Array;
  /** Everything before the signature. */
  readonly signedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

const magicManifest = 'CSNMAN1\n';

/** The public part; the caller appends the sealed part (`appendSealed`) and the signature. */
export function encodePublic(manifest: ManifestPublic): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of magicManifest) writer.u8(letter.charCodeAt(0));
  writer.u16(manifestVersion).u8(manifest.kind).u8(manifest.protection).zeros(4);
  writer.bytes(manifest.volumeId, 16).u64(manifest.number).u64(manifest.epoch).bytes(manifest.previousDigest, 32);
  writer.bytes(manifest.writerKey, 32).u64(manifest.floor).u64(manifest.time);
  const { parent } = manifest;
  if (parent === undefined) writer.zeros(56);
  else writer.bytes(parent.volumeId, 16).u64(parent.number).bytes(parent.digest, 32);
  writer.block(manifest.keyring).u32(manifest.pins.length);
  for (const pin of manifest.pins) writer.u8(pin.kind).zeros(7).bytes(pin.id, 16).u64(pin.number).bytes(pin.digest, 32);
  writer.u32(manifest.catalog.length);
  for (const page of manifest.catalog) {
    writer.u32(page.firstIndex).u32(page.entryCount).bytes(page.owner, 16).bytes(page.id, 16);
    writer.u64(page.bytes).u64(page.birth).bytes(page.digest, 32);
  }
  writer.u32(manifest.added.length);
  for (const object of manifest.added)
    writer.u8(object.kind).zeros(7).bytes(object.id, 16).u64(object.bytes).bytes(object.digest, 32);
  writer.u32(manifest.dropped.length);
  for (const object of manifest.dropped) writer.u8(object.kind).zeros(7).bytes(object.id, 16);
  return writer.bytes(manifest.salt, 16).finish();
}

export function appendSealed(publicBytes: Uint8Array, sealed: Uint8Array): Uint8Array {
  return new ByteWriter().bytes(publicBytes).block(sealed).finish();
}

export function appendSignature(signedBytes: Uint8Array, signature: Uint8Array): Uint8Array {
  return new ByteWriter().bytes(signedBytes).bytes(signature, manifestSignatureBytes).finish();
}

export function decodeManifest(bytes: Uint8Array): DecodedManifest {
  const reader = new ByteReader(bytes, 'manifest');
  reader.expect(magicManifest);
  reader.version(manifestVersion);
  const kind = reader.u8();
  if (!isManifestKind(kind)) throw reader.invalid(`kind ${kind} is unknown`);
  const protection = readProtection(reader);
  reader.zeros(4);
  const fields = {
    kind,
    protection,
    volumeId: reader.bytes(16),
    number: reader.u64(),
    epoch: reader.u64(),
    previousDigest: reader.bytes(32),
    writerKey: reader.bytes(32),
    floor: reader.u64(),
    time: reader.u64(),
    parent: readParent(reader),
    keyring: reader.block(keyringBytesMax),
    pins: readPins(reader),
    catalog: readCatalog(reader),
    added: readAdded(reader),
    dropped: readDropped(reader),
    salt: reader.bytes(16),
  };
  const publicBytes = bytes.subarray(0, reader.position);
  const sealed = reader.block(manifestBytesMax);
  const signedBytes = bytes.subarray(0, reader.position);
  const signature = reader.bytes(manifestSignatureBytes);
  reader.end();
  const decoded = { ...fields, publicBytes, sealed, signedBytes, signature };
  const fault = faultOf(decoded);
  if (fault !== undefined) throw reader.invalid(fault);
  return decoded;
}

/** Fields that contradict each other. */
function faultOf(manifest: DecodedManifest): string | undefined {
  const { kind, number } = manifest;
  if (manifest.floor > number) return 'the floor lies above the manifest';
  const isFirst = kind === ManifestKind.create || kind === ManifestKind.clone;
  if ((number === 0) !== isFirst) return 'the first manifest and no other is of kind create or clone';
  if (kind === ManifestKind.create && manifest.parent !== undefined) return 'a volume that was created has no parent';
  if (kind === ManifestKind.clone && manifest.parent === undefined) return 'a clone has a parent';
  const isErased = kind === ManifestKind.erase;
  if ((manifest.keyring.length === 0) !== isErased || (manifest.sealed.length === 0) !== isErased)
    return 'an erased volume and no other lacks keyring and sealed part';
  if (manifest.pins.some((pin) => pin.number > number)) return 'a pin lies above the manifest';
  if (manifest.pins.some((pin) => isZero(pin.digest) !== (pin.number === number)))
    return 'a pin lacks its digest, or a manifest knows its own';
  return undefined;
}

function readParent(reader: ByteReader): Parent | undefined {
  const parent = { volumeId: reader.bytes(16), number: reader.u64(), digest: reader.bytes(32) };
  if (!isZero(parent.volumeId)) return parent;
  if (parent.number !== 0 || !isZero(parent.digest)) throw reader.invalid('a parent without id');
  return undefined;
}

function readPins(reader: ByteReader): Pin[] {
  const pins: Pin[] = [];
  const count = reader.count(64);
  if (count > pinsMax) throw reader.invalid(`${count} pins`);
  for (let index = 0; index < count; index++) {
    const kind = reader.u8();
    if (kind !== PinKind.snapshot && kind !== PinKind.clone) throw reader.invalid(`pin kind ${kind} is unknown`);
    reader.zeros(7);
    const pin = { kind, id: reader.bytes(16), number: reader.u64(), digest: reader.bytes(32) };
    const last = pins.at(-1);
    if (last !== undefined && comparePins(last, pin) >= 0) throw reader.invalid('pins are out of order');
    pins.push(pin);
  }
  return pins;
}

/** By number, then id: the order in which a manifest lists them. */
export function comparePins(left: Pin, right: Pin): number {
  if (left.number !== right.number) return left.number - right.number;
  for (let at = 0; at < 16; at++) if (left.id[at] !== right.id[at]) return left.id[at]! - right.id[at]!;
  return 0;
}

function readCatalog(reader: ByteReader): CatalogReference[] {
  const pages: CatalogReference[] = [];
  let next = 0;
  const count = reader.count(88);
  for (let index = 0; index < count; index++) {
    const page = {
      firstIndex: reader.u32(),
      entryCount: reader.u32(),
      owner: reader.bytes(16),
      id: reader.bytes(16),
      bytes: reader.u64(),
      birth: reader.u64(),
      digest: reader.bytes(32),
    };
    if (page.firstIndex < next || page.entryCount < 1) throw reader.invalid('catalog pages are out of order');
    next = page.firstIndex + page.entryCount;
    pages.push(page);
  }
  return pages;
}

function readAdded(reader: ByteReader): AddedObject[] {
  const objects: AddedObject[] = [];
  const count = reader.count(64);
  for (let index = 0; index < count; index++)
    objects.push({ ...readKindAndId(reader), bytes: reader.u64(), digest: reader.bytes(32) });
  return objects;
}

function readDropped(reader: ByteReader): DroppedObject[] {
  const objects: DroppedObject[] = [];
  const count = reader.count(24);
  for (let index = 0; index < count; index++) objects.push(readKindAndId(reader));
  return objects;
}

function readKindAndId(reader: ByteReader): DroppedObject {
  const kind = reader.u8();
  if (!isObjectKind(kind)) throw reader.invalid(`object kind ${kind} is unknown`);
  reader.zeros(7);
  return { kind, id: reader.bytes(16) };
}

function readProtection(reader: ByteReader): 0 | 1 {
  const protection = reader.u8();
  if (protection === 0 || protection === 1) return protection;
  throw reader.invalid(`protection ${protection} is unknown`);
}

function isManifestKind(value: number): value is ManifestKind {
  return value >= ManifestKind.create && value <= ManifestKind.move;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
