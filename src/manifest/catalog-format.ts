/**
 * Codec of catalog pages. Spec: spec/manifest-format.md. Vectors: test/vectors/catalog/. Pure. Catalog pages are public: with them and
 * the signed manifest anybody can check every object of a volume.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';

export const catalogVersion = 1;
export const catalogEntriesMax = 1024;
/** Of an encoded entry. */
const entryBytes = 80;
export const catalogPageBytesMax = 64 + catalogEntriesMax * entryBytes;

export const ObjectKind = { unused: 0, segment: 1, map: 2, catalog: 3 } as const;
export type ObjectKind = (typeof ObjectKind)[keyof typeof ObjectKind];

export interface CatalogEntry {
  readonly kind: ObjectKind;
  readonly keyEpoch: number;
  readonly bytes: number;
  /** Number of the manifest that added the object. */
  readonly birth: number;
  /** Number of the manifest since which only pinned states need it; 0 while the newest does. */
  readonly death: number;
  readonly id: Uint8Array; // 16 bytes
  readonly digest: Uint8Array; // 32 bytes
}

export interface CatalogPage {
  readonly firstIndex: number;
  readonly volumeId: Uint8Array;
  readonly lineage: Uint8Array; // 16 bytes, of the volume that wrote the objects
  readonly entries: readonly CatalogEntry[];
}

export const unusedEntry: CatalogEntry = {
  kind: ObjectKind.unused,
  keyEpoch: 0,
  bytes: 0,
  birth: 0,
  death: 0,
  id: new Uint8Array(16),
  digest: new Uint8Array(32),
};

const magicCatalog = 'CSNCAT1\n';

export function encodeCatalogPage(page: CatalogPage): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of magicCatalog) writer.u8(letter.charCodeAt(0));
  writer.u16(catalogVersion).zeros(2).u32(page.firstIndex).bytes(page.volumeId, 16).bytes(page.lineage, 16);
  writer.u32(page.entries.length).zeros(4);
  for (const entry of page.entries) {
    writer.u8(entry.kind).zeros(3).u32(entry.keyEpoch).u64(entry.bytes);
    writer.u64(entry.birth).u64(entry.death).bytes(entry.id, 16).bytes(entry.digest, 32);
  }
  return writer.finish();
}

export function decodeCatalogPage(bytes: Uint8Array): CatalogPage {
  const reader = new ByteReader(bytes, 'catalog page');
  reader.expect(magicCatalog);
  reader.version(catalogVersion);
  reader.zeros(2);
  const firstIndex = reader.u32();
  const volumeId = reader.bytes(16);
  const lineage = reader.bytes(16);
  const count = reader.count(entryBytes);
  if (count < 1 || count > catalogEntriesMax) throw reader.invalid(`${count} entries`);
  reader.zeros(4);
  const entries: CatalogEntry[] = [];
  for (let index = 0; index < count; index++) entries.push(readEntry(reader));
  reader.end();
  return { firstIndex, volumeId, lineage, entries };
}

function readEntry(reader: ByteReader): CatalogEntry {
  const kind = reader.u8();
  if (kind === ObjectKind.unused) {
    reader.zeros(entryBytes - 1);
    return unusedEntry;
  }
  if (!isObjectKind(kind)) throw reader.invalid(`object kind ${kind} is unknown`);
  reader.zeros(3);
  const entry = {
    kind,
    keyEpoch: reader.u32(),
    bytes: reader.u64(),
    birth: reader.u64(),
    death: reader.u64(),
    id: reader.bytes(16),
    digest: reader.bytes(32),
  };
  if (entry.death !== 0 && entry.death <= entry.birth) throw reader.invalid('an object died before it was born');
  if (kind === ObjectKind.catalog && entry.death === 0)
    throw reader.invalid('a catalog page is listed that is not dead');
  return entry;
}

export function isObjectKind(value: number): value is ObjectKind {
  return value >= ObjectKind.segment && value <= ObjectKind.catalog;
}
