/**
 * The admin API, as data: every operation with the shape of its request and of its answer. The
 * server checks requests against it, the client checks answers, and the types of `operations.ts`
 * come from it, so that the three cannot drift apart.
 *
 * Transport: `POST /v1/<operation>` with a JSON body over the daemon's unix socket. An operation
 * that reports progress answers with lines of JSON, `{"progress":…}` and at last `{"result":…}` or
 * `{"error":…}`; any other answers with one JSON object. Failures have the shape `errorBody`.
 *
 * Strict objects on the way in: a field that a newer client knows and this server does not is an
 * error, never ignored. Answers are read leniently, so that a newer daemon may add fields.
 */
import { z } from 'zod';

/** Raised when a request or an answer changes incompatibly; sent by both sides in the header below. */
export const apiVersion = '1';
export const apiVersionHeader = 'caisson-api';

const name = z.string().min(1).max(63);
const absolutePath = z.string().startsWith('/').max(4096);
const volumeId = z.string().regex(/^[0-9a-f]{32}$/);
const byteCount = z.number().int().nonnegative();

/** Bytes travel as base64; in memory they are bytes on both sides. */
const secretBytes = z.union([
  z.instanceof(Uint8Array),
  z
    .string()
    .max(8192)
    .regex(/^[A-Za-z0-9+/]*={0,2}$/)
    .transform((text): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))),
]);

export const credential = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('passphrase'), secret: secretBytes }),
  z.strictObject({ kind: z.literal('key-file'), path: absolutePath }),
  /** For a volume without protection, which anybody can open. */
  z.strictObject({ kind: z.literal('none') }),
]);

const keyKind = z.enum(['passphrase', 'key-file', 'none']);

const protection = z.enum(['sealed', 'none']);
/** A hashed image is made and opened in another way, and shown in the same. */
const shownProtection = z.enum(['sealed', 'none', 'hashed']);
const rootText = z.string().max(128);
const durability = z.enum(['local', 'remote', 'anchored']);

export const keyHint = z.object({ kind: keyKind, path: z.string().optional() });

export const keySlot = z.object({ slot: z.number().int(), kind: keyKind, description: z.string() });

const volumeSummary = z.object({
  name,
  volumeId,
  /** Only of a hashed image: `sha256:…`. */
  root: rootText.optional(),
  store: z.string(),
  key: keyHint,
  open: z.boolean(),
  /** Only where an import or a copy has not ended. */
  unfinished: z.literal(true).optional(),
});

const publicInfo = z.object({
  volumeId,
  formatVersion: z.number(),
  protection: shownProtection,
  epoch: z.number(),
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  writerKey: z.string(),
  objectCount: z.number(),
  objectBytes: byteCount,
  keySlots: z.array(keySlot),
});

const recovery = z.object({
  clean: z.boolean(),
  segmentCount: z.number(),
  recordCount: z.number(),
  bytes: byteCount,
  tornBytes: byteCount,
  milliseconds: z.number(),
});

/** What only the key shows. */
const sealedInfo = z.object({
  size: byteCount,
  durability,
  readOnly: z.boolean(),
  latched: z.string().nullable(),
  sealer: z.string(),
  spoolBytes: byteCount,
  anchoredSequence: z.number(),
  sequence: z.number(),
  keyEpoch: z.number(),
  recovery,
});

export const volumeDetails = z.object({
  name,
  store: z.string(),
  open: z.boolean(),
  public: publicInfo,
  /** null: the volume is closed and no key was given. */
  sealed: sealedInfo.nullable(),
  /** Only of a hashed image. */
  hashed: z.object({ root: rootText, imageBytes: byteCount, dataBytes: byteCount }).optional(),
});

const finding = z.object({ code: z.string(), object: z.string(), message: z.string() });

const verifyReport = z.object({
  volumeId,
  /** Only of a hashed image. */
  root: rootText.optional(),
  public: z.boolean(),
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  writerKey: z.string(),
  manifestsChecked: z.number(),
  objectsChecked: z.number(),
  objectBytes: byteCount,
  unitsChecked: z.number(),
  orphans: z.array(z.string()),
  findings: z.array(finding),
  freshness: z.enum(['current', 'rolled-back', 'forked', 'not-checked']),
});

const volumeExport = z.object({
  name,
  volumeId,
  size: byteCount,
  readOnly: z.boolean(),
  protection: shownProtection.optional(),
  /** The NBD socket, and the NBD URI that clients take. */
  socket: z.string(),
  uri: z.string(),
});

const mount = z.object({
  name,
  directory: z.string(),
  protection: shownProtection.optional(),
  /** How the volume reached the kernel. */
  via: z.string(),
  device: z.string(),
  fileSystem: z.string(),
  /** What an earlier crash had left behind, and how it was put right. */
  notes: z.array(z.string()),
});

const daemonStatus = z.object({
  version: z.string(),
  pid: z.number().int(),
  uptimeSeconds: z.number(),
  /** Started by `caisson mount`: it stops with the last volume it holds. */
  background: z.boolean(),
  adminSocket: z.string(),
  tcp: z.string().nullable(),
  sealer: z.string(),
  residentBytes: byteCount,
  volumes: z.array(
    volumeExport.extend({
      latched: z.string().nullable(),
      spoolBytes: byteCount,
      unanchoredRecords: z.number(),
      reads: z.number(),
      writes: z.number(),
      flushes: z.number(),
      bytesRead: byteCount,
      bytesWritten: byteCount,
      mountedOn: z.string().nullable(),
    }),
  ),
});

const doctorReport = z.object({
  sound: z.boolean(),
  checks: z.array(
    z.object({
      name: z.string(),
      result: z.enum(['good', 'warning', 'broken']),
      message: z.string(),
      remedy: z.string().nullable(),
    }),
  ),
});

const benchReport = z.object({
  sealer: z.string(),
  results: z.array(
    z.object({ job: z.string(), sealedBytesPerSecond: z.number(), plainBytesPerSecond: z.number(), ratio: z.number() }),
  ),
});

const sha256Hex = z.string().regex(/^[0-9a-fA-F]{64}$/);

const fillReport = z.object({
  volume: volumeDetails,
  sourceBytes: byteCount,
  /** Zeroes behind the source, up to a whole block. */
  paddedBytes: byteCount,
  /** Blocks that are not all zero. */
  writtenBytes: byteCount,
  /** `plain`: of every byte, as sha256sum counts; `sparse`: holes left out (docs/import-and-backup.md). */
  digest: z.enum(['plain', 'sparse']),
  sha256: z.string(),
  seconds: z.number(),
});

const exportReport = z.object({
  volumeId,
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  /** Number of the manifest that an incremental backup starts from. */
  base: z.number().nullable(),
  objects: z.number(),
  bytes: byteCount,
  /** How often the writer made the export begin anew, within the stream. */
  restarts: z.number(),
  seconds: z.number(),
});

const importReport = z.object({
  volumeId,
  store: z.string(),
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  base: z.number().nullable(),
  createdObjects: z.number(),
  presentObjects: z.number(),
  bytes: byteCount,
  wasPresent: z.boolean(),
  seconds: z.number(),
});

const nothing = z.strictObject({});
const done = z.object({});
const newVolume = {
  name,
  store: z.string().max(4096).optional(),
  protection,
  durability,
  credential,
  key: keyHint.optional(),
  /** Formats a block device although something else is on it. */
  overwriteDevice: z.boolean().optional(),
};
const withKey = { name, credential: credential.optional() };

/** Every operation; `remote` ones are offered on the socket, `progress` ones answer in lines. */
export const operationSchemas = {
  status: { request: nothing, response: daemonStatus, remote: true, progress: false },
  stop: { request: nothing, response: done, remote: true, progress: false },
  listVolumes: {
    request: nothing,
    response: z.object({ volumes: z.array(volumeSummary) }),
    remote: true,
    progress: false,
  },
  createVolume: {
    request: z.strictObject({ ...newVolume, size: byteCount }),
    response: volumeDetails,
    remote: true,
    progress: false,
  },
  createHashedVolume: {
    request: z.strictObject({
      name,
      store: z.string().max(4096).optional(),
      /** A directory, an image file or a block device. */
      from: absolutePath,
    }),
    response: z.object({
      volume: volumeDetails,
      root: rootText,
      imageBytes: byteCount,
      dataBytes: byteCount,
      objectsWritten: z.number(),
      bytesWritten: byteCount,
      objectsShared: z.number(),
    }),
    remote: false,
    progress: true,
  },
  adoptVolume: {
    request: z.strictObject({
      ...withKey,
      store: z.string().max(4096),
      volumeId: volumeId.optional(),
      /** Names a hashed image; nothing else is needed then. */
      root: rootText.optional(),
      key: keyHint.optional(),
      /** Formats a block device although something else is on it. */
      overwriteDevice: z.boolean().optional(),
      /** Opens it once although no anchor here knows it, so that the anchor knows it from then on. */
      acceptMissingAnchor: z.boolean(),
    }),
    response: volumeDetails,
    remote: true,
    progress: false,
  },
  importVolume: {
    request: z.strictObject({
      ...newVolume,
      /** An absolute path, or "-" for standard input. */
      from: z.string().min(1).max(4096),
      /** Passphrase of the LUKS volume that the source is. */
      luks: secretBytes.optional(),
      size: byteCount.optional(),
      sha256: sha256Hex.optional(),
    }),
    response: fillReport,
    remote: false,
    progress: true,
  },
  copyVolume: {
    request: z.strictObject({ ...newVolume, source: name, sourceCredential: credential.optional() }),
    response: fillReport,
    remote: true,
    progress: true,
  },
  exportBackup: {
    request: z.strictObject({
      ...withKey,
      /** An absolute path, or "-" for standard output. */
      to: z.string().min(1).max(4096),
      /** NUMBER, NUMBER:DIGEST, or the path of an earlier backup. */
      since: z.string().min(1).max(4096).optional(),
    }),
    response: exportReport,
    remote: false,
    progress: true,
  },
  importBackup: {
    request: z.strictObject({ from: z.string().min(1).max(4096), store: z.string().max(4096) }),
    response: importReport,
    remote: false,
    progress: true,
  },
  /** Publishes what was written to an open volume; of any other there is nothing to publish. */
  checkpointVolume: { request: z.strictObject({ name }), response: done, remote: true, progress: false },
  inspectVolume: {
    request: z.strictObject({ ...withKey, unlock: z.boolean() }),
    response: volumeDetails,
    remote: true,
    progress: false,
  },
  resizeVolume: {
    request: z.strictObject({ ...withKey, size: byteCount }),
    response: volumeDetails,
    remote: true,
    progress: false,
  },
  removeVolume: {
    request: z.strictObject({
      name,
      aliasOnly: z.boolean(),
      /** Of a hashed image: also its objects that no other image needs. */
      deleteObjects: z.boolean().optional(),
      /** Although markers say that somebody else is at work on the store's images. */
      force: z.boolean().optional(),
    }),
    response: z.object({ removedObjects: z.number() }),
    remote: true,
    progress: false,
  },
  verifyVolume: {
    request: z.strictObject({ ...withKey, public: z.boolean() }),
    response: verifyReport,
    remote: true,
    progress: true,
  },
  listKeys: {
    request: z.strictObject({ name }),
    response: z.object({ slots: z.array(keySlot) }),
    remote: true,
    progress: false,
  },
  addKey: {
    request: z.strictObject({ ...withKey, newCredential: credential }),
    response: keySlot,
    remote: true,
    progress: false,
  },
  removeKey: {
    request: z.strictObject({ ...withKey, slot: z.number().int().min(0).max(31) }),
    response: done,
    remote: true,
    progress: false,
  },
  changeKey: {
    request: z.strictObject({
      ...withKey,
      slot: z.number().int().min(0).max(31),
      newCredential: credential,
      key: keyHint.optional(),
    }),
    response: keySlot,
    remote: true,
    progress: false,
  },
  generateKey: {
    request: z.strictObject({ path: absolutePath }),
    response: z.object({ path: z.string() }),
    remote: false,
    progress: false,
  },
  attachVolume: {
    request: z.strictObject({ ...withKey, socket: absolutePath.optional(), readOnly: z.boolean() }),
    response: volumeExport,
    remote: true,
    progress: false,
  },
  detachVolume: { request: z.strictObject({ name }), response: done, remote: true, progress: false },
  mountVolume: {
    request: z.strictObject({
      ...withKey,
      directory: absolutePath,
      makeFileSystem: z.enum(['ext4', 'xfs', 'btrfs']).optional(),
      force: z.boolean(),
      mountOptions: z.array(z.string().max(256)).max(32),
      readOnly: z.boolean(),
    }),
    response: mount,
    remote: true,
    progress: false,
  },
  unmountVolume: {
    request: z.strictObject({ target: z.string().min(1).max(4096) }),
    response: z.object({ name, directory: z.string(), notes: z.array(z.string()) }),
    remote: true,
    progress: false,
  },
  doctor: {
    request: z.strictObject({ store: z.string().max(4096).optional() }),
    response: doctorReport,
    remote: false,
    progress: false,
  },
  bench: {
    request: z.strictObject({ folder: absolutePath.optional(), seconds: z.number().min(0.05).max(60) }),
    response: benchReport,
    remote: false,
    progress: true,
  },
} as const;

export type OperationName = keyof typeof operationSchemas;

/** What a failure looks like, on the wire and on stderr with `-o json`. */
export const errorBody = z.object({
  error: z.object({
    kind: z.string(),
    code: z.string(),
    message: z.string(),
    remedy: z.string().nullable(),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  }),
});

export type Credential = z.output<typeof credential>;
export type KeyHint = z.output<typeof keyHint>;
export type KeySlot = z.output<typeof keySlot>;
export type VolumeSummary = z.output<typeof volumeSummary>;
export type VolumeDetails = z.output<typeof volumeDetails>;
export type VolumeExport = z.output<typeof volumeExport>;
export type VerifyAnswer = z.output<typeof verifyReport>;
export type DaemonStatus = z.output<typeof daemonStatus>;
export type DoctorReport = z.output<typeof doctorReport>;
export type BenchReport = z.output<typeof benchReport>;
export type FillAnswer = z.output<typeof fillReport>;
export type MountAnswer = z.output<typeof mount>;
export type ErrorBody = z.output<typeof errorBody>;
