/**
 * The shapes that the requests and answers of the admin API (schema.ts) are made of.
 */
import { z } from 'zod';
import { keyKinds, keyUrlCharactersMax } from '../lib/key-kinds.ts';

export const name = z.string().min(1).max(63);
/** A name, or `NAME@SNAPSHOT`. */
export const reference = z.string().min(1).max(127);
/** The name of a snapshot, or its id. */
export const snapshotText = z.string().min(1).max(64);
export const absolutePath = z.string().startsWith('/').max(4096);
export const volumeId = z.string().regex(/^[0-9a-f]{32}$/);
export const byteCount = z.number().int().nonnegative();

/** Bytes travel as base64; in memory they are bytes on both sides. */
export const secretBytes = z.union([
  z.instanceof(Uint8Array),
  z
    .string()
    .max(8192)
    .regex(/^[A-Za-z0-9+/]*={0,2}$/)
    .transform((text): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))),
]);

const keyUrl = z.string().min(1).max(keyUrlCharactersMax);

export const credential = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('passphrase'), secret: secretBytes }),
  z.strictObject({ kind: z.literal('key-file'), path: absolutePath }),
  /** A key source outside this process; the URL holds no secret. */
  z.strictObject({ kind: z.literal('url'), url: keyUrl }),
  /** For a volume without protection, which anybody can open. */
  z.strictObject({ kind: z.literal('none') }),
]);

export const keyKind = z.enum(keyKinds);

export const protection = z.enum(['sealed', 'none']);
/** A hashed image is made and opened in another way, and shown in the same. */
export const shownProtection = z.enum(['sealed', 'none', 'hashed']);
export const rootText = z.string().max(128);
/** What remembers the newest state: `file`, `tpm:…`. */
export const anchorText = z.string().min(1).max(2048);
export const durability = z.enum(['local', 'remote', 'anchored']);

/** Where a key may be found again: a file, or the URL of a source. */
export const keyHint = z.object({ kind: keyKind, path: z.string().optional(), url: keyUrl.optional() });

/** What a token grants (spec/capability-format.md, section 2). */
export const capabilityGrant = z.strictObject({
  base: byteCount,
  length: byteCount.optional(),
  rights: z.array(z.enum(['read', 'write', 'trim', 'snapshot', 'resize', 'export', 'delegate'])).max(16),
  notBefore: byteCount,
  expiresAt: byteCount,
  holder: z.string().regex(/^[0-9a-f]{64}$/),
  /** Of a snapshot instead of the volume itself. */
  snapshot: volumeId.optional(),
});

export const keySlot = z.object({ slot: z.number().int(), kind: keyKind, description: z.string() });

export const volumeSummary = z.object({
  name,
  volumeId,
  /** Only of a hashed image: `sha256:…`. */
  root: rootText.optional(),
  protection: shownProtection,
  store: z.string(),
  key: keyHint,
  /** Where it is not a file of this user. */
  anchor: anchorText.optional(),
  open: z.boolean(),
  /** Only where an import or a copy has not ended. */
  unfinished: z.literal(true).optional(),
});

export const publicInfo = z.object({
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

export const recovery = z.object({
  clean: z.boolean(),
  segmentCount: z.number(),
  recordCount: z.number(),
  bytes: byteCount,
  tornBytes: byteCount,
  milliseconds: z.number(),
});

/** What only the key shows. */
export const sealedInfo = z.object({
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

/** Another volume, with its name here if it has one. */
export const relative = z.object({ volumeId, name: name.nullable() });

export const snapshotInfo = z.object({
  id: volumeId,
  name: z.string(),
  time: z.number(),
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  clones: z.array(relative),
});

/** Where a sealed volume comes from and what came from it; public. */
export const lineage = z.object({
  /** Of its signed head. */
  state: z.enum(['open', 'closed', 'erased', 'moved']),
  parent: relative.extend({ manifestNumber: z.number(), manifestDigest: z.string() }).nullable(),
  clones: z.array(relative),
  snapshotCount: z.number(),
});

/** Proof that a volume's keys were destroyed. */
export const eraseReceipt = z.object({
  volumeId,
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  epoch: z.number(),
  /** Milliseconds since 1970, as the eraser's clock said. */
  time: z.number(),
  writerKey: z.string(),
  /** The signed bytes, base64. */
  manifest: z.string(),
});

/** How the space of a volume divides (docs/cleaning-and-rekey.md). */
export const volumeSpace = z.object({
  liveBytes: byteCount,
  deadBytes: byteCount,
  pinnedBytes: byteCount,
  /** Since the volume was opened. */
  cleanedBytes: byteCount,
  copiedBytes: byteCount,
  segmentsCleaned: z.number(),
  /** null: no rekey is under way. */
  rekey: z.object({ keyEpoch: z.number(), bytesLeft: byteCount, bytesAtStart: byteCount }).nullable(),
});

export const volumeDetails = z.object({
  name,
  store: z.string(),
  open: z.boolean(),
  public: publicInfo,
  /** null: the volume is closed and no key was given. */
  sealed: sealedInfo.nullable(),
  /** Only where a sealed volume is inspected. */
  lineage: lineage.optional(),
  /** The same, with the key. */
  snapshots: z.array(snapshotInfo).optional(),
  space: volumeSpace.optional(),
  /** Only of a hashed image. */
  hashed: z.object({ root: rootText, imageBytes: byteCount, dataBytes: byteCount }).optional(),
});

export const finding = z.object({ code: z.string(), object: z.string(), message: z.string() });

export const verifyReport = z.object({
  volumeId,
  /** Only of a hashed image. */
  root: rootText.optional(),
  public: z.boolean(),
  /** Not there where no manifest could be read. */
  protection: shownProtection.optional(),
  manifestNumber: z.number(),
  manifestDigest: z.string(),
  writerKey: z.string(),
  manifestsChecked: z.number(),
  /** Pinned manifests checked besides the chain. */
  pinsChecked: z.number(),
  /** The keys were destroyed; `receipt` proves it. */
  erased: z.boolean(),
  receipt: eraseReceipt.optional(),
  objectsChecked: z.number(),
  objectBytes: byteCount,
  unitsChecked: z.number(),
  orphans: z.array(z.string()),
  findings: z.array(finding),
  freshness: z.enum(['current', 'rolled-back', 'forked', 'not-checked']),
});

export const volumeExport = z.object({
  name: reference,
  volumeId,
  size: byteCount,
  readOnly: z.boolean(),
  protection: shownProtection.optional(),
  /** The NBD socket, and the NBD URI that clients take. */
  socket: z.string(),
  uri: z.string(),
});

export const mount = z.object({
  name: reference,
  directory: z.string(),
  protection: shownProtection.optional(),
  /** How the volume reached the kernel. */
  via: z.string(),
  device: z.string(),
  fileSystem: z.string(),
  /** What an earlier crash had left behind, and how it was put right. */
  notes: z.array(z.string()),
});

export const storeTraffic = z.object({
  /** Its URL. */
  store: z.string(),
  requests: z.number(),
  /** Of these: asked to come later; answered with an error of the server's own, or not at all. */
  throttled: z.number(),
  failed: z.number(),
  retries: z.number(),
  sentBytes: byteCount,
  receivedBytes: byteCount,
});

export const readCacheCounts = z.object({
  hits: z.number(),
  misses: z.number(),
  evictions: z.number(),
  heldBytes: byteCount,
  bytesMax: byteCount,
});

export const daemonStatus = z.object({
  version: z.string(),
  pid: z.number().int(),
  uptimeSeconds: z.number(),
  /** Started by `caisson mount`: it stops with the last volume it holds. */
  background: z.boolean(),
  adminSocket: z.string(),
  tcp: z.string().nullable(),
  sealer: z.string(),
  residentBytes: byteCount,
  /** What went to and came from each store on another machine since the daemon started. */
  stores: z.array(storeTraffic).default([]),
  /** Of the read cache in front of them; null: none was needed yet. */
  readCache: readCacheCounts.nullable().default(null),
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

export const doctorReport = z.object({
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

export const benchReport = z.object({
  sealer: z.string(),
  results: z.array(
    z.object({ job: z.string(), sealedBytesPerSecond: z.number(), plainBytesPerSecond: z.number(), ratio: z.number() }),
  ),
});

export const sha256Hex = z.string().regex(/^[0-9a-fA-F]{64}$/);

export const fillReport = z.object({
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
  /** What a command that was killed had left under this name, and was removed first. */
  clearedObjects: z.number().optional(),
});

export const exportReport = z.object({
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

export const importReport = z.object({
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

export type Credential = z.output<typeof credential>;
export type KeyHint = z.output<typeof keyHint>;
export type KeySlot = z.output<typeof keySlot>;
export type VolumeSummary = z.output<typeof volumeSummary>;
export type VolumeDetails = z.output<typeof volumeDetails>;
export type VolumeSpace = z.output<typeof volumeSpace>;
export type VolumeExport = z.output<typeof volumeExport>;
export type SnapshotAnswer = z.output<typeof snapshotInfo>;
export type EraseReceiptAnswer = z.output<typeof eraseReceipt>;
export type VerifyAnswer = z.output<typeof verifyReport>;
export type DaemonStatus = z.output<typeof daemonStatus>;
export type DoctorReport = z.output<typeof doctorReport>;
export type BenchReport = z.output<typeof benchReport>;
export type FillAnswer = z.output<typeof fillReport>;
export type MountAnswer = z.output<typeof mount>;
