/**
 * Builds the vectors of segment, map, manifest, catalog and head: `node test/vectors/build/engine-formats.ts`.
 * They are frozen; run it only to add one. It writes the bytes of spec/ by itself, over node:crypto alone, and
 * by default writes them right; each file has the one fault its comment names.
 *
 * A vector holds `bytes`, the length, and `pieces`: what lies where; all else is zero.
 */
import { createCipheriv, createHash, createPrivateKey, createPublicKey, hkdfSync, sign, type KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';

type Piece = readonly [offset: number, hex: string];

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
const u8 = (value: number): Buffer => Buffer.of(value);
const u16 = (value: number): Buffer => little(value, 2);
const u32 = (value: number): Buffer => little(value, 4);
const u64 = (value: bigint | number): Buffer => little(value, 8);
const zeros = (count: number): Buffer => Buffer.alloc(count);

function little(value: bigint | number, length: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.subarray(0, length);
}

function vector(folder: string, name: string, expect: string, comment: string, bytes: Buffer, more: object = {}): void {
  const directory = new URL(`../${folder}/`, import.meta.url);
  mkdirSync(directory, { recursive: true });
  const content = { comment, expect, ...more, bytes: bytes.length, pieces: piecesOf(bytes) };
  writeFileSync(new URL(`${name}.json`, directory), `${JSON.stringify(content, null, 2)}\n`);
}

/** Runs of anything but zeros, 32 zeros apart at least. */
function piecesOf(bytes: Buffer): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === 0) continue;
    let end = at + 1;
    for (let zero = 0; end < bytes.length && zero < 32; end++) zero = bytes[end] === 0 ? zero + 1 : 0;
    while (bytes[end - 1] === 0) end--;
    pieces.push([at, bytes.subarray(at, end).toString('hex')]);
    at = end;
  }
  return pieces;
}

/** The right bytes with others put over them. */
function replaced(bytes: Buffer, offset: number, part: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  part.copy(changed, offset);
  return changed;
}

const id = hex('000102030405060708090a0b0c0d0e0f');
const chain = hex('c0c1c2c3c4c5c6c7c8c9cacbcccdcecf');
const digest = Buffer.alloc(32, 0xd1);
const tooLarge = 2n ** 53n;

// Segments, spec/segment-format.md
const clear = Buffer.concat([ascii('CSNSEG1\n'), u16(1), u8(1), u8(0), u32(7), id, chain]);
vector('segment', 'clear-header', 'decodes', 'A right clear header.', clear, { part: 'clear-header' });
vector('segment', 'clear-header-magic', 'format-invalid', 'The magic is wrong.', replaced(clear, 0, ascii('CSNSEG2\n')), { part: 'clear-header' });
vector('segment', 'clear-header-version', 'format-version', 'Version 2.', replaced(clear, 8, u16(2)), { part: 'clear-header' });
vector('segment', 'clear-header-protection', 'format-invalid', 'Protection 2.', replaced(clear, 10, u8(2)), { part: 'clear-header' });
vector('segment', 'clear-header-reserved', 'format-invalid', 'The reserved byte is set.', replaced(clear, 11, u8(1)), { part: 'clear-header' });
vector('segment', 'clear-header-cut', 'format-invalid', 'A byte is missing.', clear.subarray(0, 47), { part: 'clear-header' });

const sealed = Buffer.concat([u64(3), u64(4), u64(5), chain, zeros(8)]);
vector('segment', 'sealed-header', 'decodes', 'A right sealed header.', sealed, { part: 'sealed-header' });
vector('segment', 'sealed-header-reserved', 'format-invalid', 'A reserved byte is set.', replaced(sealed, 47, u8(1)), { part: 'sealed-header' });
vector('segment', 'sealed-header-epoch', 'format-invalid', 'The epoch exceeds 2^53.', replaced(sealed, 0, u64(tooLarge)), { part: 'sealed-header' });
vector('segment', 'sealed-header-longer', 'format-invalid', 'A byte follows.', Buffer.concat([sealed, u8(0)]), { part: 'sealed-header' });

const entry = (kind: number, count: number, block: number | bigint): Buffer => Buffer.concat([u8(kind), zeros(3), u32(count), u64(block)]);
const unitBytes = (kind: number): number => (kind === 1 ? 4112 : kind === 2 ? 32_784 : 0);

function record(entries: readonly Buffer[], change: { bodyBytes?: number; count?: number; reserved?: number } = {}): Buffer {
  const body = entries.reduce((sum, one) => sum + unitBytes(one[0]!), 0);
  const head = [u64(9), chain, u64(8), u32(change.count ?? entries.length), u32(change.bodyBytes ?? body), u64(change.reserved ?? 0)];
  const bytes = Buffer.concat([...head, ...entries]);
  return Buffer.concat([bytes, zeros(560 - bytes.length)]);
}

const all = [entry(1, 1, 5), entry(2, 8, 16), entry(3, 0xffff_ffff, 1), entry(4, 1, 2n ** 53n - 1n), entry(5, 0, 99)];
vector('segment', 'record', 'decodes', 'A record with an entry of each kind.', record(all), { part: 'record' });
vector('segment', 'record-full', 'decodes', 'A record with 32 entries.', record(Array.from({ length: 32 }, (_, at) => entry(1, 1, at))), { part: 'record' });
vector('segment', 'record-empty', 'format-invalid', 'A record without entries.', record([]), { part: 'record' });
vector('segment', 'record-33', 'format-invalid', 'A record that says 33 entries.', record(all, { count: 33 }), { part: 'record' });
vector('segment', 'record-body', 'format-invalid', 'The body is longer than its units.', record(all, { bodyBytes: 36_897 }), { part: 'record' });
vector('segment', 'record-reserved', 'format-invalid', 'The reserved field is set.', record(all, { reserved: 1 }), { part: 'record' });
vector('segment', 'record-unused', 'format-invalid', 'An unused entry is not zero.', replaced(record(all), 559, u8(1)), { part: 'record' });
vector('segment', 'record-cut', 'format-invalid', 'A byte is missing.', record(all).subarray(0, 559), { part: 'record' });
for (const [name, comment, wrong] of [
  ['kind-0', 'Kind 0.', entry(0, 1, 1)],
  ['kind-6', 'Kind 6.', entry(6, 1, 1)],
  ['block-count', 'A block that counts two.', entry(1, 2, 1)],
  ['large-count', 'A large unit of seven blocks.', entry(2, 7, 8)],
  ['large-unaligned', 'A large unit that starts at block 9.', entry(2, 8, 9)],
  ['hole-empty', 'A hole of no blocks.', entry(3, 0, 1)],
  ['zero-empty', 'A zero extent of no blocks.', entry(4, 0, 1)],
  ['size-count', 'A size that counts one.', entry(5, 1, 1)],
  ['block-too-large', 'A block number of 2^53.', entry(1, 1, tooLarge)],
  ['entry-reserved', 'A reserved byte of an entry is set.', replaced(entry(1, 1, 1), 2, u8(1))],
] as const) {
  vector('segment', `record-${name}`, 'format-invalid', comment, record([entry(1, 1, 5), wrong]), { part: 'record' });
}

const directoryEntry = (kind: number, count: number, block: number, slot: number, tag: Buffer): Buffer =>
  Buffer.concat([entry(kind, count, block), u32(slot), zeros(12), tag]);
const directory = Buffer.concat([u64(9), chain, u32(2), u32(0), directoryEntry(1, 1, 5, 44, chain), directoryEntry(3, 4, 6, 0, zeros(16))]);
vector('segment', 'directory', 'decodes', 'A right directory.', directory, { part: 'directory' });
vector('segment', 'directory-count', 'format-invalid', 'It says three entries.', replaced(directory, 24, u32(3)), { part: 'directory' });
vector('segment', 'directory-reserved', 'format-invalid', 'The reserved field is set.', replaced(directory, 28, u32(1)), { part: 'directory' });
vector('segment', 'directory-entry-reserved', 'format-invalid', 'A reserved byte of an entry is set.', replaced(directory, 32 + 20, u8(1)), { part: 'directory' });
vector('segment', 'directory-hole-tag', 'format-invalid', 'A hole has a tag.', replaced(directory, 32 + 48 + 32, u8(1)), { part: 'directory' });
vector('segment', 'directory-longer', 'format-invalid', 'A byte follows.', Buffer.concat([directory, u8(0)]), { part: 'directory' });

function footer(change: { magic?: string; version?: number; offset?: number; length?: number; total?: number; reserved?: number; crc?: number } = {}): Buffer {
  const lengths = [u32(change.offset ?? 1008), u32(change.length ?? 144), u32(change.total ?? 1184)];
  const bytes = Buffer.concat([ascii(change.magic ?? 'CSNEND1\n'), u16(change.version ?? 1), u16(0), ...lengths, u32(change.reserved ?? 0)]);
  return Buffer.concat([bytes, u32((crc32(bytes) ^ (change.crc ?? 0)) >>> 0)]);
}

const footers: readonly (readonly [string, string, string, Parameters<typeof footer>[0]])[] = [
  ['footer', 'decodes', 'A right footer of an object of 1184 bytes.', {}],
  ['footer-magic', 'format-invalid', 'The magic is wrong.', { magic: 'CSNEND2\n' }],
  ['footer-version', 'format-version', 'Version 2.', { version: 2 }],
  ['footer-crc', 'format-invalid', 'The checksum is wrong.', { crc: 1 }],
  ['footer-total', 'format-invalid', 'The total differs from the object.', { total: 1200, length: 160 }],
  ['footer-sum', 'format-invalid', 'The lengths do not add up.', { length: 128 }],
  ['footer-offset', 'format-invalid', 'The directory lies at an offset that is no slot.', { offset: 1000, length: 152 }],
  ['footer-early', 'format-invalid', 'The directory lies in the header.', { offset: 96, length: 1056 }],
  ['footer-short', 'format-invalid', 'The directory is shorter than its prefix and tag.', { offset: 1120, length: 32 }],
  ['footer-reserved', 'format-invalid', 'The reserved field is set.', { reserved: 1 }],
];
for (const [name, expect, comment, change] of footers) vector('segment', name, expect, comment, footer(change), { part: 'footer', objectBytes: 1184 });

// Map pages, spec/map-format.md. In the object table of these vectors 0 and 1 are segments, 2 and 3 map objects.
const leafEntry = (where: number, location: number): Buffer => Buffer.concat([u32(where), u32(location)]);
const leaf = (...entries: readonly Buffer[]): Buffer => Buffer.concat([...entries, zeros(8192 - 8 * entries.length)]);
const leaves: readonly (readonly [string, string, string, Buffer])[] = [
  ['leaf', 'decodes', 'Data, a large unit, zero and holes.', leaf(leafEntry(1, 44), leafEntry(2, 50 | (1 << 24) | (7 << 25)), leafEntry(0xffff_ffff, 0))],
  ['leaf-hole-location', 'format-invalid', 'A hole has a location.', leaf(leafEntry(0, 1))],
  ['leaf-zero-location', 'format-invalid', 'A zero block has a location.', leaf(leafEntry(0xffff_ffff, 1))],
  ['leaf-bit-28', 'format-invalid', 'A reserved bit of a location is set.', leaf(leafEntry(1, 0x1000_0000))],
  ['leaf-part', 'format-invalid', 'A single block has a part.', leaf(leafEntry(1, 1 << 25))],
  ['leaf-map-object', 'format-invalid', 'A block lies in a map object.', leaf(leafEntry(3, 44))],
  ['leaf-outside', 'format-invalid', 'A block lies in an object that the table does not have.', leaf(leafEntry(5, 44))],
];
for (const [name, expect, comment, bytes] of leaves) vector('map', name, expect, comment, bytes, { part: 'leaf' });

const reference = (object: number, slot: number, tag: Buffer): Buffer => Buffer.concat([u32(object), u32(slot), tag]);
const hole = reference(0xffff_ffff, 0, zeros(16));
const page = (...references: readonly Buffer[]): Buffer => Buffer.concat([...references, ...Array.from({ length: 1024 - references.length }, () => hole)]);
const pages: readonly (readonly [string, string, string, Buffer])[] = [
  ['directory', 'decodes', 'A leaf, a zero leaf, holes.', page(reference(2, 3, chain), reference(0xffff_fffe, 0, zeros(16)))],
  ['directory-hole-slot', 'format-invalid', 'A hole has a slot.', page(reference(0xffff_ffff, 1, zeros(16)))],
  ['directory-zero-tag', 'format-invalid', 'A zero leaf has a tag.', page(reference(0xffff_fffe, 0, chain))],
  ['directory-segment', 'format-invalid', 'A leaf lies in a segment.', page(reference(1, 3, chain))],
  ['directory-outside', 'format-invalid', 'A leaf lies in an object that the table does not have.', page(reference(4, 3, chain))],
  ['directory-cut', 'format-invalid', 'A byte is missing.', page().subarray(0, 24_575)],
];
for (const [name, expect, comment, bytes] of pages) vector('map', name, expect, comment, bytes, { part: 'directory' });

const usage = (...counts: readonly (readonly [at: number, count: number])[]): Buffer =>
  counts.reduce((bytes, [at, count]) => replaced(bytes, at * 4, u32(count)), zeros(4096));
const usages: readonly (readonly [string, string, string, Buffer])[] = [
  ['usage', 'decodes', 'Blocks in the two segments.', usage([0, 7], [1, 4000])],
  ['usage-map-object', 'format-invalid', 'Blocks are counted in a map object.', usage([0, 7], [2, 1])],
  ['usage-outside', 'format-invalid', 'Blocks are counted in an object that the table does not have.', usage([1023, 1])],
];
for (const [name, expect, comment, bytes] of usages) vector('map', name, expect, comment, bytes, { part: 'usage' });

const rootReference = (index: number, object: number, tag = chain, reserved = 0): Buffer => Buffer.concat([u32(index), u32(reserved), u32(object), u32(object >= 0xffff_fffe ? 0 : 3), tag]);
const root = (references: readonly Buffer[], blocks: bigint | number = 2 ** 22, count = references.length, reserved = 0): Buffer =>
  Buffer.concat([u32(count), u32(reserved), u64(blocks), ...references]);
const two = [rootReference(0, 2), rootReference(2, 3)];
const roots: readonly (readonly [string, string, string, Buffer])[] = [
  ['root', 'decodes', 'Two directories and a zero one.', root([...two, rootReference(3, 0xffff_fffe, zeros(16))])],
  ['root-empty', 'decodes', 'All holes.', root([])],
  ['root-count', 'format-invalid', 'It says three references.', root(two, 2 ** 22, 3)],
  ['root-reserved', 'format-invalid', 'The reserved field is set.', root(two, 2 ** 22, 2, 1)],
  ['root-reference-reserved', 'format-invalid', 'The reserved field of a reference is set.', root([rootReference(0, 2, chain, 1)])],
  ['root-order', 'format-invalid', 'The references do not ascend.', root([...two].reverse())],
  ['root-twice', 'format-invalid', 'A directory is listed twice.', root([two[0]!, two[0]!])],
  ['root-beyond', 'format-invalid', 'A directory lies beyond the last block.', root([rootReference(4, 2)])],
  ['root-hole', 'format-invalid', 'A hole is listed.', root([rootReference(0, 0xffff_ffff, zeros(16))])],
  ['root-segment', 'format-invalid', 'A directory lies in a segment.', root([rootReference(0, 1)])],
  ['root-blocks', 'format-invalid', 'A block count of 2^53.', root([], tooLarge)],
  ['root-cut', 'format-invalid', 'A byte is missing.', root([]).subarray(0, 15)],
];
for (const [name, expect, comment, bytes] of roots) vector('map', name, expect, comment, bytes, { part: 'root' });

// Catalog pages, spec/manifest-format.md
const objectEntry = (kind: number, bytes: bigint | number = 1184, birth = 3, death = 0): Buffer =>
  Buffer.concat([u8(kind), zeros(3), u32(7), u64(bytes), u64(birth), u64(death), chain, digest]);
const catalog = (entries: readonly Buffer[], count = entries.length, version = 1): Buffer =>
  Buffer.concat([ascii('CSNCAT1\n'), u16(version), u16(0), u32(1024), id, chain, u32(count), u32(0), ...entries]);
const good = catalog([objectEntry(1), zeros(80), objectEntry(2, 1184, 3, 5), objectEntry(3, 1184, 0, 4)]);
const catalogs: readonly (readonly [string, string, string, Buffer])[] = [
  ['page', 'decodes', 'A segment, an unused entry, a dead map object, a dead catalog page.', good],
  ['magic', 'format-invalid', 'The magic is wrong.', replaced(good, 0, ascii('X'))],
  ['version', 'format-version', 'Version 2.', catalog([objectEntry(1)], 1, 2)],
  ['reserved', 'format-invalid', 'A reserved byte is set.', replaced(good, 10, u8(1))],
  ['reserved-2', 'format-invalid', 'A reserved byte behind the count is set.', replaced(good, 52, u8(1))],
  ['empty', 'format-invalid', 'No entries.', catalog([])],
  ['count', 'format-invalid', 'It says more entries than there are.', catalog([objectEntry(1)], 2)],
  ['too-many', 'format-invalid', 'It has 1025 entries.', catalog(Array.from({ length: 1025 }, () => zeros(80)))],
  ['kind', 'format-invalid', 'Kind 4.', catalog([objectEntry(4)])],
  ['catalog-alive', 'format-invalid', 'A catalog page that is not dead.', catalog([objectEntry(3)])],
  ['death', 'format-invalid', 'An object died in the manifest that added it.', catalog([objectEntry(1, 1184, 3, 3)])],
  ['unused-set', 'format-invalid', 'An unused entry has an id.', catalog([replaced(zeros(80), 32, chain)])],
  ['entry-reserved', 'format-invalid', 'A reserved byte of an entry is set.', catalog([replaced(objectEntry(1), 1, u8(1))])],
  ['bytes', 'format-invalid', 'A length of 2^53.', catalog([objectEntry(1, tooLarge)])],
  ['longer', 'format-invalid', 'A byte follows.', Buffer.concat([good, u8(0)])],
  ['cut', 'format-invalid', 'A byte is missing.', good.subarray(0, -1)],
];
for (const [name, expect, comment, bytes] of catalogs) vector('catalog', name, expect, comment, bytes);

// Heads and manifests, signed; spec/manifest-format.md
const signer = privateKeyOf(Buffer.alloc(32, 0x51));
const stranger = privateKeyOf(Buffer.alloc(32, 0x52));
const volumeId = volumeIdOf(signer);

function privateKeyOf(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([hex('302e020100300506032b657004220420'), seed]), format: 'der', type: 'pkcs8' });
}

function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
}

function volumeIdOf(key: KeyObject): Buffer {
  return createHash('sha256').update('caisson volume id v1\0').update(publicKeyOf(key)).digest().subarray(0, 16);
}

interface HeadParts {
  version: number;
  state: number;
  reserved: number;
  volumeId: Buffer;
  epoch: bigint | number;
  writer: KeyObject;
  signs: KeyObject;
  context: string;
  after: Buffer;
}

function head(change: Partial<HeadParts> = {}): Buffer {
  const parts = { version: 1, state: 1, reserved: 0, volumeId, epoch: 3, writer: signer, signs: change.writer ?? signer, context: 'caisson v1 head\0', after: zeros(0), ...change };
  const fields = [ascii('CSNHEAD\n'), u16(parts.version), u8(parts.state), u8(parts.reserved), zeros(4), parts.volumeId, u64(parts.epoch), u64(4), digest, chain, publicKeyOf(parts.writer)];
  const bytes = Buffer.concat(fields);
  return Buffer.concat([bytes, sign(null, Buffer.concat([ascii(parts.context), bytes]), parts.signs), parts.after]);
}

const heads: readonly (readonly [string, string, string, Buffer])[] = [
  ['open', 'decodes', 'A right head, open.', head()],
  ['closed', 'decodes', 'A right head, closed.', head({ state: 2 })],
  ['version', 'format-version', 'Version 2, rightly signed.', head({ version: 2 })],
  ['erased', 'decodes', 'A right head, erased.', head({ state: 3 })],
  ['moved', 'decodes', 'A right head, moved.', head({ state: 4 })],
  ['state', 'head-tampered', 'State 5, rightly signed.', head({ state: 5 })],
  ['reserved', 'head-tampered', 'A reserved byte is set, rightly signed.', head({ reserved: 1 })],
  ['epoch', 'head-tampered', 'An epoch of 2^53, rightly signed.', head({ epoch: tooLarge })],
  ['other-volume', 'head-tampered', 'It names another volume.', head({ volumeId: volumeIdOf(stranger) })],
  ['other-writer', 'head-tampered', 'The writer key is not the one of the volume id.', head({ writer: stranger })],
  ['other-signer', 'head-tampered', 'Another key signed it.', head({ signs: stranger })],
  ['manifest-context', 'head-tampered', 'It was signed as a manifest.', head({ context: 'caisson v1 manifest\0' })],
  ['signature', 'head-tampered', 'A bit of the signature is wrong.', replaced(head(), 190, u8(head()[190]! ^ 1))],
  ['magic', 'head-tampered', 'The magic is wrong.', replaced(head(), 0, ascii('X'))],
  ['longer', 'head-tampered', 'A byte follows.', head({ after: u8(0) })],
  ['cut', 'head-tampered', 'A byte is missing.', head().subarray(0, -1)],
];
for (const [name, expect, comment, bytes] of heads) vector('head', name, expect, comment, bytes, { volumeId: volumeId.toString('hex') });

interface ManifestParts {
  version: number;
  kind: number;
  protection: number;
  reserved: Buffer;
  number: bigint | number;
  floor: number;
  writer: KeyObject;
  signs: KeyObject;
  context: string;
  keyring: Buffer;
  keyringBytes: number | undefined;
  parent: Buffer;
  pins: readonly Buffer[];
  catalog: readonly Buffer[];
  added: readonly Buffer[];
  dropped: readonly Buffer[];
  state: Buffer;
  sealsNumber: number | undefined;
  sealed: Buffer | undefined;
  after: Buffer;
}

const dataKey = Buffer.alloc(32, 0x44);
const salt = Buffer.alloc(16, 0x5a);
const catalogReference = (first: number, count: number): Buffer => Buffer.concat([u32(first), u32(count), id, chain, u64(1184), u64(3), digest]);
const noParent = zeros(56);
const parent = Buffer.concat([id, u64(7), digest]);
const pin = (kind: number, number: number, name: Buffer = id, manifestDigest: Buffer = digest): Buffer =>
  Buffer.concat([u8(kind), zeros(7), name, u64(number), manifestDigest]);
const added = (kind: number): Buffer => Buffer.concat([u8(kind), zeros(7), chain, u64(1184), digest]);
const rootPlace = Buffer.concat([u32(1), u32(3), u32(48), u32(0), chain]);
const noRoot = Buffer.concat([u32(0xffff_ffff), zeros(28)]);

function state(change: { root?: Buffer; durability?: number; reserved?: number; counts?: number; usage?: readonly Buffer[]; snapshots?: readonly Buffer[]; after?: Buffer } = {}): Buffer {
  const fields = [u64(1024), u8(change.durability ?? 0), u8(change.reserved ?? 0), zeros(6), change.root ?? rootPlace];
  const list = (items: readonly Buffer[]): Buffer => Buffer.concat([u32(items.length), ...items]);
  const lists = [list(change.usage ?? [usagePage(0), usagePage(2)]), list(change.snapshots ?? [snapshotRecord(Buffer.from('über', 'utf8'))])];
  return Buffer.concat([...fields, u64(9), chain, u64(2), u32(1), u32(0), u32(change.counts ?? 1), u32(1), u32(2), ...lists, change.after ?? zeros(0)]);
}

function usagePage(page: number): Buffer {
  return Buffer.concat([u32(page), u32(1), u32(3), chain]);
}

function snapshotRecord(name: Buffer): Buffer {
  return Buffer.concat([id, u64(1_700_000_000_000), u32(name.length), name]);
}

function manifest(change: Partial<ManifestParts> = {}): Buffer {
  const defaults = { version: 1, kind: 2, protection: 1, reserved: zeros(4), number: 4, floor: 2, writer: signer, signs: signer, context: 'caisson v1 manifest\0' };
  const lists = { keyring: ascii('a keyring'), keyringBytes: undefined, parent: noParent, pins: [pin(1, 1), pin(2, 3)], sealed: undefined, catalog: [catalogReference(0, 3)], added: [added(1)], dropped: [], state: state(), sealsNumber: undefined, after: zeros(0) };
  const parts: ManifestParts = { ...defaults, ...lists, ...change };
  const { keyring } = parts;
  const fields = [ascii('CSNMAN1\n'), u16(parts.version), u8(parts.kind), u8(parts.protection), parts.reserved, volumeId, u64(parts.number), u64(3), digest];
  const more = [publicKeyOf(parts.writer), u64(parts.floor), u64(1_700_000_000_000), parts.parent, u32(parts.keyringBytes ?? keyring.length), keyring];
  const list = (items: readonly Buffer[]): Buffer => Buffer.concat([u32(items.length), ...items]);
  const open = Buffer.concat([...fields, ...more, list(parts.pins), list(parts.catalog), list(parts.added), list(parts.dropped), salt]);
  const box = parts.sealed ?? sealState(open, parts.state, parts.sealsNumber ?? parts.number);
  const signed = Buffer.concat([open, u32(box.length), box]);
  return Buffer.concat([signed, sign(null, Buffer.concat([ascii(parts.context), signed]), parts.signs), parts.after]);
}

function sealState(open: Buffer, plaintext: Buffer, number: bigint | number): Buffer {
  const info = Buffer.concat([ascii('caisson v1 manifest\0'), volumeId, u64(number), u64(3)]);
  const key = Buffer.from(hkdfSync('sha256', dataKey, salt, info, 32));
  const cipher = createCipheriv('aes-256-gcm', key, zeros(12));
  cipher.setAAD(createHash('sha256').update(open).digest());
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

const manifests: readonly (readonly [string, string, string, Buffer])[] = [
  ['checkpoint', 'decodes', 'A right checkpoint.', manifest()],
  ['create', 'decodes', 'A right first manifest without root.', manifest({ kind: 1, number: 0, floor: 0, pins: [], catalog: [], added: [], state: state({ root: noRoot }) })],
  ['version', 'format-version', 'Version 2, rightly signed.', manifest({ version: 2 })],
  ['kind-0', 'manifest-tampered', 'Kind 0.', manifest({ kind: 0 })],
  ['kind-13', 'manifest-tampered', 'Kind 13.', manifest({ kind: 13 })],
  ['snapshot', 'decodes', 'A manifest that pins itself.', manifest({ kind: 6, pins: [pin(1, 4, id, zeros(32))] })],
  ['clone', 'decodes', 'The first manifest of a clone.', manifest({ kind: 8, number: 0, floor: 0, parent, pins: [] })],
  ['erase', 'decodes', 'An erased volume.', manifest({ kind: 11, keyring: zeros(0), sealed: zeros(0) })],
  ['erase-keyring', 'manifest-tampered', 'An erased volume with a keyring.', manifest({ kind: 11, sealed: zeros(0) })],
  ['erase-sealed', 'manifest-tampered', 'An erased volume with a sealed part.', manifest({ kind: 11, keyring: zeros(0) })],
  ['keyring-empty', 'manifest-tampered', 'A checkpoint without keyring.', manifest({ keyring: zeros(0) })],
  ['clone-later', 'manifest-tampered', 'The first manifest of a clone with number 4.', manifest({ kind: 8, parent })],
  ['clone-orphan', 'manifest-tampered', 'A clone without parent.', manifest({ kind: 8, number: 0, floor: 0, pins: [] })],
  ['create-parent', 'manifest-tampered', 'A created volume with a parent.', manifest({ kind: 1, number: 0, floor: 0, pins: [], parent })],
  ['parent-nameless', 'manifest-tampered', 'A parent without id.', manifest({ parent: Buffer.concat([zeros(16), u64(7), digest]) })],
  ['pin-kind', 'manifest-tampered', 'A pin of kind 3.', manifest({ pins: [pin(3, 1)] })],
  ['pin-order', 'manifest-tampered', 'Pins out of order.', manifest({ pins: [pin(1, 3), pin(1, 1)] })],
  ['pin-twice', 'manifest-tampered', 'A pin listed twice.', manifest({ pins: [pin(1, 1), pin(1, 1)] })],
  ['pin-above', 'manifest-tampered', 'A pin above the manifest.', manifest({ pins: [pin(1, 5)] })],
  ['pin-no-digest', 'manifest-tampered', 'A pin of an earlier manifest without digest.', manifest({ pins: [pin(1, 1, id, zeros(32))] })],
  ['pin-own-digest', 'manifest-tampered', 'A manifest that says its own digest.', manifest({ pins: [pin(1, 4)] })],
  ['protection', 'manifest-tampered', 'Protection 2.', manifest({ protection: 2 })],
  ['reserved', 'manifest-tampered', 'A reserved byte is set.', manifest({ reserved: u32(1) })],
  ['number', 'manifest-tampered', 'A number of 2^53.', manifest({ number: tooLarge })],
  ['create-later', 'manifest-tampered', 'A first manifest with number 4.', manifest({ kind: 1 })],
  ['checkpoint-first', 'manifest-tampered', 'A checkpoint with number 0.', manifest({ number: 0, floor: 0 })],
  ['floor', 'manifest-tampered', 'The floor lies above the manifest.', manifest({ floor: 5 })],
  ['keyring-long', 'manifest-tampered', 'The keyring is said to be longer than a manifest may hold.', manifest({ keyringBytes: 65_537 })],
  ['catalog-order', 'manifest-tampered', 'Catalog pages overlap.', manifest({ catalog: [catalogReference(0, 3), catalogReference(2, 1)] })],
  ['catalog-empty', 'manifest-tampered', 'A catalog page without entries.', manifest({ catalog: [catalogReference(0, 0)] })],
  ['added-kind', 'manifest-tampered', 'An added object of kind 0.', manifest({ added: [added(0)] })],
  ['added-reserved', 'manifest-tampered', 'A reserved byte of an added object is set.', manifest({ added: [replaced(added(1), 7, u8(1))] })],
  ['dropped-kind', 'manifest-tampered', 'A dropped object of kind 4.', manifest({ dropped: [Buffer.concat([u8(4), zeros(7), chain])] })],
  ['other-writer', 'manifest-tampered', 'The writer key is not the one of the volume id.', manifest({ writer: stranger, signs: stranger })],
  ['other-signer', 'manifest-tampered', 'Another key signed it.', manifest({ signs: stranger })],
  ['head-context', 'manifest-tampered', 'It was signed as a head.', manifest({ context: 'caisson v1 head\0' })],
  ['longer', 'manifest-tampered', 'A byte follows.', manifest({ after: u8(0) })],
  ['cut', 'manifest-tampered', 'A byte is missing.', manifest().subarray(0, -1)],
  ['sealed-for-other', 'manifest-tampered', 'The sealed part is of another number.', manifest({ sealsNumber: 5 })],
  ['state-durability', 'manifest-tampered', 'Durability 3.', manifest({ state: state({ durability: 3 }) })],
  ['state-usage-order', 'manifest-tampered', 'Usage pages out of order.', manifest({ state: state({ usage: [usagePage(1), usagePage(1)] }) })],
  ['state-snapshot-name', 'manifest-tampered', 'A snapshot without name.', manifest({ state: state({ snapshots: [snapshotRecord(zeros(0))] }) })],
  ['state-snapshot-text', 'manifest-tampered', 'A name that is no text.', manifest({ state: state({ snapshots: [snapshotRecord(Buffer.of(0xc3, 0x28))] }) })],
  ['state-snapshot-control', 'manifest-tampered', 'A name with a control character.', manifest({ state: state({ snapshots: [snapshotRecord(ascii('a\nb'))] }) })],
  ['state-snapshot-long', 'manifest-tampered', 'A name of 65 bytes.', manifest({ state: state({ snapshots: [snapshotRecord(Buffer.alloc(65, 0x61))] }) })],
  ['state-reserved', 'manifest-tampered', 'A reserved byte of the sealed part is set.', manifest({ state: state({ reserved: 1 }) })],
  ['state-no-root-slot', 'manifest-tampered', 'No root, and a slot for it.', manifest({ state: state({ root: replaced(noRoot, 4, u32(1)) }) })],
  ['state-counts', 'manifest-tampered', 'More page counts are said than there are.', manifest({ state: state({ counts: 2 }) })],
  ['state-longer', 'manifest-tampered', 'A byte follows the sealed part.', manifest({ state: state({ after: u8(0) }) })],
];
for (const [name, expect, comment, bytes] of manifests) {
  vector('manifest', name, expect, comment, bytes, { volumeId: volumeId.toString('hex'), dataKey: dataKey.toString('hex') });
}
