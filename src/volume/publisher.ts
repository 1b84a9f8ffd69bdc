/**
 * Publisher: turns finished segments and the changed part of the map into the next manifest.
 *
 * Order, always: data, map, catalog, manifest, head, anchor, and only then deletion of what no longer
 * counts. A crash between two steps leaves orphans at worst; a manifest never names an absent object.
 */
import { MapCheckpoint, type WrittenRoot } from '../block-map/map-checkpoint.ts';
import { MapObjectWriter, type OpenMapObject } from '../block-map/map-object-writer.ts';
import { sha256 } from '../crypto/digest.ts';
import { assert } from '../lib/assert.ts';
import { isCaissonError } from '../lib/errors.ts';
import {
  manifestsKeptMax,
  mapObjectBytesMax,
  publishObjectsInFlightMax,
  publishSegmentsInFlightMax,
} from '../lib/limits.ts';
import { forEachParallel } from '../lib/parallel.ts';
import type { Region } from '../lib/region.ts';
import { catalogEntriesMax, ObjectKind } from '../manifest/catalog-format.ts';
import type { HeadState } from '../manifest/head-format.ts';
import { ManifestKind, type CatalogReference, type Pin } from '../manifest/manifest-format.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { buildManifest, createExact, fenced } from '../manifest/manifest.ts';
import type { TableChange } from '../manifest/object-table.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import { catalogKey, headKey, manifestKey, mapObjectKey, segmentKey, spoolName } from '../store/paths.ts';
import { durabilityCode, swapCoreHead, type VolumeCore } from './volume-core.ts';
import { objectKey } from './object-names.ts';
import type { LogPosition } from './write-log.ts';

/** A segment whose bytes are complete: in the spool, not yet an object. */
export interface FinishedSegment {
  readonly index: number;
  readonly segmentId: Uint8Array;
  /** The spool file that holds exactly the object's bytes; undefined for what recovery found on the store itself. */
  readonly spoolName: string | undefined;
  readonly bytes: number;
  /** It is or becomes an object without the publisher's doing. */
  readonly uploaded?: Promise<void>;
  /** Computes the digest of its bytes; called once they are durable. */
  readonly digest: () => Promise<Uint8Array>;
  /** To be called once it is an object: the spool need not watch it any longer. */
  readonly release: () => void;
}

export interface PublishRequest {
  readonly kind: ManifestKind;
  readonly headState: HeadState;
  /** Where the log stands: everything before it is in `segments` or published already. */
  readonly position: LogPosition;
  readonly segments: readonly FinishedSegment[];
  /** Makes the segments durable; runs after the map is frozen. */
  readonly commit: () => Promise<void>;
  /** Runs the swap of the head, so that the fence is not checked in the middle of it. */
  readonly swap: <T>(swap: () => Promise<T>) => Promise<T>;
  /** Advances the anchor to the new manifest. */
  readonly anchor: () => Promise<void>;
  /** Segments to which nothing pointed any more when the map was frozen. */
  readonly emptied?: readonly number[];
  /** Pins that this manifest no longer has: their manifests go once it is anchored. */
  readonly released?: readonly Pin[];
  /** Key epoch of the map objects, where it is not the newest: a clone gets no newer key than it needs. */
  readonly mapKeyEpoch?: number;
  /** Told what the manifest will say before the head names it, for work that can go on beside. Must not throw. */
  readonly onBuilt?: (built: BuiltState) => void;
}

/** A manifest whose bytes are made, and which no head names yet. */
export interface BuiltState {
  readonly number: number;
  readonly digest: Uint8Array;
  readonly state: ManifestState;
  readonly catalog: readonly CatalogReference[];
}

const noDigest = new Uint8Array(32);

/** The writer that lost the volume publishes each segment once. */
const publishAttemptsMax = 3;

interface NamedObject {
  readonly key: string;
  readonly bytes: Uint8Array;
}

interface MapObject {
  readonly index: number;
  readonly bytes: number;
  readonly digest: Uint8Array;
  readonly spoolName: string;
}

export class Publisher {
  readonly #core: VolumeCore;

  constructor(core: VolumeCore) {
    this.#core = core;
  }

  /** Must be called in the turn in which `position` was taken: the map is frozen before anything waits. */
  async publish(request: PublishRequest): Promise<void> {
    try {
      await this.#publish(request);
    } catch (error) {
      this.#core.mapLoader.lost(error);
      throw error;
    }
  }

  async #publish(request: PublishRequest): Promise<void> {
    const core = this.#core;
    const mapObjects: MapObject[] = [];
    const blockCount = core.map.blockCount;
    const writeMap = this.#freezeMap(request, mapObjects);
    await request.commit();
    const root = await writeMap();
    for (const object of mapObjects) core.table.publish(object.index, object.bytes, object.digest);
    await forEachParallel(request.segments, publishSegmentsInFlightMax, async (segment) => {
      const digest = await segment.digest();
      if (segment.uploaded !== undefined) await segment.uploaded;
      else await this.#publishSegment(segment, request.kind);
      core.table.publish(segment.index, segment.bytes, digest);
      segment.release();
    });
    this.#dropEmptied(request.emptied ?? []);
    const state: ManifestState = {
      blockCount,
      durability: durabilityCode(core.durability),
      root: root === undefined ? undefined : { ...root.reference, bytes: root.bytes },
      sequence: request.position.sequence,
      chain: request.position.chain,
      nextOrdinal: request.position.nextOrdinal,
      keyEpoch: core.keys.keyEpoch,
      rekeyBelow: core.published.rekeyBelow,
      pageCounts: [...core.pageCounts],
      usage: core.map.usage.references,
      snapshots: core.published.snapshots,
    };
    const replaced = await this.#publishState(request, state);
    core.published.root = root;
    await request.anchor();
    const spoolNames = [
      ...request.segments.flatMap(({ spoolName }) => (spoolName === undefined ? [] : [spoolName])),
      ...mapObjects.map((object) => object.spoolName),
    ];
    await this.#cleanUp(spoolNames, replaced);
  }

  /** The newest state becomes that of a pinned manifest; everything before `position` was published. */
  async publishRollback(
    request: PublishRequest,
    pinned: { readonly number: number; readonly state: ManifestState },
  ): Promise<void> {
    const core = this.#core;
    core.table.rollBackTo(pinned.number, new Set(pinned.state.pageCounts.map(([object]) => object)));
    const { state } = pinned;
    const replaced = await this.#publishState(request, {
      ...state,
      durability: durabilityCode(core.durability),
      sequence: request.position.sequence,
      chain: request.position.chain,
      nextOrdinal: request.position.nextOrdinal,
      keyEpoch: core.keys.keyEpoch,
      rekeyBelow: core.published.rekeyBelow,
      snapshots: core.published.snapshots,
    });
    await request.anchor();
    await this.#cleanUp([], replaced);
  }

  /** Freezes the map now; what it returns writes it, or reuses the root where nothing changed. */
  #freezeMap(request: PublishRequest, done: MapObject[]): () => Promise<WrittenRoot | undefined> {
    const core = this.#core;
    const { published } = core;
    if (!core.map.changed) return () => Promise.resolve(published.root);
    const writer = this.#mapWriter(done, request.mapKeyEpoch ?? core.keys.keyEpoch);
    const checkpoint = new MapCheckpoint(core.map, writer, core.pageCounts, published.root?.reference);
    return async () => {
      const root = await checkpoint.write();
      await writer.finish();
      return root;
    };
  }

  /**
   * Recovery may find an object of this name that no manifest names: published in vain by a recovery that
   * was interrupted, or by the writer we took over from, and perhaps ending elsewhere. While the head is
   * ours nobody can name it any more, so it makes room.
   */
  async #publishSegment(segment: FinishedSegment, kind: ManifestKind): Promise<void> {
    const { area, prefix, environment, published } = this.#core;
    const { spoolName } = segment;
    assert(spoolName !== undefined, 'what is published comes from the spool');
    const key = segmentKey(prefix, segment.segmentId);
    for (let attempt = 1; ; attempt++) {
      try {
        return await area.publish(spoolName, key);
      } catch (error) {
        if (!isCaissonError(error, 'object-exists') || kind !== ManifestKind.recovery || attempt === publishAttemptsMax)
          throw error;
      }
      if ((await environment.store.version(headKey(prefix))) !== published.headVersion) throw fenced(undefined);
      await environment.store.remove(key);
    }
  }

  #mapWriter(done: MapObject[], keyEpoch: number): MapObjectWriter {
    const core = this.#core;
    return new MapObjectWriter({
      bytesMax: mapObjectBytesMax,
      begin: () => {
        const objectId = core.environment.random.bytes(16);
        const key = core.keys.mapKey(objectId, core.volumeId, keyEpoch);
        const index = core.table.allocate(ObjectKind.map, objectId, keyEpoch);
        core.mapLoader.announce(index);
        return { protection: core.keys.protectionCode, keyEpoch, lineage: core.volumeId, objectId, index, key };
      },
      emit: async (object, region, length) => {
        done.push(await this.#storeMapObject(object, region, length));
      },
      breathe: () => core.environment.clock.turn(),
    });
  }

  async #storeMapObject(object: OpenMapObject, region: Region, length: number): Promise<MapObject> {
    const { area, digester, prefix } = this.#core;
    object.key.destroy();
    const name = spoolName(object.objectId);
    const file = await area.create(name);
    try {
      await file.write(0, region, 0, length);
      await file.sync();
      const digest = await digester.digest(prefix, name, length);
      await area.publish(name, mapObjectKey(prefix, object.objectId));
      this.#core.mapLoader.arrived(object.index);
      return { index: object.index, bytes: length, digest, spoolName: name };
    } finally {
      await file.close();
    }
  }

  /** Map objects without a live page are no longer needed, nor are segments that cleaning emptied. */
  #dropEmptied(segments: readonly number[]): void {
    const { pageCounts, table, handles, map } = this.#core;
    for (const index of segments) {
      handles.drop(index);
      map.usage.clear(index);
      table.drop(index);
    }
    for (const [index, live] of pageCounts) {
      if (live > 0) continue;
      pageCounts.delete(index);
      this.#core.mapLoader.forget(index);
      table.drop(index);
    }
  }

  /** Catalog, manifest, head. Returns the keys of what it replaced. */
  async #publishState(request: PublishRequest, state: ManifestState): Promise<string[]> {
    const core = this.#core;
    const { store, random, clock } = core.environment;
    const { published } = core;
    const number = published.number + 1;
    const pins = new PinnedNumbers(published.pins);
    const change = core.table.change(number, pins);
    const { placed, objects } = this.#placeCatalog(change.pages, number);
    const catalog = core.table.referencesWith(placed);
    const outdated = this.#outdated(number);
    // In one turn with the keyring's bytes: they hold this key.
    const keyEpoch = core.keyring.currentKeyEpoch;
    const bytes = buildManifest(
      {
        kind: request.kind,
        protection: core.keys.protectionCode,
        volumeId: core.volumeId,
        number,
        epoch: core.epoch,
        previousDigest: published.digest,
        writerKey: core.signingKey.publicKey,
        floor: published.kept[outdated]?.number ?? number,
        time: clock.wall(),
        // A clone that reads nothing of its parent any more is one no longer: the parent may forget it.
        parent: core.table.hasForeign() ? published.parent : undefined,
        keyring: core.keyring.encode(),
        pins: published.pins.map((pin) => (pin.number === number ? { ...pin, digest: noDigest } : pin)),
        catalog,
        added: change.added,
        dropped: change.dropped,
        salt: random.bytes(16),
      },
      { ...state, keyEpoch },
      core.keyring.dataKey(keyEpoch),
      core.signingKey,
    );
    const digest = sha256(bytes);
    // Side by side: nothing refers to any of them before the head does.
    objects.push({ key: manifestKey(core.prefix, number, digest), bytes });
    await forEachParallel(objects, publishObjectsInFlightMax, (object) => createExact(store, object.key, object.bytes));
    request.onBuilt?.({ number, digest, state, catalog });
    await request.swap(() => swapCoreHead(core, request.headState, number, digest));
    core.keys.useEpoch(keyEpoch);
    const replaced = core.table.commit(placed).map((object) => objectKey(core.prefix, object));
    for (const old of published.kept.splice(0, outdated))
      if (!pins.has(old.number)) replaced.push(manifestKey(core.prefix, old.number, old.digest));
    published.number = number;
    published.digest = digest;
    published.floor = published.kept[0]?.number ?? number;
    published.kept.push({ number, digest });
    for (const pin of request.released ?? [])
      if (pin.number < published.floor && !pins.has(pin.number))
        replaced.push(manifestKey(core.prefix, pin.number, pin.digest));
    published.state = state;
    published.sequence = state.sequence;
    published.chain = state.chain;
    published.nextOrdinal = state.nextOrdinal;
    published.pins = published.pins.map((pin) => (pin.number === number ? { ...pin, digest } : pin));
    return replaced;
  }

  /** Names for the pages that changed, and the objects to write. */
  #placeCatalog(
    pages: TableChange['pages'],
    birth: number,
  ): { placed: Map<number, CatalogReference>; objects: NamedObject[] } {
    const { environment, prefix, volumeId } = this.#core;
    const placed = new Map<number, CatalogReference>();
    const objects: NamedObject[] = [];
    for (const { page, entryCount, bytes } of pages) {
      const id = environment.random.bytes(16);
      objects.push({ key: catalogKey(prefix, id), bytes });
      placed.set(page, {
        firstIndex: page * catalogEntriesMax,
        entryCount,
        owner: volumeId,
        id,
        birth,
        bytes: bytes.length,
        digest: sha256(bytes),
      });
    }
    return { placed, objects };
  }

  /** How many of the kept manifests go when `number` is published. */
  #outdated(number: number): number {
    const { kept } = this.#core.published;
    assert(kept.at(-1)?.number === number - 1, 'manifests are numbered without gaps');
    return Math.max(0, kept.length - manifestsKeptMax);
  }

  /** Fail-closed: what cannot be deleted now is an orphan, found by the next opening. */
  async #cleanUp(spoolNames: readonly string[], keys: readonly string[]): Promise<void> {
    const core = this.#core;
    try {
      for (const name of spoolNames) await core.area.remove(name);
      for (const key of keys) await core.environment.store.remove(key);
    } catch (error) {
      core.environment.log?.('warn', 'old objects could not be removed; they take space and do no harm', {
        error: String(error),
      });
    }
  }
}
