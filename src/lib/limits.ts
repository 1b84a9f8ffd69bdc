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
/** How long a killed program may take to vanish before it is given up (it may hang in the kernel). */
export const toolKillMilliseconds = 2_000;

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
/** The largest mount record that is read back. */
export const mountRecordBytesMax = 64 * 1024;
