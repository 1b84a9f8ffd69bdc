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
import {
  absolutePath,
  benchReport,
  byteCount,
  capabilityGrant,
  credential,
  daemonStatus,
  doctorReport,
  anchorText,
  durability,
  eraseReceipt,
  exportReport,
  fillReport,
  finding,
  importReport,
  keyHint,
  keySlot,
  mount,
  name,
  protection,
  reference,
  relative,
  rootText,
  secretBytes,
  sha256Hex,
  snapshotInfo,
  snapshotText,
  verifyReport,
  volumeDetails,
  volumeExport,
  volumeId,
  volumeSpace,
  volumeSummary,
} from './shapes.ts';

export type {
  Credential,
  KeyHint,
  KeySlot,
  VolumeSummary,
  VolumeDetails,
  VolumeExport,
  VolumeSpace,
  SnapshotAnswer,
  EraseReceiptAnswer,
  VerifyAnswer,
  DaemonStatus,
  DoctorReport,
  BenchReport,
  FillAnswer,
  MountAnswer,
} from './shapes.ts';

/** Raised when a request or an answer changes incompatibly; sent by both sides in the header below. */
export const apiVersion = '1';
export const apiVersionHeader = 'caisson-api';

const nothing = z.strictObject({});
const done = z.object({});
const newVolume = {
  name,
  store: z.string().max(4096).optional(),
  protection,
  /** `remote` on a store of another machine and `local` on one of this machine, unless it says otherwise. */
  durability: durability.optional(),
  credential,
  key: keyHint.optional(),
  anchor: anchorText.optional(),
  /** Formats a block device although something else is on it. */
  overwriteDevice: z.boolean().optional(),
};
const withKey = { name, credential: credential.optional() };
const withSnapshot = { ...withKey, snapshot: snapshotText };

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
      anchor: anchorText.optional(),
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
      /** NUMBER, NUMBER:DIGEST, the path of an earlier backup, or the name or id of a snapshot. */
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
  moveVolume: {
    request: z.strictObject({
      ...withKey,
      store: z.string().max(4096),
      /** Leaves the objects in the store that the volume left. */
      keepSource: z.boolean(),
      /** Formats a block device although something else is on it. */
      overwriteDevice: z.boolean().optional(),
    }),
    response: z.object({
      name,
      volumeId,
      store: z.string(),
      objectsCopied: z.number(),
      bytesCopied: byteCount,
      objectsPresent: z.number(),
      passes: z.number(),
      heldMilliseconds: z.number(),
      removedObjects: z.number(),
      sourceRemains: z.boolean(),
    }),
    remote: true,
    progress: true,
  },
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
    response: z.object({
      removedObjects: z.number(),
      /** Of a clone: it keeps what this one needed until it is next opened for writing. */
      parent: relative.nullable().optional(),
    }),
    remote: true,
    progress: false,
  },
  eraseVolume: {
    request: z.strictObject({
      ...withKey,
      keepObjects: z.boolean(),
      /** Although no anchor here knows the volume, so that none refuses its old copies. */
      acceptMissingAnchor: z.boolean(),
    }),
    response: eraseReceipt.extend({ removedObjects: z.number() }),
    remote: true,
    progress: true,
  },
  checkReceipt: {
    request: z.strictObject({ file: absolutePath, volumeId: volumeId.optional() }),
    response: eraseReceipt,
    remote: false,
    progress: false,
  },
  listSnapshots: {
    request: z.strictObject(withKey),
    response: z.object({ snapshots: z.array(snapshotInfo) }),
    remote: true,
    progress: false,
  },
  createSnapshot: {
    request: z.strictObject(withSnapshot),
    /** `frozen`: a file system that is mounted here stood still for it. */
    response: snapshotInfo.extend({ frozen: z.boolean() }),
    remote: true,
    progress: false,
  },
  removeSnapshot: {
    request: z.strictObject(withSnapshot),
    response: snapshotInfo,
    remote: true,
    progress: false,
  },
  restoreSnapshot: {
    request: z.strictObject(withSnapshot),
    response: snapshotInfo,
    remote: true,
    progress: false,
  },
  cleanVolume: {
    request: z.strictObject({
      ...withKey,
      /** Every segment with any garbage in it, not only as many as the space goal asks for. */
      all: z.boolean(),
    }),
    response: z.object({
      segmentsCleaned: z.number(),
      cleanedBytes: byteCount,
      copiedBytes: byteCount,
      orphansRemoved: z.number(),
      findings: z.array(finding),
      space: volumeSpace,
    }),
    remote: true,
    progress: true,
  },
  rekeyVolume: {
    request: z.strictObject({
      ...withKey,
      /** Answers only when everything is sealed anew. */
      wait: z.boolean(),
      /** Makes this the only way in: whoever knows a secret that was removed is shut out. */
      newCredential: credential.optional(),
      key: keyHint.optional(),
    }),
    response: z.object({ keyEpoch: z.number(), complete: z.boolean(), space: volumeSpace }),
    remote: true,
    progress: true,
  },
  cloneVolume: {
    request: z.strictObject({
      ...withKey,
      newName: name,
      /** The state of this moment when absent. */
      snapshot: snapshotText.optional(),
      /** The clone's own; absent: what opens the parent. */
      newCredential: credential.optional(),
      key: keyHint.optional(),
    }),
    response: volumeDetails,
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
    request: z.strictObject({
      path: absolutePath,
      /** What seals it: then it is a keystore, and not a key file. */
      credentials: z.array(credential).min(1).max(2).optional(),
    }),
    response: z.object({ path: z.string() }),
    remote: false,
    progress: false,
  },
  mintCapability: {
    request: z.strictObject({ ...withKey, grant: capabilityGrant }),
    response: z.object({ token: z.string() }),
    remote: true,
    progress: false,
  },
  revokeCapabilities: {
    request: z.strictObject({ name }),
    /** `ended`: exports that a daemon had opened for tokens that hold no longer. */
    response: z.object({
      ...{ name, volumeId, epoch: z.number(), ended: z.number() },
      /** Where a broker keeps the epoch: whether it has heard of it. */
      brokerTold: z.boolean().optional(),
    }),
    remote: true,
    progress: false,
  },
  attachVolume: {
    request: z.strictObject({
      ...withKey,
      name: reference,
      socket: absolutePath.optional(),
      readOnly: z.boolean(),
    }),
    response: volumeExport,
    remote: true,
    progress: false,
  },
  detachVolume: { request: z.strictObject({ name: reference }), response: done, remote: true, progress: false },
  mountVolume: {
    request: z.strictObject({
      ...withKey,
      name: reference,
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
    response: z.object({ name: reference, directory: z.string(), notes: z.array(z.string()) }),
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

export type ErrorBody = z.output<typeof errorBody>;
