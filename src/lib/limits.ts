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
/** Chunks in memory: being fetched, or being written to the cache's file. */
export const readCacheLoadsMax = 96;
/** Neighbours that one request fetches together. */
export const readCacheFetchChunksMax = 16;
/** Of these at most so many that nobody waits for yet. */
export const readCachePrefetchesMax = 64;
/** How far ahead of a sequential reader is fetched. */
export const readAheadBytesMax = 16 * 1024 * 1024;
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

// Attestation and the broker (spec/attestation.md, spec/broker-api.md)

/** The largest genuine part is an event log or a quote of 8 KiB with its chain; a hostile one ends here. */
export const evidencePartBytesMax = 256 * 1024;
/** The plaintext of an answer that is sealed to a workload: a key, a session secret, a few names. */
export const envelopePlaintextBytesMax = 64 * 1024;

// Certificates and revocation lists (spec/der.md, spec/attestation.md)

/** The largest DER value that is read: a revocation list of some ten thousand entries. */
export const derBytesMax = 1024 * 1024;
/** Levels of nesting; a certificate has eight. */
export const derDepthMax = 16;
/** Certificates in one chain, root and leaf included. */
export const chainCertificatesMax = 8;
/** The largest certificate; those of TPM makers are the longest, with 2 KiB. */
export const certificateBytesMax = 16 * 1024;
/** Extensions in one certificate or list. */
export const certificateExtensionsMax = 64;
/** Certificates that a bundle of PEM may hold. */
export const pemCertificatesMax = 32;

// Policies (spec/policy.md)

export const policyBytesMax = 128 * 1024;
/** Values, indicators and lines of a policy: what parsing it costs. */
export const policyPiecesMax = 20_000;
/** One value or comment; what it may be as a text is less. */
export const policyScalarBytesMax = 8 * 1024;
/** Any file that the policy commands read: evidence, collateral, roots. */
export const policyFileBytesMax = 4 * 1024 * 1024;
/** A set of reference values. */
export const referenceBytesMax = 512 * 1024;
export const referencePiecesMax = 60_000;
export const policyDepthMax = 12;
/** Members of a mapping, items of a list. */
export const policyItemsMax = 4096;
export const policyProfilesMax = 32;
/** Told at once; the rest is only counted. */
export const policyProblemsMax = 50;
export const policyTextCharactersMax = 1024;
export const policyValueCharactersMax = 512;

// Release log (spec/release-log.md)

/** One leaf, and one line of a downloaded log. */
export const logLineBytesMax = 16 * 1024;
/** A proof that travels by itself: one leaf, two heads and 64 hashes fit well. */
export const logProofBytesMax = 64 * 1024;

// Broker API (spec/broker-http.md)

/** A release carries evidence of several parts in base64. */
export const brokerReleaseBytesMax = 2 * 1024 * 1024;
export const brokerRequestBytesMax = 256 * 1024;
export const brokerAnswerBytesMax = 4 * 1024 * 1024;
export const brokerJsonDepthMax = 8;
/** A policy or a set of reference values. */
export const brokerDocumentBytesMax = 128 * 1024;
/** Anchors that advance together. */
export const anchorGroupStatesMax = 64;
/** From challenge to release; a TPM takes seconds, an operator with a slow machine some more. */
export const nonceMillisecondsMax = 120_000;
/** How far clocks of brokers that share a database may be apart. */
export const nonceEarlyMillisecondsMax = 5_000;
export const brokerConnectionsMax = 2048;
export const brokerHeadersMilliseconds = 5_000;
export const brokerRequestMilliseconds = 15_000;
/** Between two requests on one connection. */
export const brokerIdleMilliseconds = 60_000;
/** A stop waits this long for requests in flight. */
export const brokerDrainMilliseconds = 10_000;
/** Releases that are verified at one time; more wait their turn … */
export const brokerReleasesInFlightMax = 64;
/** … at most so many, the rest are told to come back. */
export const brokerReleasesWaitingMax = 1024;
/** Sessions that are kept in memory, beside the database … */
export const brokerSessionsCachedMax = 16_384;
/** … for so long: another instance's revocation takes effect within it. */
export const brokerSessionCacheMilliseconds = 5_000;
export const brokerSessionMillisecondsDefault = 24 * 3_600_000;
/** Keys of one tenant. */
export const brokerTenantKeysMax = 100_000;
export const brokerTenantsMax = 10_000;
/** Addresses and tenants that rate limits remember. */
export const brokerRateEntriesMax = 65_536;

// TPM 2.0 (docs/tpm.md)

/** A command or an answer; real TPMs stop at 4096. */
export const tpmMessageBytesMax = 8192;
/** To reach a simulator. */
export const tpmConnectMillisecondsMax = 5_000;
/** Commands that only look, hash or sign. Another program's turn at an unshared TPM counts, too. */
export const tpmCommandMillisecondsMax = 60_000;
/** Commands that make keys: slow chips search minutes for RSA primes. */
export const tpmKeyMillisecondsMax = 300_000;
/** How often a command is repeated that the TPM asks to repeat … */
export const tpmRepeatsMax = 20;
/** … and the pause before each. */
export const tpmRepeatMilliseconds = 100;
/** Handles of one kind that are asked for at once. */
export const tpmHandlesMax = 254;
/** What one NV command moves; every TPM 2.0 takes at least so much. */
export const tpmNvPieceBytes = 512;
/** The largest NV index that is read: certificates, reports of a paravisor. */
export const tpmNvIndexBytesMax = 16 * 1024;
/** A PIN. */
export const tpmPinBytesMax = 64;
/** Between two writes of a volume's index, which wears out, unless the anchor says otherwise. */
export const tpmAnchorIntervalMilliseconds = 1_000;
/** Between advances that nobody waits for: 100,000 writes last almost two years. */
export const tpmAnchorRestMilliseconds = 600_000;
/** A cloud's own service on this machine: it is near, or not there. */
export const platformServiceMillisecondsMax = 5_000;
/** What names an anchor. */
export const anchorUrlCharactersMax = 2048;

// AMD SEV-SNP (spec/attestation-snp.md)

/** Certificates in the table that a host hands to its guest; five kinds are known. */
export const snpTableEntriesMax = 16;
/** Requests for AMD's certificates that wait for their turn: one is asked at a time. */
export const kdsWaitingMax = 64;
/** How often the key distribution service is asked for one thing before it is given up. */
export const kdsAttemptsMax = 4;
/** The wait after the first answer of "too many requests", or none; twice as long after each further one. */
export const kdsBackoffMilliseconds = 2_000;
/** The longest such wait, whatever the service asks for. */
export const kdsBackoffMillisecondsMax = 30_000;
/** After it was given up: for so long nobody waits for it again. */
export const kdsRestMilliseconds = 20_000;
/** How long a policy is used before it is read again: another instance's change takes effect within it. */
export const brokerPolicyCacheMilliseconds = 2_000;
export const brokerPoliciesCachedMax = 1024;
/** Counters of a session that may arrive out of order. */
export const sessionCounterWindow = 64;
/** What a volume may write while no broker answers, where its policy lets it go on. */
export const anchorOutageRecordsMax = 1_000_000;
/** Rules that a refusal and its line in the log name. */
export const refusalRulesMax = 32;

// Signed JSON (spec/attestation.md, "Exact JSON")

/** The TCB levels of a platform are some 20 KiB. */
export const jsonBytesMax = 512 * 1024;
export const jsonDepthMax = 24;

// Intel evidence (spec/attestation-intel.md)

/** What the quoting enclave adds to the attestation key before it hashes both; genuine ones are 32 bytes. */
export const intelQeAuthenticationBytesMax = 1024;
/** TCB levels in one list; the longest published has some twenty. */
export const intelTcbLevelsMax = 256;
/** Advisories of one level, and identities of TDX modules. */
export const intelListItemsMax = 1024;

// TPM, Nitro and CCA evidence (spec/attestation-tpm.md, spec/attestation-nitro.md, spec/attestation-cca.md)

/** A log of firmware has some hundred events. */
export const eventLogEventsMax = 4096;
/** CBOR of evidence: a genuine document nests four levels … */
export const cborDepthMax = 8;
/** … and has some hundred items. */
export const cborItemsMax = 4096;
/** AWS gives a document a leaf of three hours; ours answers a challenge of two minutes. */
export const nitroDocumentAgeMillisecondsMax = 300_000;
/** How far the clock of the machine that made it may be ahead. */
export const nitroDocumentEarlyMillisecondsMax = 60_000;

// The broker's database (spec/broker-state.md)

/** Commits that share one transaction. */
export const brokerGroupCommitsMax = 512;
/** Commits that wait for a transaction; more are refused. */
export const brokerCommitsWaitingMax = 16_384;
/** How long a lock of another process on the database is waited for. */
export const brokerLockMillisecondsMax = 5_000;
/** Leaves, or hashes of subtrees, that one question may ask for. */
export const brokerLogLeavesMax = 1_024;
/** Expired nonces and sessions are removed at most this often, by the time of the entries … */
export const brokerPurgeMilliseconds = 60_000;
/** … this long after they expired, so that clocks may differ … */
export const brokerPurgeDelayMilliseconds = 600_000;
/** … and at most so many at one time. */
export const brokerPurgeRowsMax = 10_000;
/** Up to this size every page of a SQLite database is checked when it is opened; beyond it, the newest part of the log. */
export const brokerCheckedFileBytesMax = 128 * 1024 * 1024;
/** Connections of one broker to PostgreSQL: one writes, the others read. */
export const brokerPostgresConnectionsMax = 5;
export const brokerPostgresConnectMilliseconds = 5_000;
/** One statement; a group of the largest size takes a small part of it. */
export const brokerPostgresStatementMilliseconds = 15_000;
/** How often a transaction that PostgreSQL gave up for the sake of another is tried again. */
export const brokerPostgresAttemptsMax = 5;

// Broker client

/** Until a broker has answered one request; verifying evidence takes milliseconds, a TPM elsewhere some more. */
export const brokerAnswerMillisecondsMax = 20_000;
/** Tries of a request that may be repeated. */
export const brokerAttemptsMax = 3;
export const brokerRetryMilliseconds = 200;
/** Connections to one broker. */
export const brokerSocketsMax = 8;
/** A released key waits so long for whoever asked, when it came with a session that somebody else needed first. */
export const releasedKeyMillisecondsMax = 60_000;
/** Anchors that wait for their turn; beyond it callers are told so. */
export const anchorWaitingMax = 4096;
/** While no broker answers, how often it is asked again. */
export const anchorRetryMilliseconds = 1_000;
/** How long an advance waits for a broker that is away, where the policy says wait. */
export const anchorPatienceMilliseconds = 60_000;

// Collateral (spec/collateral.md)

/** One document of a vendor; the largest are revocation lists. */
export const collateralBytesMax = 1024 * 1024;
/** A name, such as `intel/pck/…` with an encrypted PPID. */
export const collateralNameCharactersMax = 1024;
/** The chain that stands in a header, decoded. */
export const collateralIssuerChainBytesMax = 64 * 1024;
/** A bundle of collateral, as text. */
export const collateralBundleBytesMax = 32 * 1024 * 1024;
/** Documents in one bundle, and files in one folder of them. */
export const collateralBundleEntriesMax = 1024;
/** One answer of a vendor, from connecting to its last byte. */
export const collateralAnswerMilliseconds = 10_000;
/** Tries of one question, and the wait after the first that failed; it doubles. */
export const collateralAttemptsMax = 3;
export const collateralRetryMilliseconds = 250;
/** What a vendor may ask to be waited for (Retry-After) before it counts as not answering. */
export const collateralRetryAfterMillisecondsMax = 5_000;
/** Questions to vendors that are under way at one time; more are told to try again. */
export const collateralQuestionsMax = 64;
/** Documents kept in memory, in bytes and in number, and files of the cache on disk. */
export const collateralCacheBytesMax = 64 * 1024 * 1024;
export const collateralCacheEntriesMax = 4096;
/** Documents younger than this are not asked for again. */
export const collateralFreshMilliseconds = 12 * 3_600_000;
/** What was not there is not asked for again so soon. */
export const collateralMissingMilliseconds = 60_000;
/** What a peer keeps or is given for one log. */
export const logHeadBodyBytesMax = 4_096;
/** Other logs whose heads one broker keeps. */
export const peerLogsMax = 256;
/** One question to a peer. */
export const peerMillisecondsMax = 5_000;
/** A TPM's memory wears out: its head does not move more often than this. */
export const tpmHeadMillisecondsMin = 60_000;
/** Entries that `caisson log show` holds at one time. */
export const logShownEntriesMax = 10_000;
/** A piece in which a backup of the broker's database is copied. */
export const brokerBackupPieceBytes = 1024 * 1024;
