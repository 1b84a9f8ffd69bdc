/** The bounds of capabilities and of the socket where they are shown (docs/capabilities.md). The unit stands last in each name. */

/** A file with a token, a key or a public key. */
export const capabilityFileBytesMax = 8192;
export const capabilityRequestBytesMax = 16 * 1024;
/** A list of snapshots is the longest. */
export const capabilityAnswerBytesMax = 1024 * 1024;
export const capabilityConnectionsMax = 64;
/** Until a client has sent its whole request … */
export const capabilityRequestMillisecondsMax = 5_000;
/** … and how often that is looked at. */
export const capabilityConnectionCheckMilliseconds = 1_000;
/** From the request to the answer of the daemon, as a client sees it. */
export const capabilityAnswerMillisecondsMax = 20_000;
/** From challenge to proof. */
export const capabilityChallengeMillisecondsMax = 30_000;
/** Challenges that were answered and are remembered until they would have ended by themselves. */
export const capabilityChallengesUsedMax = 4096;
/** Parts served at one time by one daemon … */
export const capabilityExportsMax = 512;
/** … and of them to whom one first holder handed its capability on. */
export const capabilityExportsPerHolderMax = 64;
/** How often a daemon looks whether what it serves still holds: the clock may have been set, another process may have revoked. */
export const capabilityCheckMilliseconds = 10_000;
/** Of a volume that has as many, no more snapshots are taken by capability. */
export const capabilitySnapshotsMax = 64;
/** Snapshots that are open for parts of them. */
export const capabilitySnapshotsOpenMax = 8;
/** For how long what a broker said of an epoch counts as new … */
export const capabilityEpochFreshMilliseconds = 1_000;
/** … and for how long what is served goes on without a further answer. */
export const capabilityEpochStaleMilliseconds = 60_000;
/** By how much one request of a workload may raise an epoch. */
export const capabilityEpochStepMax = 1_000;
