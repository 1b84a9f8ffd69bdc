/**
 * Codec of a manifest's sealed part. Spec: spec/manifest-format.md. Vectors: test/vectors/manifest/. Fuzz target: test/fuzz/manifest.fuzz.ts. Pure.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';

export const snapshotNameBytesMax = 64;

export const DurabilityCode = { local: 0, anchored: 1, remote: 2 } as const;
export type DurabilityCode = (typeof DurabilityCode)[keyof typeof DurabilityCode];

/** Where a sealed page of a map object lies. */
export interface PagePlace {
  readonly object: number;
  readonly slot: number;
  readonly tag: Uint8Array; // 16 bytes
}

export interface UsageReference extends PagePlace {
  readonly page: number;
}

/** What is said of a pin of kind snapshot with the same id. */
export interface SnapshotRecord {
  readonly id: Uint8Array; // 16 bytes
  readonly time: number; // milliseconds since 1970
  readonly name: string;
}

export interface ManifestState {
  readonly blockCount: number;
  readonly durability: DurabilityCode;
  /** Undefined for a map without a page: every block is a hole. */
  readonly root: (PagePlace & { readonly bytes: number }) | undefined;
  readonly sequence: number;
  readonly chain: Uint8Array; // 16 bytes
  readonly nextOrdinal: number;
  readonly keyEpoch: number;
  /** Objects of this volume under older key epochs are to be sealed anew; 0: none. */
  readonly rekeyBelow: number;
  readonly pageCounts: readonly (readonly [object: number, live: number])[];
  readonly usage: readonly UsageReference[];
  readonly snapshots: readonly SnapshotRecord[];
}

const noRoot = 0xffff_ffff;

export function encodeState(state: ManifestState): Uint8Array {
  const writer = new ByteWriter();
  writer.u64(state.blockCount).u8(state.durability).zeros(7);
  if (state.root === undefined) writer.u32(noRoot).zeros(28);
  else writer.u32(state.root.object).u32(state.root.slot).u32(state.root.bytes).zeros(4).bytes(state.root.tag, 16);
  writer.u64(state.sequence).bytes(state.chain, 16).u64(state.nextOrdinal).u32(state.keyEpoch).u32(state.rekeyBelow);
  writer.u32(state.pageCounts.length);
  for (const [object, live] of state.pageCounts) writer.u32(object).u32(live);
  writer.u32(state.usage.length);
  for (const { page, object, slot, tag } of state.usage) writer.u32(page).u32(object).u32(slot).bytes(tag, 16);
  writer.u32(state.snapshots.length);
  for (const { id, time, name } of state.snapshots)
    writer.bytes(id, 16).u64(time).block(new TextEncoder().encode(name));
  return writer.finish();
}

export function decodeState(bytes: Uint8Array): ManifestState {
  const reader = new ByteReader(bytes, 'sealed part of the manifest');
  const blockCount = reader.u64();
  const durability = reader.u8();
  if (!isDurability(durability)) throw reader.invalid(`durability ${durability} is unknown`);
  reader.zeros(7);
  const fields = {
    blockCount,
    durability,
    root: readRoot(reader),
    sequence: reader.u64(),
    chain: reader.bytes(16),
    nextOrdinal: reader.u64(),
    keyEpoch: reader.u32(),
    rekeyBelow: reader.u32(),
    pageCounts: readList(reader, 8, (): [number, number] => [reader.u32(), reader.u32()]),
    usage: readList(reader, 28, () => ({
      page: reader.u32(),
      object: reader.u32(),
      slot: reader.u32(),
      tag: reader.bytes(16),
    })),
    snapshots: readList(reader, 29, () => readSnapshot(reader)),
  };
  reader.end();
  if (fields.usage.some(({ page }, at) => at > 0 && page <= fields.usage[at - 1]!.page))
    throw reader.invalid('usage pages are out of order');
  return fields;
}

/** Why a snapshot cannot have this name, or undefined. */
export function snapshotNameFault(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (!name.isWellFormed()) return 'it is not well-formed text';
  if (/\p{Cc}/u.test(name)) return 'it holds a control character';
  if (new TextEncoder().encode(name).length > snapshotNameBytesMax) return `it exceeds ${snapshotNameBytesMax} bytes`;
  return undefined;
}

function readRoot(reader: ByteReader): ManifestState['root'] {
  const object = reader.u32();
  if (object === noRoot) {
    reader.zeros(28);
    return undefined;
  }
  const slot = reader.u32();
  const bytes = reader.u32();
  reader.zeros(4);
  return { object, slot, bytes, tag: reader.bytes(16) };
}

function readList<T>(reader: ByteReader, itemBytes: number, readItem: () => T): T[] {
  const items: T[] = [];
  const count = reader.count(itemBytes);
  for (let index = 0; index < count; index++) items.push(readItem());
  return items;
}

function readSnapshot(reader: ByteReader): SnapshotRecord {
  const id = reader.bytes(16);
  const time = reader.u64();
  const text = reader.block(snapshotNameBytesMax);
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text);
  } catch {
    throw reader.invalid('the name of a snapshot is not text');
  }
  const fault = snapshotNameFault(name);
  if (fault !== undefined) throw reader.invalid(`the name of a snapshot: ${fault}`);
  return { id, time, name };
}

function isDurability(value: number): value is DurabilityCode {
  return value >= DurabilityCode.local && value <= DurabilityCode.remote;
}
