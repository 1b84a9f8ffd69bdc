/**
 * Codec of hashed images and the shape of their tree. Pure.
 * Spec: spec/hashed-format.md. Vectors: test/vectors/hashed/, whole images in test/vectors/hashed-images/.
 *
 * The version fixes the leaf and the fan-out, the image's length fixes the rest: how many levels there
 * are and how many children each node has. What a header says must be what the tree says of the place,
 * so that no byte of an object is without meaning.
 */
import { sha256, sha256Of } from '../crypto/digest.ts';
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { volumeBytesMax } from '../lib/limits.ts';

export const leafBytes = 16384;
export const fanOut = 512;
export const spanBytes = leafBytes * fanOut;
export const digestBytes = 32;
/** The digests of a full node. */
export const tableBytes = fanOut * digestBytes;
export const headerBytes = 16;
/** What is hashed before a leaf or a node: one block of SHA-256. */
export const domainBytes = 64;
export const rootRecordBytes = 64;
export const hashedVersion = 1;
export const spanObjectBytesMax = headerBytes + tableBytes + spanBytes;
export const nodeObjectBytesMax = headerBytes + tableBytes;
/** A span's level; leaves are level 0. */
export const spanLevel = 1;

const leafShift = 14;
const fanOutShift = 9;
const rootMagic = 'CSNHRT1\n';
const nodeMagic = 'CSNHND1\n';
const spanMagic = 'CSNHSP1\n';
const rootPrefix = 'sha256:';

/** Stands for any run of zeros; no content has it. */
export const zeroDigest: Uint8Array = new Uint8Array(digestBytes);
const zeroLeaf = new Uint8Array(leafBytes);
const rootDomain = domainOf('caisson v1 hashed root', 0);
const levelDomains = Array.from({ length: 8 }, (_, level) => domainOf('caisson v1 hashed tree', level));

export interface RootRecord {
  readonly imageBytes: number;
  /** Leaves that are not all zero. */
  readonly dataLeaves: number;
  readonly top: Uint8Array;
}

/** `sha256:` and 64 digits, as people see a root. */
export function formatRoot(root: Uint8Array): string {
  return `${rootPrefix}${toHex(root)}`;
}

export function parseRoot(text: string): Uint8Array {
  const root = text.startsWith(rootPrefix) ? fromHex(text.substring(rootPrefix.length), digestBytes) : undefined;
  if (root !== undefined) return root;
  throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(text.substring(0, 100))} is not a root`, {
    remedy: 'A root is sha256: and 64 hexadecimal digits, as it was shown when the image was made.',
  });
}

/** The domain of a level, to be put before what is hashed. */
export function treeDomain(level: number): Uint8Array {
  return levelDomains[level]!;
}

export function isZero(bytes: Uint8Array): boolean {
  // Most content shows in its first byte; the rest is compared natively, a leaf at a time.
  if (bytes[0] !== 0) return false;
  for (let at = 0; at < bytes.length; at += leafBytes) {
    const part = bytes.subarray(at, at + leafBytes);
    if (Buffer.compare(part, part.length === leafBytes ? zeroLeaf : zeroLeaf.subarray(0, part.length)) !== 0)
      return false;
  }
  return true;
}

/** Whether `digest` stands at `offset` of `digests`. */
export function isDigestAt(digests: Uint8Array, offset: number, digest: Uint8Array): boolean {
  for (let index = 0; index < digestBytes; index++) if (digests[offset + index] !== digest[index]) return false;
  return true;
}

/** `bytes` holds room for the domain, then the leaf; the domain is written here. */
export function leafDigestOf(bytes: Uint8Array): Uint8Array {
  assert(bytes.length === domainBytes + leafBytes, `leaf of ${bytes.length} bytes`);
  bytes.set(levelDomains[0]!);
  return sha256Of(bytes);
}

export function nodeDigest(level: number, digests: Uint8Array): Uint8Array {
  return isZero(digests) ? zeroDigest : sha256(treeDomain(level), digests);
}

export function rootOf(record: Uint8Array): Uint8Array {
  return sha256(rootDomain, record);
}

// Shape

/** Image bytes below one node of `level`. */
export function bytesOfLevel(level: number): number {
  return leafBytes * fanOut ** level;
}

export function topLevelOf(imageBytes: number): number {
  let level = spanLevel;
  while (bytesOfLevel(level) < imageBytes) level++;
  return level;
}

/** Nodes of `level` that the image reaches; level 0 counts leaves. */
export function nodeCount(imageBytes: number, level: number): number {
  return Math.ceil(imageBytes / bytesOfLevel(level));
}

export function childCount(imageBytes: number, level: number, index: number): number {
  return Math.min(fanOut, nodeCount(imageBytes, level - 1) - index * fanOut);
}

/** Where the stored leaves of a span begin in its object. */
export function spanDataStart(leafCount: number): number {
  return headerBytes + leafCount * digestBytes;
}

// Objects

export function encodeRootRecord({ imageBytes, dataLeaves, top }: RootRecord): Uint8Array {
  return new ByteWriter()
    .bytes(ascii(rootMagic))
    .u16(hashedVersion)
    .u8(leafShift)
    .u8(fanOutShift)
    .zeros(4)
    .u64(imageBytes)
    .u64(dataLeaves)
    .bytes(top, digestBytes)
    .finish();
}

/** Of bytes whose digest is the root already. */
export function decodeRootRecord(bytes: Uint8Array): RootRecord {
  const reader = new ByteReader(bytes, 'root record');
  reader.expect(rootMagic);
  reader.version(hashedVersion);
  if (reader.u8() !== leafShift || reader.u8() !== fanOutShift)
    throw reader.invalid('leaf and fan-out are not those of version 1');
  reader.zeros(4);
  const imageBytes = reader.u64();
  if (imageBytes === 0 || imageBytes > volumeBytesMax) throw reader.invalid(`an image of ${imageBytes} bytes`);
  const dataLeaves = reader.u64();
  if (dataLeaves > nodeCount(imageBytes, 0)) throw reader.invalid('more data leaves than leaves');
  const top = new Uint8Array(reader.bytes(digestBytes));
  if (isZero(top) !== (dataLeaves === 0)) throw reader.invalid('the top node and the number of data leaves disagree');
  reader.end();
  return { imageBytes, dataLeaves, top };
}

export function encodeNode(level: number, digests: Uint8Array): Uint8Array {
  const writer = new ByteWriter().bytes(ascii(nodeMagic)).u16(hashedVersion).u8(level).zeros(1);
  return writer
    .u32(digests.length / digestBytes)
    .bytes(digests)
    .finish();
}

/** The digests of the children, a view of the input. */
export function decodeNode(bytes: Uint8Array, level: number, children: number): Uint8Array {
  const reader = new ByteReader(bytes, 'node');
  expectHeader(reader, nodeMagic);
  if (reader.u8() !== level) throw reader.invalid(`it is not of level ${level}`);
  reader.zeros(1);
  if (reader.u32() !== children) throw reader.invalid(`it has not ${children} children`);
  const digests = reader.bytes(children * digestBytes);
  reader.end();
  return digests;
}

export function encodeSpanHeader(leafCount: number, storedCount: number): Uint8Array {
  const writer = new ByteWriter().bytes(ascii(spanMagic)).u16(hashedVersion);
  return writer.u16(leafCount).u32(storedCount).finish();
}

export interface SpanTable {
  /** Of the leaves, 32 bytes each; a view of the input. */
  readonly digests: Uint8Array;
  /** By leaf: which of the stored leaves it is, or -1 for a leaf of zeros. */
  readonly ranks: Int16Array;
  readonly storedCount: number;
}

/** The header and the digests at the beginning of a span object. */
export function decodeSpanTable(bytes: Uint8Array, leafCount: number): SpanTable {
  const reader = new ByteReader(bytes, 'span');
  expectHeader(reader, spanMagic);
  if (reader.u16() !== leafCount) throw reader.invalid(`it has not ${leafCount} leaves`);
  const storedCount = reader.u32();
  const digests = reader.bytes(leafCount * digestBytes);
  reader.end();
  const ranks = new Int16Array(leafCount);
  let stored = 0;
  for (let leaf = 0; leaf < leafCount; leaf++)
    ranks[leaf] = isDigestAt(digests, leaf * digestBytes, zeroDigest) ? -1 : stored++;
  if (stored !== storedCount) throw reader.invalid(`it stores ${storedCount} leaves, its digests say ${stored}`);
  return { digests, ranks, storedCount };
}

/** The root fixes the version of all objects: another one in a header is a fault, not another format. */
function expectHeader(reader: ByteReader, magic: string): void {
  reader.expect(magic);
  if (reader.u16() !== hashedVersion) throw reader.invalid('its version is not that of the root');
}

function domainOf(text: string, level: number): Uint8Array {
  const domain = new Uint8Array(domainBytes);
  domain.set(ascii(text));
  domain[domainBytes - 1] = level;
  return domain;
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
