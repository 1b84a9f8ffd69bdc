/**
 * Recovery: brings the map up to the last whole record of the spool and publishes the result, so that
 * nothing found is ever appended to and the history of this epoch starts from a signed state.
 */
import type { AnchorState } from '../anchor/anchor.ts';
import { Region } from '../lib/region.ts';
import { toHex } from '../lib/hex.ts';
import { ObjectKind } from '../manifest/catalog-format.ts';
import { HeadState } from '../manifest/head-format.ts';
import { ManifestKind } from '../manifest/manifest-format.ts';
import { EntryKind, slotBytes, unitBytes } from '../segment/segment-format.ts';
import { spoolName } from '../store/paths.ts';
import { Publisher, type FinishedSegment } from './publisher.ts';
import { digestOf } from './inline-digester.ts';
import { findObjects, findSegments, replay, type FoundSegment, type ReplayedRecord, type ReplayEnd } from './replay.ts';
import { anchorStateOf, type VolumeCore } from './volume-core.ts';
import type { RecoveryReport } from './volume-types.ts';
import type { LogPosition } from './write-log.ts';

export interface Recovered {
  readonly position: LogPosition;
  readonly report: RecoveryReport;
}

const copyBytes = 1024 * 1024;
const leavesMore = 64;

export async function recover(
  core: VolumeCore,
  anchor: AnchorState | undefined,
  readOnly: boolean,
  startedAt: number,
  closed: boolean,
): Promise<Recovered> {
  const { published, environment } = core;
  const { pool } = core.map;
  const configured = pool.capacity;
  // A writer keeps at most its cap dirty and as much again in a checkpoint that never ended; less memory now than then needs more, too.
  core.mapRoom.makeRoom = () => {
    pool.capacity += leavesMore;
    return Promise.resolve();
  };
  const { found, leftovers } = await findSegments(
    core.area,
    core.volumeId,
    core.keys,
    new Set(core.table.ids().keys()),
  );
  if (environment.store.isRemote && !closed)
    await findObjects(
      environment.store,
      core.prefix,
      core.volumeId,
      core.keys,
      new Set(core.table.ids().keys()),
      found,
    );
  const indexes = new Map<FoundSegment, number>();
  const digests = new EarlyDigests(core);
  const end = await replay({
    found,
    start: { sequence: published.sequence, chain: published.chain, nextOrdinal: published.nextOrdinal },
    anchor,
    take: (record) => {
      if (!readOnly) digests.begin(record.segment);
      return applyRecord(core, record, indexOf(core, indexes, record.segment));
    },
    turn: () => environment.clock.turn(),
  });
  const unused = [...leftovers, ...end.leftovers];
  for (const segment of found) {
    if (indexes.has(segment)) continue;
    segment.key.destroy();
    await segment.reader.close();
  }
  if (!readOnly) {
    if (end.recordCount > 0) await publishRecovered(core, end, indexes, digests);
    else await environment.anchor.advance(anchorStateOf(core, published.sequence, published.chain));
    await removeLeftovers(core, unused);
    pool.capacity = configured;
  }
  const report = {
    clean: closed && end.recordCount === 0,
    segmentCount: end.segments.length,
    recordCount: end.recordCount,
    bytes: end.bytes,
    tornBytes: end.tornBytes,
    milliseconds: environment.clock.monotonic() - startedAt,
  };
  return { position: end.position, report };
}

/**
 * Digests of whole files of the spool, computed while their records are looked at: hashing takes about as long. One
 * at a time; those of files that turn out not to be whole are not asked for again.
 */
class EarlyDigests {
  readonly #core: VolumeCore;
  readonly #begun = new Map<FoundSegment, { readonly bytes: number; readonly digest: Promise<Uint8Array> }>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(core: VolumeCore) {
    this.#core = core;
  }

  begin(segment: FoundSegment): void {
    if (segment.isObject || this.#begun.has(segment)) return;
    const { name, size: bytes } = segment;
    const digest = this.#last.then(() => this.#core.digester.digest(this.#core.prefix, name, bytes));
    // Whoever asks for it hears of a failure.
    this.#last = digest.catch(() => undefined);
    this.#begun.set(segment, { bytes, digest });
  }

  of(segment: FoundSegment, bytes: number): Promise<Uint8Array> | undefined {
    const begun = this.#begun.get(segment);
    return begun?.bytes === bytes ? begun.digest : undefined;
  }
}

function indexOf(core: VolumeCore, indexes: Map<FoundSegment, number>, segment: FoundSegment): number {
  const known = indexes.get(segment);
  if (known !== undefined) return known;
  const index = core.table.allocate(ObjectKind.segment, segment.segmentId, segment.keyEpoch);
  core.handles.addFound(index, segment.key, segment.reader);
  indexes.set(segment, index);
  return index;
}

/** Points the map at a record's units; waits only where a cold leaf must be loaded. */
async function applyRecord(core: VolumeCore, replayed: ReplayedRecord, index: number): Promise<void> {
  const { map } = core;
  let offset = replayed.bodyOffset;
  for (const entry of replayed.record.entries) {
    if (entry.kind === EntryKind.size) {
      await ready(() =>
        entry.block < map.blockCount ? map.prepare(entry.block, map.blockCount - entry.block, true) : undefined,
      );
      map.resize(entry.block);
      continue;
    }
    const extent = entry.kind === EntryKind.hole || entry.kind === EntryKind.zero;
    await ready(() => map.prepare(entry.block, entry.count, extent));
    if (extent) map.setExtent(entry.block, entry.count, entry.kind === EntryKind.zero);
    else map.setUnit(entry.block, entry.kind === EntryKind.large, index, offset / slotBytes);
    offset += unitBytes(entry.kind);
  }
}

async function ready(prepare: () => Promise<void> | undefined): Promise<void> {
  for (let preparing = prepare(); preparing !== undefined; preparing = prepare()) await preparing;
}

async function publishRecovered(
  core: VolumeCore,
  end: ReplayEnd,
  indexes: ReadonlyMap<FoundSegment, number>,
  digests: EarlyDigests,
): Promise<void> {
  const segments: FinishedSegment[] = [];
  for (const { segment, validBytes, stable } of end.segments) {
    const isThere = stable && segment.isObject;
    const name = stable ? segment.name : await copyPrefix(core, segment, validBytes);
    const index = indexes.get(segment)!;
    const handle = core.handles.get(index)!;
    segments.push({
      ...(isThere ? { uploaded: Promise.resolve() } : {}),
      index,
      segmentId: segment.segmentId,
      spoolName: isThere ? undefined : name,
      bytes: validBytes,
      digest: () =>
        isThere
          ? digestOf(segment.reader, validBytes, core.environment.clock)
          : ((stable ? digests.of(segment, validBytes) : undefined) ??
            core.digester.digest(core.prefix, name, validBytes)),
      release: () => core.handles.release(handle),
    });
  }
  const original = end.segments
    .filter((entry) => !entry.stable && !entry.segment.isObject)
    .map((entry) => entry.segment.name);
  await new Publisher(core).publish({
    kind: ManifestKind.recovery,
    headState: HeadState.open,
    position: end.position,
    segments,
    commit: () => Promise.resolve(),
    swap: (swap) => swap(),
    anchor: () => core.environment.anchor.advance(anchorStateOf(core, end.position.sequence, end.position.chain)),
  });
  await removeLeftovers(core, original);
}

/** What is valid of a segment under a name of its own, synced anew: what was found is never changed. */
async function copyPrefix(core: VolumeCore, segment: FoundSegment, validBytes: number): Promise<string> {
  const name = spoolName(core.environment.random.bytes(16));
  const file = await core.area.create(name);
  const piece = new Region(copyBytes);
  try {
    for (let at = 0; at < validBytes; at += copyBytes) {
      const count = Math.min(copyBytes, validBytes - at);
      await segment.reader.read(at, count, piece, 0);
      await file.write(at, piece, 0, count);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return name;
}

async function removeLeftovers(core: VolumeCore, names: readonly string[]): Promise<void> {
  for (const name of names) {
    try {
      await core.area.remove(name);
    } catch (error) {
      core.environment.log?.('warn', 'a leftover of the spool could not be removed; it takes space and does no harm', {
        volume: toHex(core.volumeId),
        error: String(error),
      });
    }
  }
}
