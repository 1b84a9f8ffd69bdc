/**
 * Codec of manifests. Spec: spec/manifest-format.md. Vectors: test/vectors/manifest/. Pure: it neither signs, verifies nor seals.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { ObjectKind } from './catalog-format.ts';

export const manifestVersion = 1;
export const manifestBytesMax = 64 * 1024 * 1024;
export const keyringBytesMax = 64 * 1024;
export const manifestSignatureBytes = 64;

export const ManifestKind = { create: 1, checkpoint: 2, recovery: 3, close: 4, keyring: 5 } as const;
export type ManifestKind = (typeof ManifestKind)[keyof typeof ManifestKind];

export interface CatalogReference {
  readonly firstIndex: number;
  readonly entryCount: number;
  readonly id: Uint8Array; // 16 bytes
  readonly bytes: number;
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
  readonly keyring: Uint8Array;
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

/** The sealed part. */
export interface ManifestState {
  readonly blockCount: number;
  readonly durability: 0 | 1;
  /** Undefined for a map without a page: every block is a hole. */
  readonly root:
    { readonly object: number; readonly slot: number; readonly bytes: number; readonly tag: Uint8Array } | undefined;
  readonly sequence: number;
  readonly chain: Uint8Array; // 16 bytes
  readonly nextOrdinal: number;
  readonly keyEpoch: number;
  readonly pageCounts: readonly (readonly [object: number, live: number])[];
}

const magicManifest = 'CSNMAN1\n';
const noRoot = 0xffff_ffff;

/** The public part; the caller appends the sealed part (`appendSealed`) and the signature. */
export function encodePublic(manifest: ManifestPublic): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of magicManifest) writer.u8(letter.charCodeAt(0));
  writer.u16(manifestVersion).u8(manifest.kind).u8(manifest.protection).zeros(4);
  writer.bytes(manifest.volumeId, 16).u64(manifest.number).u64(manifest.epoch).bytes(manifest.previousDigest, 32);
  writer.bytes(manifest.writerKey, 32).u64(manifest.floor).block(manifest.keyring);
  writer.u32(manifest.catalog.length);
  for (const page of manifest.catalog)
    writer.u32(page.firstIndex).u32(page.entryCount).bytes(page.id, 16).u64(page.bytes).bytes(page.digest, 32);
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
    keyring: reader.block(keyringBytesMax),
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
  if (fields.floor > fields.number) throw reader.invalid('the floor lies above the manifest');
  if ((fields.number === 0) !== (kind === ManifestKind.create))
    throw reader.invalid('the first manifest and no other is of kind create');
  return { ...fields, publicBytes, sealed, signedBytes, signature };
}

export function encodeState(state: ManifestState): Uint8Array {
  const writer = new ByteWriter();
  writer.u64(state.blockCount).u8(state.durability).zeros(7);
  if (state.root === undefined) writer.u32(noRoot).zeros(28);
  else writer.u32(state.root.object).u32(state.root.slot).u32(state.root.bytes).zeros(4).bytes(state.root.tag, 16);
  writer.u64(state.sequence).bytes(state.chain, 16).u64(state.nextOrdinal).u32(state.keyEpoch);
  writer.u32(state.pageCounts.length);
  for (const [object, live] of state.pageCounts) writer.u32(object).u32(live);
  return writer.finish();
}

export function decodeState(bytes: Uint8Array): ManifestState {
  const reader = new ByteReader(bytes, 'sealed part of the manifest');
  const blockCount = reader.u64();
  const durability = reader.u8();
  if (durability !== 0 && durability !== 1) throw reader.invalid(`durability ${durability} is unknown`);
  reader.zeros(7);
  const object = reader.u32();
  let root: ManifestState['root'];
  if (object === noRoot) reader.zeros(28);
  else {
    const slot = reader.u32();
    const rootBytes = reader.u32();
    reader.zeros(4);
    root = { object, slot, bytes: rootBytes, tag: reader.bytes(16) };
  }
  const sequence = reader.u64();
  const chain = reader.bytes(16);
  const nextOrdinal = reader.u64();
  const keyEpoch = reader.u32();
  const pageCounts: [number, number][] = [];
  const count = reader.count(8);
  for (let index = 0; index < count; index++) pageCounts.push([reader.u32(), reader.u32()]);
  reader.end();
  return { blockCount, durability, root, sequence, chain, nextOrdinal, keyEpoch, pageCounts };
}

function readCatalog(reader: ByteReader): CatalogReference[] {
  const pages: CatalogReference[] = [];
  let next = 0;
  const count = reader.count(64);
  for (let index = 0; index < count; index++) {
    const page = {
      firstIndex: reader.u32(),
      entryCount: reader.u32(),
      id: reader.bytes(16),
      bytes: reader.u64(),
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
  if (kind !== ObjectKind.segment && kind !== ObjectKind.map) throw reader.invalid(`object kind ${kind} is unknown`);
  reader.zeros(7);
  return { kind, id: reader.bytes(16) };
}

function readProtection(reader: ByteReader): 0 | 1 {
  const protection = reader.u8();
  if (protection === 0 || protection === 1) return protection;
  throw reader.invalid(`protection ${protection} is unknown`);
}

function isManifestKind(value: number): value is ManifestKind {
  return value >= ManifestKind.create && value <= ManifestKind.keyring;
}
