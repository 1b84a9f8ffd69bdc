/** The frozen vectors of segment, map, catalog, head and manifest: each right but for the one fault its file names. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { checkLeaf, checkUsage, decodeDirectoryPage, decodeRoot, encodeRoot } from '../../src/block-map/map-format.ts';
import { sha256 } from '../../src/crypto/digest.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { decodeCatalogPage, encodeCatalogPage } from '../../src/manifest/catalog-format.ts';
import { encodeHead } from '../../src/manifest/head-format.ts';
import { checkHead, checkManifest, openState } from '../../src/manifest/manifest.ts';
import { appendSealed, appendSignature, encodePublic } from '../../src/manifest/manifest-format.ts';
import * as segment from '../../src/segment/segment-format.ts';

interface Vector {
  readonly comment: string;
  readonly expect: string;
  readonly part?: string;
  readonly objectBytes?: number;
  readonly volumeId?: string;
  readonly dataKey?: string;
  readonly bytes: number;
  readonly pieces: readonly (readonly [offset: number, hex: string])[];
}

/** In the object table of the vectors 0 and 1 are segments, 2 and 3 map objects. */
const isSegment = (index: number): boolean => index === 0 || index === 1;
const isMapObject = (index: number): boolean => index === 2 || index === 3;

const decoders: Readonly<Record<string, (bytes: Uint8Array, vector: Vector) => void>> = {
  segment: decodeSegmentPart,
  map: decodeMapPart,
  catalog: (bytes) => assertSame(encodeCatalogPage(decodeCatalogPage(bytes)), bytes),
  head: (bytes, { volumeId }) => {
    const head = checkHead(bytes, Buffer.from(volumeId!, 'hex'));
    assertSame(Buffer.concat([encodeHead(head), head.signature]), bytes);
  },
  manifest: (bytes, { volumeId, dataKey }) => {
    const { manifest } = checkManifest(bytes, sha256(bytes), Buffer.from(volumeId!, 'hex'), 'vector');
    if (manifest.sealed.length > 0) openState(manifest, Buffer.from(dataKey!, 'hex'), 'vector');
    assertSame(appendSignature(appendSealed(encodePublic(manifest), manifest.sealed), manifest.signature), bytes);
  },
};

for (const [format, decode] of Object.entries(decoders)) {
  const folder = new URL(`../vectors/${format}/`, import.meta.url);
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
    const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector;
    test(`${format} vector ${file}: ${vector.comment}`, () => {
      assert.equal(outcomeOf(decode, bytesOf(vector), vector), vector.expect);
    });
  }
}

function bytesOf({ bytes, pieces }: Vector): Uint8Array {
  const content = new Uint8Array(bytes);
  for (const [offset, hex] of pieces) content.set(Buffer.from(hex, 'hex'), offset);
  return content;
}

function outcomeOf(decode: (bytes: Uint8Array, vector: Vector) => void, bytes: Uint8Array, vector: Vector): string {
  try {
    decode(bytes, vector);
    return 'decodes';
  } catch (error) {
    if (error instanceof CaissonError) return error.code;
    throw error;
  }
}

/** What decodes encodes to the same bytes: there is one form. */
function assertSame(encoded: Uint8Array, bytes: Uint8Array): void {
  assert.equal(Buffer.compare(encoded, bytes), 0, 'it has one form');
}

function decodeSegmentPart(bytes: Uint8Array, { part, objectBytes }: Vector): void {
  const encoded = new Uint8Array(bytes.length);
  switch (part ?? 'footer') {
    case 'clear-header':
      segment.encodeClearHeader(encoded, segment.decodeClearHeader(bytes));
      break;
    case 'sealed-header':
      segment.encodeSealedHeader(encoded, segment.decodeSealedHeader(bytes));
      break;
    case 'record':
      encodeRecord(encoded, segment.decodeRecord(bytes));
      break;
    case 'directory':
      encodeDirectory(encoded, segment.decodeDirectory(bytes));
      break;
    default:
      segment.encodeFooter(encoded, segment.decodeFooter(bytes, objectBytes!));
  }
  assertSame(encoded, bytes);
}

function encodeRecord(target: Uint8Array, record: segment.RecordHeader): void {
  const view = new DataView(target.buffer);
  const { sequence, previousChain, durableThrough, entries, bodyBytes } = record;
  for (const [index, { kind, count, block }] of entries.entries()) segment.encodeEntry(view, index, kind, count, block);
  segment.encodeRecordPrefix(view, target, sequence, previousChain, durableThrough, entries.length, bodyBytes);
}

function encodeDirectory(target: Uint8Array, { lastSequence, chain, entries }: segment.Directory): void {
  const view = new DataView(target.buffer);
  segment.encodeDirectoryPrefix(target, lastSequence, chain, entries.length);
  for (const [index, { kind, count, block, slot, tag }] of entries.entries()) {
    const at = segment.directoryPrefixBytes + index * segment.directoryEntryBytes;
    segment.encodeDirectoryEntry(target, view, at, kind, count, block, slot, tag, 0);
  }
}

function decodeMapPart(bytes: Uint8Array, { part }: Vector): void {
  if (part === 'leaf') return checkLeaf(new Uint32Array(bytes.buffer), isSegment);
  if (part === 'usage') return checkUsage(new Uint32Array(bytes.buffer), 0, isSegment);
  if (part === 'directory') return decodeDirectoryPage(bytes, isMapObject, () => undefined);
  const root = decodeRoot(bytes, isMapObject);
  assertSame(encodeRoot(root.blockCount, root.references), bytes);
}
