/** Bounds of attestation, policies and the broker; the others are in limits.ts, which is what everybody imports. */

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
/** Certificates of chains that held, which are not read and not asked about their signature again. */
export const certificatesKnownMax = 256;

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
