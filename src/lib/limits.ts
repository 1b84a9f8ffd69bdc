/**
 * The bounds of queues, buffers and waits, in one place so that they can be found, reasoned about
 * and shown. The unit stands last in each name. A limit that belongs to a file format stays with its
 * codec; one that is only the shape of a private algorithm stays in its file.
 */

// FUSE export (spec/fuse.md)

/** Largest READ and WRITE that is negotiated with the kernel: 1 MiB, which is also its usual ceiling. */
export const fuseTransferBytesMax = 1024 * 1024;
/** READs that wait for the device at one time; each holds a reply buffer of the size above. */
export const fuseReadsInFlightMax = 32;
/** Requests of any kind that wait for the device at one time; beyond it the kernel keeps the rest. */
export const fuseRequestsInFlightMax = 256;
/** Requests served before other work of the event loop gets its turn. */
export const fuseBatchRequestsMax = 64;
/** Extents asked for in one step while SEEK_DATA or SEEK_HOLE looks for its answer. */
export const fuseSeekExtentsMax = 1024;
/** How long the kernel may take to say INIT after the mount. */
export const fuseHandshakeMilliseconds = 10_000;

// Programs of the system that mounting runs (src/sys/run-tool.ts)

/** What is kept of a program's output. */
export const toolOutputBytesMax = 1024 * 1024;
/** Programs that only look or flip a switch: blkid, losetup, mount of the FUSE folder. */
export const toolMilliseconds = 30_000;
/** Programs that may write a lot through the volume: mkfs, mount (journal replay), umount (write-back). */
export const toolSlowMilliseconds = 600_000;
/** How long a file system may stand still for a snapshot; after that its users go on and it counts as in use. */
export const freezeMillisecondsMax = 10_000;
/** How long a killed program may take to vanish before it is given up (it may hang in the kernel). */
export const toolKillMilliseconds = 2_000;
/** How long the output of a program that has ended is still waited for. */
export const toolPipesMilliseconds = 250;

// Mounts (src/daemon/mounts)

/** How long a loop device may take to let go of its file after it was detached. */
export const loopDetachMilliseconds = 5_000;
/** How often something that must change soon is looked at again. */
export const mountPollMilliseconds = 50;
/** Bytes at each end of a device that must be readable and zero before it counts as blank. */
export const blankProbeBytes = 1024 * 1024;
/** Processes that an error names when a mount point is busy. */
export const busyProcessesMax = 5;
/** Processes that are looked at to find those. */
export const busyScanProcessesMax = 4096;
/** Open files that are looked at in each of them. */
export const busyScanFilesMax = 1024;
/** How long that search may take. */
export const busyScanMilliseconds = 2_000;
/** The largest mount record that is read back. */
export const mountRecordBytesMax = 64 * 1024;

// NBD export (spec/nbd.md). What a connection may cost: its read buffer, one reply buffer, and
// `nbdUnsentBytesMax` plus one reply of `nbdPayloadBytesMax`.

/** The largest payload of one READ or WRITE; the protocol calls nothing up to here an attack. */
export const nbdPayloadBytesMax = 32 * 1024 * 1024;
/** A string of the protocol: export name, metadata query, description. */
export const nbdStringBytesMax = 4096;
/** The data of an option that is looked at; longer ones are answered TOO_BIG. */
export const nbdOptionBytesMax = 32 * 1024;
/** The data of an option that is read and dropped to keep the stream in step; longer ones end the connection. */
export const nbdOptionSkipBytesMax = 1024 * 1024;
/** Options in one handshake; `nbdinfo --list` asks a handful for each export. */
export const nbdOptionCountMax = 4096;
/** From accept to the first request, TLS included. */
export const nbdHandshakeMilliseconds = 30_000;
/** A connection that is in the middle of something (half a request, unread replies) and moves no byte for so long is closed. */
export const nbdStallMilliseconds = 120_000;
/** Connections of one server; more are closed at once. */
export const nbdConnectionCountMax = 256;
/** Exports of one server. */
export const nbdExportCountMax = 1024;
/** The read buffer of a connection: stays in the processor's second-level cache. */
export const nbdReadBytes = 256 * 1024;
/** The reply buffer of a connection: a batch of replies leaves in one piece. */
export const nbdReplyBytes = 256 * 1024;
/** A request up to this size, header included, is always seen in one piece. */
export const nbdWholeRequestBytesMax = 16 * 1024;
/** Requests of one connection that wait for the device at the same time. */
export const nbdInFlightCountMax = 256;
/** Reply bytes of one connection that are promised or unsent before it stops taking requests. */
export const nbdUnsentBytesMax = 4 * 1024 * 1024;
/** Reply bytes of all connections of a server beyond their own reply buffers. */
export const nbdServerReplyBytesMax = 256 * 1024 * 1024;
/** Buffers that are kept for reuse when nobody needs them. */
export const nbdIdlePoolBytesMax = 32 * 1024 * 1024;
/** Descriptors in one BLOCK_STATUS reply. */
export const nbdExtentCountMax = 8192;
/** Refused requests of one connection that are logged one by one; the rest are only counted. */
export const nbdLoggedRefusalCountMax = 32;
/** The longest spin that may be asked for. */
export const nbdSpinMicrosecondsMax = 1000;

// store
/** A mutable object (a head) is read whole on every check of its version. */
export const storeMutableObjectBytesMax = 1 << 20;
/** Mutable files kept open because their version is asked for with every flush: heads of open volumes. */
export const storeWatchedFilesMax = 256;
/** Other processes hold the lock of a swap for a few syncs; whoever waits longer gets `timeout`. */
export const storeSwapWaitMillisecondsMax = 10_000;
export const storeSwapRetryMilliseconds = 5;
/** Processes that write into one directory store at the same time. */
export const storeTemporaryFoldersMax = 256;
/** A folder that others remove as it gets empty is made again at most this often in one call. */
export const storeFolderAttemptsMax = 8;

// S3 store (docs/stores.md)

/** Connections to one server; more requests wait for one of them. */
export const s3SocketsMax = 64;
/** Of these, connections for large answers alone; more of them go the ordinary way. */
export const s3DirectSocketsMax = 16;
/** Less than this is asked for the ordinary way. */
export const s3DirectBytesMin = 64 * 1024;
/** The status line and the headers of a large answer. */
export const s3AnswerHeadBytesMax = 16 * 1024;
/** A connection on which no byte moves for so long is given up; a transfer that moves is never cut. */
export const s3IdleMillisecondsMax = 60_000;
/** How long a server may refuse or stay silent before the caller hears of it: outages of minutes are waited out. */
export const s3PatienceMillisecondsMax = 900_000;
/** The same before the server has answered once: a wrong address should not take a quarter of an hour to say so. */
export const s3FirstPatienceMillisecondsMax = 15_000;
/** The first pause is chance times this, each further one may be twice as long, up to the next. */
export const s3PauseMilliseconds = 100;
export const s3PauseMillisecondsMax = 20_000;
/** What is read of an answer that is no success. */
export const s3ErrorBytesMax = 64 * 1024;
/** A page of a listing: 1000 keys. */
export const s3ListBytesMax = 8 * 1024 * 1024;
/** Pages in a row that name no object at all. */
export const s3ListEmptyPagesMax = 1_000;
/** Spool files uploaded at one time. */
export const s3UploadsMax = 8;
/** Pieces in which a spool file is read and sent; two of them are in memory for each upload. */
export const s3UploadPieceBytes = 512 * 1024;
/** One PUT takes so much without multipart; segments stay far below. */
export const s3ObjectBytesMax = 5 * 1024 * 1024 * 1024;
/** A CA file, a token file, a file of profiles. */
export const s3FileBytesMax = 1024 * 1024;
/** Credentials are fetched anew so long before they end … */
export const s3CredentialsRefreshMilliseconds = 300_000;
/** … and waited for once less than this is left. */
export const s3CredentialsUrgentMilliseconds = 60_000;
/** An answer of a credential service. */
export const s3CredentialsBytesMax = 64 * 1024;
/** A credential service lies nearby: silence means there is none. */
export const s3CredentialsMillisecondsMax = 5_000;

// Read cache of remote stores
/** What is fetched and kept in one piece. */
export const readCacheChunkBytes = 256 * 1024;
/** On local disk, unless configured otherwise. */
export const readCacheBytesDefault = 4 * 1024 * 1024 * 1024;
export const readCacheBytesMin = 16 * 1024 * 1024;
/** Stores on other machines whose requests a process counts each on its own; beyond them it counts all together. */
export const storeCountsPlacesMax = 256;
/** Chunks in memory: being fetched, or being written to the cache's file. */
export const readCacheLoadsMax = 160;
/** Neighbours that one request fetches together. */
export const readCacheFetchChunksMax = 16;
/** Of these at most so many that nobody waits for yet. */
export const readCachePrefetchesMax = 128;
/** How far ahead of a sequential reader is fetched. */
export const readAheadBytesMax = 32 * 1024 * 1024;
/** Less than this is not asked for ahead, except at the end: few large requests cost a server less than many small ones. */
export const readAheadStepBytes = 4 * 1024 * 1024;
/** What a reader must have read in order before it counts as sequential. */
export const readAheadAfterBytes = 128 * 1024;

// Admin API and command line
/** Body of one admin request. */
export const adminRequestBytesMax = 64 * 1024;
/** Answer that a client of the admin API takes; a report of a large volume names many objects. */
export const adminResponseBytesMax = 64 * 1024 * 1024;
export const adminConnectionsMax = 64;
/** Until an admin client has sent its whole request. */
export const adminRequestMillisecondsMax = 10_000;
/** Until a daemon that listens must have accepted and begun to answer a status request. */
export const adminConnectMillisecondsMax = 5_000;
export const passphraseBytesMax = 1024;
export const configurationBytesMax = 256 * 1024;
export const volumesFileBytesMax = 4 * 1024 * 1024;
/** Extents of a difference that are handed on at a time. */
export const diffExtentsBatchMax = 1024;
/** The receipt of an erasure; its manifest names at most every clone that needs objects of the volume. */
export const receiptFileBytesMax = 96 * 1024 * 1024;
/** Volumes that one daemon holds open. */
export const openVolumesMax = 256;
/** A background daemon must serve within this time, or its start has failed. */
export const daemonReadyMillisecondsMax = 120_000;
/** A stop waits this long for requests in flight, then closes the connections under them. */
export const daemonDrainMillisecondsMax = 10_000;
/** `caisson stop` waits this long for the daemon to end. */
export const daemonStopMillisecondsMax = 120_000;
/** How long a closed connection is kept so that the last replies reach the client. */
export const nbdLingerMilliseconds = 1_000;
/** One write to a socket; progress of a slow reader is seen at this grain. */
export const nbdSocketWriteBytesMax = 2 * 1024 * 1024;

// Key sources (spec/keys.md, section 5): read before anything is authenticated, so floors matter as much as ceilings.

/** Argon2id memory below this makes a passphrase cheap to guess. */
export const passphraseMemoryKibibytesMin = 64 * 1024;
/** Argon2id memory above this could exhaust the opener's machine. */
export const passphraseMemoryKibibytesMax = 1024 * 1024;
export const passphrasePassesMin = 3;
export const passphrasePassesMax = 64;
/** Memory times passes: what bounds the time of one try. */
export const passphraseWorkKibibytesMax = 4 * 1024 * 1024;
export const passphraseParallelismMin = 1;
export const passphraseParallelismMax = 16;
export const passphraseSaltBytesMin = 16;
export const passphraseSaltBytesMax = 64;

// Volume engine

/** Largest volume, bytes: the map's root then lists 65,536 directories. */
export const volumeBytesMax = 256 * 2 ** 40;
/** Segments open at one time for reading; each is a file handle and two key schedules. */
export const segmentHandlesMax = 512;
/** Units read from the store in one piece by one request. */
export const readUnitsMax = 288;
/** Size of a segment: a few thousand blocks, small enough to rewrite, large enough for an object store. */
export const segmentBytesDefault = 16 * 1024 * 1024;
/** Zeroes written ahead of small flushes in the open segment. */
export const zeroAheadBytesDefault = 512 * 1024;
export const zeroAheadBytesMax = 1024 * 1024;
/** Size of a map object. */
export const mapObjectBytesMax = 8 * 1024 * 1024;
/** Resident block map, unless configured otherwise: a fully random half TiB stays in memory. */
export const mapBytesDefault = 1024 * 1024 * 1024;
/** Sealed bytes in memory that wait for the disk before writers are held back. */
export const spoolBufferBytesDefault = 64 * 1024 * 1024;
/** New segments after which an idle volume makes a checkpoint. */
export const checkpointBytesDefault = 256 * 1024 * 1024;
/** Without a write for this long a volume counts as idle. */
export const idleMilliseconds = 1_000;
/** Time from the first change to a checkpoint. */
export const checkpointMillisecondsDefault = 300_000;
/** Unpublished spool beyond which writers wait: recovery takes about 1.5 s a GiB. */
export const unpublishedBytesDefault = 8 * 1024 * 1024 * 1024;
/** Segments on their way to a store beyond this machine at one time. */
export const uploadsInFlightMax = 6;
/** Bytes that wait for such a store at level `remote` before writers are held back. */
export const uploadPendingBytesMax = 256 * 1024 * 1024;
/** Time between two advances of the anchor that nobody waits for. */
export const anchorMillisecondsDefault = 1_000;
/** Manifests kept behind the newest one. */
export const manifestsKeptMax = 16;
/** Catalog pages that are written at one time, the manifest that names them with the last. */
export const publishObjectsInFlightMax = 8;
/** Segments that are hashed and become objects at one time. */
export const publishSegmentsInFlightMax = 4;
/** Objects that are removed at one time. */
export const removalsInFlightMax = 16;
/** Objects of a store beyond this machine that recovery opens at one time. */
export const recoveryOpensInFlightMax = 8;
/** Files a volume's spool may hold when it is opened. */
export const spoolFilesMax = 65_536;

// Cleaning (docs/cleaning-and-rekey.md)

/** Bytes of segments for 100 of live data beyond which an idle volume cleans … */
export const cleaningIdlePercent = 118;
/** … beyond which one with requests does: the less often a segment is cleaned, the less of it is left to copy … */
export const cleaningBusyPercent = 130;
/** … and beyond which cleaning no longer waits for requests. */
export const cleaningUrgentPercent = 200;
/** Garbage that is left alone at any size, bytes. */
export const cleaningSlackBytesDefault = 16 * 1024 * 1024;
/** What cleaning copies in a second besides twice of what is written meanwhile, while there are requests. */
export const cleaningBytesPerSecondDefault = 32 * 1024 * 1024;
/** A segment with more live data than this share is not worth copying. */
export const cleaningShareMax = 0.95;
/** Sealed anew before others get their turn. */
export const cleaningStepBytes = 128 * 1024;
/** Read in one piece. */
export const cleaningRunBytesMax = 1024 * 1024;
/** A part of the live data that is copied before emptied segments are given up: what cleaning needs in space. */
export const cleaningBatchShare = 1 / 16;
/** Until cleaning that is ahead of its budget looks again. */
export const cleaningPauseMilliseconds = 10;
/** How long a writer waits for a step of cleaning while space runs away. */
export const cleaningPressureMillisecondsMax = 1_000;
/** Segments below this size are merged … */
export const smallSegmentBytesMax = 1024 * 1024;
/** … once there are so many. */
export const smallSegmentsMin = 16;
/** Findings that one report of cleaning lists. */
export const cleaningFindingsMax = 100;
/** Bytes of map objects for 100 of live pages beyond which their pages are written anew … */
export const mapCleaningPercent = 250;
/** … unless there is no more garbage than this. */
export const mapCleaningSlackBytes = 4 * 1024 * 1024;
/** Orphans removed between two looks at the fence. */
export const orphanBatchMax = 100;
/** Keys that one sweep for orphans looks at. */
export const orphanKeysMax = 4 * 1024 * 1024;

// anchor
/** Other processes hold the lock of an anchor file for two syncs at most; whoever waits longer gets `timeout`. */
export const anchorLockWaitMillisecondsMax = 10_000;
export const anchorLockRetryMilliseconds = 5;
/** Map objects open at one time for reading. */
export const mapObjectsOpenMax = 64;

// Hashed images (spec/hashed-format.md)

/** Digests that were checked and are kept: 64 MiB hold those of 32 GiB of image. */
export const hashedTableBytesMax = 64 * 1024 * 1024;
/** Objects open at one time for reading one image. */
export const hashedReadersMax = 256;
/** Leaves read from the store in one piece. */
export const hashedRunLeavesMax = 64;
/** Regions of that size kept for reads that wait. */
export const hashedScratchCountMax = 8;
/** Spans on their way to the store while an image is made; each holds its 8 MiB. */
export const hashedUploadsMax = 4;
/** Nodes and spans that the images of one store may need when one is removed: 32 TiB of content. */
export const hashedObjectsMax = 4 * 1024 * 1024;
/** How long mkfs.erofs may take: it reads a whole directory tree, terabytes at most. */
export const erofsMilliseconds = 24 * 3_600_000;
/** Findings that a verification lists one by one. */
export const hashedFindingsMax = 1_000;

// Demo (docs/demo.md)
/** A command or a program that the demo runs; each takes seconds. */
export const demoCommandMillisecondsMax = 60_000;
/** How long a daemon that was told to end, or was killed, may take to vanish. */
export const demoEndMillisecondsMax = 20_000;
/** Kept of what a command prints. */
export const demoOutputBytesMax = 1024 * 1024;
export const demoPollMilliseconds = 10;
export const demoUnmountPollMilliseconds = 500;
export const demoSpinnerMilliseconds = 100;
/** The files that the demo takes along: enough to be real, few enough for any temporary folder. */
export const demoTreeBytesMax = 48 * 1024 * 1024;
export const demoTreeFileBytesMax = 4 * 1024 * 1024;
export const demoTreeFilesMax = 2_500;
/** Free space without which the demo does not begin. */
export const demoFreeBytesMin = 128 * 1024 * 1024;
/** Pieces of plaintext that are searched for. */
export const demoNeedleCount = 24;
/** The write load before the kill: at least so long and so many acknowledged records, at most so long. */
export const demoLoadMilliseconds = 1_000;
export const demoLoadRecordsMin = 32;
export const demoLoadMillisecondsMax = 30_000;
/** Where records end on the bare volume. */
export const demoRecordsMax = 16_384;
export const demoBulkWritesMax = 64;

// Keyring (spec/keys.md), which manifests carry
export const keyringBytesMax = 64 * 1024;

// Key services (spec/keys.md, section 5.4)

/** How long a service may take for one answer. */
export const keyServiceMillisecondsMax = 15_000;
/** The largest answer that is read from one: an advertisement, a wrapped key, an error. */
export const keyServiceAnswerBytesMax = 64 * 1024;
/** A PIN, a token, a bundle of certificates. */
export const secretFileBytesMax = 256 * 1024;
/** Slots of one PKCS#11 module that are looked at for the token. */
export const pkcs11SlotsMax = 256;
/** Items of one TTLV message, and how deep they nest. */
export const ttlvItemsMax = 1024;
export const ttlvDepthMax = 16;

// Import, copy and backup (docs/import-and-backup.md)

/** Content is read in pieces of this size … */
export const contentPieceBytes = 1024 * 1024;
/** … so many of them at one time: these two bound the memory of an import. */
export const contentReadsInFlightMax = 8;
/** One read of standard input or of the pipe of a program. */
export const contentStreamReadBytes = 1024 * 1024;
/** A piece in which objects of a backup are read and sent. */
export const backupPieceBytes = 1024 * 1024;
/** An object of a backup is in memory whole while it is checked; no Caisson writes larger ones. */
export const backupObjectBytesMax = 256 * 1024 * 1024;
/** Objects of an import that are being created at one time … */
export const backupWritesInFlightMax = 8;
/** … as long as they are not larger than this together. */
export const backupWriteBytesMax = 64 * 1024 * 1024;
/** How often an export begins anew because the writer deleted what it was about to send. */
export const backupRestartsMax = 16;

// Moving a volume between stores (docs/moving.md)

/** Objects on their way from one store to the other at one time … */
export const moveObjectsInFlightMax = 8;
/** … as long as they are not larger than this together. */
export const moveBytesInFlightMax = 64 * 1024 * 1024;
/** A piece in which they are read and hashed; between two pieces others get their turn. */
export const movePieceBytes = 1024 * 1024;
/** What may still be missing in the target when writers are held for the last step. */
export const moveDeltaBytesMax = 8 * 1024 * 1024;
/** Passes after which writers are slowed down, by half more in each … */
export const moveFreePassesMax = 3;
/** … and after which the move gives up. */
export const movePassesMax = 24;
/** Within such a span a slowed writer may go on for part of the time. */
export const moveBrakeMilliseconds = 64;
/** How often that part is halved. */
export const moveBrakeStepsMax = 4;
/** How long writers are held at most; then the volume goes on where it was. */
export const moveHoldMillisecondsMax = 5_000;

export * from './attestation-limits.ts';
export * from './capability-limits.ts';
