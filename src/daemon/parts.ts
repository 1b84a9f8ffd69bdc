/**
 * What the daemon is made of, as it sees it: every concrete class is named once, in `main.ts`, and
 * reaches the rest through this contract. Each part is loaded when it is first asked for, so that
 * listing volumes does not pay for the engine and serving does not pay for mounting.
 */
import type { Credential, KeyHint } from '../admin/schema.ts';
import type { BlockDevice } from '../export/block-device.ts';
import type { KeySource } from '../keys/key-source.ts';
import type { Store } from '../store/store.ts';
import type { StoreCounts } from '../store/store-counts.ts';
import type {
  ChangedExtent,
  CreateOptions,
  DiffOptions,
  EraseOptions,
  EraseReceipt,
  InspectedVolume,
  OpenOptions,
  OpenSnapshotOptions,
  Progress,
  PublicVolumeInfo,
  SnapshotInfo,
  VerifyOptions,
  VerifyReport,
  Volume,
  VolumeEnvironment,
  VolumeLog,
} from '../volume/volume-types.ts';
import type { Configuration } from './configuration.ts';

/** The front door of the engine, `volume/volume.ts`, and `verifyBlocks` of `volume/verify.ts`. */
export interface Engine {
  createVolume(environment: VolumeEnvironment, options: CreateOptions): Promise<PublicVolumeInfo>;
  openVolume(environment: VolumeEnvironment, options: OpenOptions): Promise<Volume>;
  inspectVolume(environment: VolumeEnvironment, volumeId: Uint8Array): Promise<InspectedVolume>;
  listVolumes(store: Store): Promise<string[]>;
  verifyVolume(environment: VolumeEnvironment, options: VerifyOptions): Promise<VerifyReport>;
  /** Reads every block of a volume that is open already; adds to the report what it finds. */
  verifyBlocks(volume: Volume, report: VerifyReport, onProgress: Progress | undefined): Promise<VerifyReport>;
  removeVolume(environment: VolumeEnvironment, volumeId: Uint8Array): Promise<{ removedObjects: number }>;
  /** Where a volume is whose move was interrupted. */
  locateMoving(
    places: { readonly source: Store; readonly target: Store; readonly anchor: VolumeEnvironment['anchor'] },
    volumeId: Uint8Array,
  ): Promise<'source' | 'target'>;
  /** Empties the store that a volume has left. */
  removeMovedSource(
    environment: VolumeEnvironment,
    volumeId: Uint8Array,
    options: { readonly onProgress: Progress | undefined; readonly signal: AbortSignal | undefined },
  ): Promise<{ readonly removedObjects: number }>;
  openSnapshot(environment: VolumeEnvironment, options: OpenSnapshotOptions): Promise<Volume>;
  listSnapshots(
    environment: VolumeEnvironment,
    options: Pick<OpenSnapshotOptions, 'volumeId' | 'keySource'>,
  ): Promise<readonly SnapshotInfo[]>;
  diffSnapshots(environment: VolumeEnvironment, options: DiffOptions): AsyncIterable<ChangedExtent>;
  eraseVolume(environment: VolumeEnvironment, options: EraseOptions): Promise<EraseReceipt>;
  checkReceipt(bytes: Uint8Array, volumeId: Uint8Array): EraseReceipt;
  readReceipt(environment: VolumeEnvironment, volumeId: Uint8Array): Promise<EraseReceipt | undefined>;
}

/** A store with all that the engine needs around it; belongs to whoever opened it. */
export interface OpenEnvironment {
  readonly environment: VolumeEnvironment;
  close(): Promise<void>;
}

export interface EnvironmentOptions {
  /** Makes the store where there is none; only ever set by `volume create`. */
  readonly create: boolean;
  /** For a volume that is served. What is verified starts with an empty cache: it comes from the store itself. */
  readonly sharesReadCache?: boolean;
  /** Of volumes that are made or named through it (`parseAnchorChoice`); without it the configured one. */
  readonly anchor?: string;
  /** With `create`: takes a block device over although something is on it. */
  readonly overwriteDevice?: boolean;
  readonly log?: VolumeLog;
}

/** Where TLS material lies; read again on SIGHUP. */
export interface TlsFiles {
  readonly certificate?: string;
  readonly key?: string;
  readonly authority?: string;
  readonly pskFile?: string;
}

export type ListenAddress =
  | { readonly kind: 'unix'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly tls: TlsFiles | undefined };

/** One listening NBD server; names are added and taken away while it runs. */
export interface NbdListener {
  /** As it really listens: host:port for TCP, the path for a unix socket. */
  readonly address: string;
  readonly usesTls: boolean;
  add(name: string, device: BlockDevice, options?: { readonly isHidden: boolean }): void;
  /** Clients of the name finish what they asked for, then are disconnected. */
  remove(name: string): Promise<void>;
  /** New connections use the files as they are now; unusable ones are refused and the old stay. */
  reloadTls(): void;
  /** Takes no new connection, finishes requests in flight within a bound, closes. */
  close(): Promise<void>;
}

export interface MountRequest {
  readonly name: string;
  readonly device: BlockDevice;
  readonly nbdSocket: string;
  readonly directory: string;
  /** A snapshot, which may be mounted beside its volume. */
  readonly isSnapshot: boolean;
  readonly makeFileSystem: 'ext4' | 'xfs' | 'btrfs' | undefined;
  /** Makes the file system even where the volume holds one already. */
  readonly force: boolean;
  readonly mountOptions: readonly string[];
}

export interface MountedVolume {
  readonly name: string;
  readonly directory: string;
  readonly via: string;
  readonly device: string;
  readonly fileSystem: string;
  /** What an earlier crash had left behind. */
  readonly notes: readonly string[];
}

export interface UnmountedVolume {
  readonly name: string;
  readonly directory: string;
  readonly notes: readonly string[];
}

/** A file system that stands still: everything written to it is in the volume, and it is clean. */
export interface FrozenFileSystem {
  /** False: it had to go on before that. */
  thaw(): Promise<boolean>;
}

export interface Mounts {
  /** Undefined where that is not possible; it goes on by itself when it takes too long or this process ends. */
  freeze(directory: string): Promise<FrozenFileSystem | undefined>;
  /** `mount-failed` where there is no such directory. */
  requireDirectory(directory: string): Promise<void>;
  mount(request: MountRequest): Promise<MountedVolume>;
  /** Undoes the mount of a volume's name or of a directory, also one that a crashed daemon left. */
  unmount(target: string): Promise<UnmountedVolume>;
}

export interface Parts {
  readonly storeCounts: StoreCounts;
  engine(): Promise<Engine>;
  openEnvironment(storeUrl: string, options: EnvironmentOptions): Promise<OpenEnvironment>;
  keySource(credential: Credential): Promise<KeySource>;
  /** The credential that a volume's hint leads to, or undefined when a person must give it. */
  credentialOf(hint: KeyHint): Promise<Credential | undefined>;
  /** With credentials a keystore that each of them opens. */
  generateKeyFile(path: string, credentials: readonly Credential[]): Promise<void>;
  listenNbd(address: ListenAddress, log: VolumeLog): Promise<NbdListener>;
  mounts(log: VolumeLog): Promise<Mounts>;
  /** Whose name and reason `status` and `doctor` show. */
  sealer(): Promise<{ readonly name: string; readonly reason: string }>;
  readonly configuration: Configuration;
}
