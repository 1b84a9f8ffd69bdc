/**
 * Codec of map pages. Spec: spec/map-format.md. Vectors: test/vectors/map/. Pure.
 *
 * Leaves are moved between memory and page by plain copies: the resident form of a leaf is its page.
 * That is right on little-endian machines only, which `assertLittleEndian` makes sure of.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError } from '../lib/errors.ts';

export const leafBlocks = 1024;
export const directoryLeaves = 1024;
export const leafWords = leafBlocks * 2;
export const leafBytes = leafWords * 4;
export const referenceBytes = 24;
export const directoryBytes = directoryLeaves * referenceBytes;
export const rootPrefixBytes = 16;
export const rootReferenceBytes = 32;
/** Counters of a usage page, four bytes each. */
export const usageEntries = 1024;
export const usageBytes = usageEntries * 4;
export const mapHeaderBytes = 48;
export const mapVersion = 1;

/** `where` of a block without data. */
export const Where = { hole: 0, zero: 0xffff_ffff } as const;
/** `object` of a reference without page. */
export const Reference = { hole: 0xffff_ffff, zero: 0xffff_fffe } as const;
export const PageLevel = { leaf: 0, directory: 1, root: 2, usage: 3 } as const;
export type PageLevel = (typeof PageLevel)[keyof typeof PageLevel];

const slotBitsMax = 0xff_ffff;
const largeBit = 1 << 24;

/** Where a page lies: the object's index in the object table, the offset / 16 in it, its tag. */
export interface PageReference {
  readonly object: number;
  readonly slot: number;
  readonly tag: Uint8Array; // 16 bytes
}

export interface RootReference extends PageReference {
  readonly directory: number;
}

export interface Root {
  readonly blockCount: number;
  readonly references: readonly RootReference[];
}

export function assertLittleEndian(): void {
  assert(new Uint8Array(new Uint16Array([1]).buffer)[0] === 1, 'the map needs a little-endian machine');
}

/** The block field of a page's nonce. */
export function pageBlock(level: PageLevel, index: number): number {
  return level * 2 ** 48 + index;
}

/** The location word of block `part` (0 to 7) of a large unit, or of a single block. */
export function packLocation(slot: number, large: boolean, part: number): number {
  return large ? slot | largeBit | (part << 25) : slot;
}

export const locationSlot = (location: number): number => location & slotBitsMax;
export const locationIsLarge = (location: number): boolean => (location & largeBit) !== 0;
export const locationPart = (location: number): number => (location >>> 25) & 7;

/** Checks a leaf that came from the store; `isSegment` says whether an index names a segment. */
export function checkLeaf(words: Uint32Array, isSegment: (index: number) => boolean): void {
  let lastIndex = -1;
  for (let at = 0; at < leafWords; at += 2) {
    const where = words[at]!;
    const location = words[at + 1]!;
    if (where === Where.hole || where === Where.zero) {
      if (location !== 0) throw invalid('a block without data has a location');
      continue;
    }
    if (location >>> 28 !== 0 || (!locationIsLarge(location) && locationPart(location) !== 0))
      throw invalid('a location has a reserved bit set');
    if (where - 1 !== lastIndex && !isSegment(where - 1))
      throw invalid(`a leaf names object ${where - 1}, which is no segment`);
    lastIndex = where - 1;
  }
}

/** Checks usage page `page` that came from the store; `isSegment` says whether an index names a segment. */
export function checkUsage(counts: Uint32Array, page: number, isSegment: (index: number) => boolean): void {
  counts.forEach((count, at) => {
    if (count > 0 && !isSegment(page * usageEntries + at))
      throw invalid(`a usage page counts blocks in object ${page * usageEntries + at}, which is no segment`);
  });
}

/** Writes reference `index` of a directory page. `tags` holds 16 bytes a leaf. */
export function encodeReference(
  target: Uint8Array,
  view: DataView,
  index: number,
  object: number,
  slot: number,
  tags: Uint8Array | undefined,
): void {
  const at = index * referenceBytes;
  view.setUint32(at, object, true);
  view.setUint32(at + 4, slot, true);
  if (tags === undefined) target.fill(0, at + 8, at + 24);
  else for (let byte = 0; byte < 16; byte++) target[at + 8 + byte] = tags[index * 16 + byte]!;
}

/** Calls `visit` for each of the 1024 references of a directory page, after checking all of it. */
export function decodeDirectoryPage(
  bytes: Uint8Array,
  isMapObject: (index: number) => boolean,
  visit: (leaf: number, object: number, slot: number, tag: Uint8Array) => void,
): void {
  if (bytes.length !== directoryBytes) throw invalid('map directory has a wrong length');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let leaf = 0; leaf < directoryLeaves; leaf++) {
    const at = leaf * referenceBytes;
    const object = view.getUint32(at, true);
    const slot = view.getUint32(at + 4, true);
    const tag = bytes.subarray(at + 8, at + 24);
    checkReference(object, slot, tag, isMapObject);
    visit(leaf, object, slot, tag);
  }
}

export function encodeRoot(blockCount: number, references: readonly RootReference[]): Uint8Array {
  const bytes = new Uint8Array(rootPrefixBytes + references.length * rootReferenceBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, references.length, true);
  view.setBigUint64(8, BigInt(blockCount), true);
  references.forEach((reference, index) => {
    const at = rootPrefixBytes + index * rootReferenceBytes;
    view.setUint32(at, reference.directory, true);
    view.setUint32(at + 8, reference.object, true);
    view.setUint32(at + 12, reference.slot, true);
    bytes.set(reference.tag, at + 16);
  });
  return bytes;
}

export function decodeRoot(bytes: Uint8Array, isMapObject: (index: number) => boolean): Root {
  if (bytes.length < rootPrefixBytes) throw invalid('map root is cut off');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(0, true);
  if (view.getUint32(4, true) !== 0) throw invalid('map root has a reserved field set');
  if (bytes.length !== rootPrefixBytes + count * rootReferenceBytes)
    throw invalid('map root length differs from its count');
  const blockCount = Number(view.getBigUint64(8, true));
  if (!Number.isSafeInteger(blockCount)) throw invalid('map root has an impossible block count');
  const references: RootReference[] = [];
  let previous = -1;
  for (let index = 0; index < count; index++) {
    const at = rootPrefixBytes + index * rootReferenceBytes;
    const directory = view.getUint32(at, true);
    if (directory <= previous || directory * directoryLeaves * leafBlocks >= blockCount)
      throw invalid('map root is out of order');
    if (view.getUint32(at + 4, true) !== 0) throw invalid('map root has a reserved field set');
    const reference = {
      directory,
      object: view.getUint32(at + 8, true),
      slot: view.getUint32(at + 12, true),
      tag: bytes.subarray(at + 16, at + 32),
    };
    if (reference.object === Reference.hole) throw invalid('map root lists a hole');
    checkReference(reference.object, reference.slot, reference.tag, isMapObject);
    references.push(reference);
    previous = directory;
  }
  return { blockCount, references };
}

function checkReference(object: number, slot: number, tag: Uint8Array, isMapObject: (index: number) => boolean): void {
  if (object === Reference.hole || object === Reference.zero) {
    if (slot !== 0 || tag.some((byte) => byte !== 0)) throw invalid('a reference without page has a place');
  } else if (!isMapObject(object)) throw invalid(`a reference names object ${object}, which is no map object`);
}

function invalid(message: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', message);
}
