/**
 * The words in which callers talk to the engine. `volume.ts` is the front door that implements them.
 */
import type { Anchor } from '../anchor/anchor.ts';
import type { Sealer } from '../crypto/sealer.ts';
import type { BlockDevice } from '../export/block-device.ts';
import type { KeySource, KeySourceKind } from '../keys/key-source.ts';
import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/random.ts';
import type { Store } from '../store/store.ts';
import type { CapabilityGrant } from '../wire/capability-format.ts';

/** `none` stores plaintext, signed but neither secret nor authenticated block by block; it is named as such wherever it shows. */
export type Protection = 'sealed' | 'none';

/**
 * What FLUSH waits for: the spool on the local disk, the store, or the store and the anchor
 * (docs/durability.md). On a store of this machine `local` and `remote` are the same.
 */
export type Durability = 'local' | 'remote' | 'anchored';

/** What the engine needs from outside; everything is injected so that the simulator can replace it. */
export interface VolumeEnvironment {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly clock: Clock;
  readonly random: Random;
  readonly sealer: Sealer;
  readonly log?: VolumeLog;
  readonly tuning?: Partial<VolumeTuning>;
  /** Computes digests of finished segments away from the caller's thread; in the caller's thread when absent. */
  readonly digester?: ObjectDigester;
}

export type VolumeLog = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  details: Readonly<Record<string, unknown>>,
) => void;

export interface ObjectDigester {
  /** SHA-256 over bytes [0, length) of the spool file `name` of `volumePrefix`. */
  digest(volumePrefix: string, name: string, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface VolumeTuning {
  readonly segmentBytesMax: number;
  /** Zeroes written ahead of small flushes, so that they need no metadata of the file; 0 for none. */
  readonly zeroAheadBytes: number;
  /** Resident memory of the block map, bytes; cold leaves beyond it are read again from the store. */
  readonly mapBytesMax: number;
  /** Sealed bytes waiting for the disk before writers are held back. */
  readonly spoolBufferBytesMax: number;
  /** A checkpoint starts after this many bytes of new segments once the volume is idle … */
  readonly checkpointBytes: number;
  /** … or this long after the first change, milliseconds. */
  readonly checkpointMilliseconds: number;
  /** Unpublished spool beyond which writers wait for the checkpoint; at half of it one starts, idle or not. */
  readonly unpublishedBytesMax: number;
  /** How far apart un-awaited advances of the anchor are, milliseconds. */
  readonly anchorMilliseconds: number;
  /** Garbage that cleaning leaves alone, bytes. */
  readonly cleaningSlackBytes: number;
  /** What cleaning in the background copies while there are requests, besides twice what they write; 0: only on demand. */
  readonly cleaningBytesPerSecond: number;
}

export interface CreateOptions {
  readonly size: number; // bytes, a multiple of 4096
  readonly protection: Protection;
  readonly durability: Durability;
  readonly keySource: KeySource;
}

export interface CloneOptions {
  readonly keySource: KeySource;
  /** Name or id of a snapshot; the state of this moment when absent. */
  readonly snapshot?: string;
  /**
   * Starts a new data key in the parent, so that the clone's keyring opens nothing that the parent writes later.
   * On unless told otherwise; off for clones that stay in the same hands.
   */
  readonly isolate?: boolean;
}

export interface OpenSnapshotOptions {
  readonly volumeId: Uint8Array;
  readonly keySource: KeySource;
  /** Name or id. */
  readonly snapshot: string;
  readonly acceptMissingAnchor?: boolean;
}

export interface DiffOptions {
  readonly volumeId: Uint8Array;
  readonly keySource: KeySource;
  /** Name or id of the earlier snapshot. */
  readonly from: string;
  /** Of the later one; the newest published state when absent. */
  readonly to?: string;
}

export interface ChangedExtent {
  readonly offset: number; // bytes
  readonly length: number; // bytes
  /** What lies there now. */
  readonly kind: 'data' | 'zero' | 'hole';
}

export interface MoveOptions {
  /** Leaves the objects in the store that the volume left; its head there says `moved` all the same. */
  readonly keepSource?: boolean;
  /** For spools in the target; in the caller's thread when absent. */
  readonly digester?: ObjectDigester;
  /** First of bytes copied, then of objects removed from the source. */
  readonly onProgress?: Progress;
  /** The volume goes on in the target from here on. */
  readonly onSwitched?: () => void | Promise<void>;
  /** Its reason is what the move fails with. Once the volume has switched it only ends the removal in the source. */
  readonly signal?: AbortSignal;
}

export interface MoveReport {
  readonly store: string;
  readonly objectsCopied: number;
  readonly bytesCopied: number;
  /** Copied by an earlier attempt. */
  readonly objectsPresent: number;
  readonly passes: number;
  /** How long writers waited. */
  readonly heldMilliseconds: number;
  readonly removedObjects: number;
  /** Something of the volume is still in the source: wanted, or the removal did not come to its end. */
  readonly sourceRemains: boolean;
}

export interface EraseOptions {
  readonly volumeId: Uint8Array;
  readonly keySource: KeySource;
  /** Leaves the sealed bytes where they are; nobody can read them any more. */
  readonly keepObjects?: boolean;
  readonly acceptMissingAnchor?: boolean;
  readonly onProgress?: Progress;
}

/** Proof that a volume's keys were destroyed: its last manifest, signed by its writer. */
export interface EraseReceipt {
  readonly volumeId: string; // 32 hex digits
  readonly manifestNumber: number;
  readonly manifestDigest: string; // 64 hex digits
  readonly epoch: number;
  readonly time: number; // milliseconds since 1970, as the eraser's clock said
  readonly writerKey: string; // 64 hex digits
  /** The signed bytes: `checkReceipt` verifies them anywhere. */
  readonly manifest: Uint8Array;
  readonly removedObjects: number;
}

export interface SnapshotInfo {
  readonly id: string; // 32 hex digits
  readonly name: string;
  readonly time: number; // milliseconds since 1970
  readonly manifestNumber: number;
  readonly manifestDigest: string; // 64 hex digits
  /** Ids of the clones that started from it. */
  readonly clones: readonly string[];
}

export interface OpenOptions {
  readonly volumeId: Uint8Array;
  readonly keySource: KeySource;
  readonly readOnly?: boolean;
  /** Opens although the anchor has never seen this volume: on purpose, as on a new machine. */
  readonly acceptMissingAnchor?: boolean;
}

/** What the store shows to anybody, key or no key. */
export interface PublicVolumeInfo {
  readonly volumeId: string; // 32 hex digits
  readonly formatVersion: number;
  readonly protection: Protection;
  readonly epoch: number;
  readonly manifestNumber: number;
  readonly manifestDigest: string; // 64 hex digits
  readonly writerKey: string; // 64 hex digits, Ed25519
  readonly objectCount: number;
  readonly objectBytes: number;
  readonly keySlots: readonly KeySlotInfo[];
}

export type VolumeState = 'open' | 'closed' | 'erased' | 'moved';

export interface InspectedVolume extends PublicVolumeInfo {
  /** As its signed head says; after a crash it says `open` until the next opening. */
  readonly state: VolumeState;
  /** The state of another volume that a clone started from. */
  readonly parent:
    | {
        readonly volumeId: string; // 32 hex digits
        readonly manifestNumber: number;
        readonly manifestDigest: string; // 64 hex digits
      }
    | undefined;
  /** Ids of the clones that it keeps objects for; gone ones are dropped when it is next opened for writing. */
  readonly clones: readonly string[];
  readonly snapshotCount: number;
}

export interface KeySlotInfo {
  readonly slot: number; // 0 to 31
  readonly kind: KeySourceKind;
  readonly description: string;
}

export interface VolumeInfo extends PublicVolumeInfo {
  readonly size: number;
  readonly durability: Durability;
  readonly readOnly: boolean;
  /** Set once a sync failed: the volume takes no more writes until it is reopened. */
  readonly latched: string | undefined;
  readonly sealer: string;
  readonly spoolBytes: number; // written but not yet named by a manifest
  readonly anchoredSequence: number;
  readonly sequence: number; // records written
  readonly keyEpoch: number;
  readonly recovery: RecoveryReport;
}

/** What opening had to do. */
export interface RecoveryReport {
  readonly clean: boolean; // the last writer closed the volume
  readonly segmentCount: number; // unpublished segments found
  readonly recordCount: number; // records replayed
  readonly bytes: number; // replayed
  readonly tornBytes: number; // cut off at the end as never acknowledged
  readonly milliseconds: number;
}

export interface VolumeStats {
  readonly reads: number;
  readonly writes: number;
  readonly flushes: number;
  readonly trims: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly bytesSealed: number; // written to the spool, headers and tags included
  readonly syncs: number;
  readonly checkpoints: number;
  readonly anchorAdvances: number;
  readonly mapBytesResident: number;
  readonly mapLeavesLoaded: number;
  readonly unanchoredRecords: number;
}

/** What housekeeping counts; sums over the volume's objects, so ask for it as often as one looks, not per request. */
export interface HousekeepingStats {
  readonly liveBytes: number; // of blocks that hold data
  readonly deadBytes: number; // overwritten or trimmed, headers and tags included: what cleaning can give back
  readonly pinnedBytes: number; // of objects that only snapshots and clones need
  readonly cleanedBytes: number; // of segments that cleaning gave up
  readonly copiedBytes: number; // of blocks that it sealed anew for that
  readonly segmentsCleaned: number;
  /** While a rekey is under way. */
  readonly rekey: RekeyInfo | undefined;
}

export interface RekeyInfo {
  readonly keyEpoch: number; // the epoch that replaces all before it
  readonly bytesLeft: number; // of live objects under older keys
  readonly bytesAtStart: number; // the same when this process first looked
}

export interface RekeyOptions {
  /**
   * A new keyring key besides, with this source as its only slot: shuts out whoever knows a secret that was removed.
   * Other slots are added again afterwards.
   */
  readonly renewWith?: KeySource;
}

export interface CleanOptions {
  /** Every segment that holds any garbage, not only as many as the space goal asks for. */
  readonly all?: boolean;
  readonly onProgress?: Progress;
}

export interface CleanReport {
  readonly segmentsCleaned: number;
  readonly cleanedBytes: number;
  readonly copiedBytes: number;
  readonly orphansRemoved: number;
  /** Segments that are not what was written, or could not be read: kept. */
  readonly findings: readonly VerifyFinding[];
}

export interface Volume extends BlockDevice {
  readonly id: string; // 32 hex digits
  info(): VolumeInfo;
  stats(): VolumeStats;
  /** Publishes everything written so far as a new manifest and advances the anchor. */
  checkpoint(): Promise<void>;
  addKey(source: KeySource): Promise<KeySlotInfo>;
  removeKey(slot: number): Promise<void>;
  changeKey(slot: number, source: KeySource): Promise<KeySlotInfo>;
  housekeeping(): HousekeepingStats;
  /** Gives back the space of what was overwritten or trimmed, and removes orphans; in the background it happens by itself. */
  clean(options?: CleanOptions): Promise<CleanReport>;
  /** A new data key from here on; what older ones sealed is sealed anew in the background, progress in `housekeeping`. */
  rekey(options?: RekeyOptions): Promise<void>;
  /** Does now what is left of a rekey; nothing to do where none is under way. */
  finishRekey(onProgress?: Progress): Promise<void>;
  /** Pins the state of this moment under a name, whatever the size of the volume. */
  snapshot(name: string): Promise<SnapshotInfo>;
  /** `snapshot-needed` while a clone starts from it. */
  removeSnapshot(name: string): Promise<void>;
  /** Oldest first. */
  snapshots(): readonly SnapshotInfo[];
  /** Frees what clones kept that are gone now; an opening does the same in the background. */
  releaseGoneClones(): Promise<void>;
  /** A new volume in the same store that starts from this one, or from a snapshot of it. */
  clone(options: CloneOptions): Promise<PublicVolumeInfo>;
  /**
   * Makes the state of a snapshot the newest again, in a new signed manifest, and closes the volume: whoever
   * uses it must read everything anew. What was written since stays in later snapshots only.
   */
  restore(name: string): Promise<void>;
  /**
   * Takes the volume to another store while it is used; afterwards everything happens there. A failure, or the signal,
   * leaves it where it is, and the next attempt finds what was copied.
   */
  move(target: Store, options?: MoveOptions): Promise<MoveReport>;
  /** A token that grants part of the volume to a holder (spec/capability-format.md). */
  mintCapability(epoch: number, grant: CapabilityGrant): Uint8Array;
  /** Flushes, publishes, marks the volume cleanly closed, frees the lock. Idempotent. */
  close(): Promise<void>;
}

export type Progress = (done: number, total: number, unit: string) => void;

export interface VerifyOptions {
  readonly volumeId: Uint8Array;
  /** Without it only what is public is checked: every object's digest and the signed chain. */
  readonly keySource?: KeySource;
  readonly onProgress?: Progress;
}

export interface VerifyReport {
  readonly volumeId: string;
  readonly public: boolean;
  /** As the newest manifest says; not there where none could be read. */
  readonly protection?: Protection;
  readonly manifestNumber: number;
  readonly manifestDigest: string;
  readonly writerKey: string;
  readonly manifestsChecked: number;
  /** The volume's keys were destroyed; the newest manifest is the receipt. */
  readonly erased: boolean;
  /** Pinned manifests checked besides the chain. */
  readonly pinsChecked: number;
  readonly objectsChecked: number;
  readonly objectBytes: number;
  readonly unitsChecked: number; // with the key only
  /** Objects in the store that no manifest names and no recovery needs: harmless remains. */
  readonly orphans: readonly string[];
  /** Every finding, each naming its object; empty means sound. */
  readonly findings: readonly VerifyFinding[];
  /** Whether an anchor was compared, and with what result. */
  readonly freshness: 'current' | 'rolled-back' | 'forked' | 'not-checked';
}

export interface VerifyFinding {
  readonly code: string;
  readonly object: string;
  readonly message: string;
}
