/** The bounds of a broker's API and of those who ask it (spec/broker-http.md). The unit stands last in each name. */

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
/** Keys of one tenant. */
export const brokerTenantKeysMax = 100_000;
export const brokerTenantsMax = 10_000;
/** Keys that a rotation wraps anew in one commit. */
export const rotationKeysMax = 256;
/** How often a running broker looks whether its root key was rotated. */
export const rotationWatchMilliseconds = 2_000;
/** Addresses and tenants that rate limits remember. */
export const brokerRateEntriesMax = 65_536;
/** How long a policy is used before it is read again: another instance's change takes effect within it. */
export const brokerPolicyCacheMilliseconds = 2_000;
export const brokerPoliciesCachedMax = 1024;
/** Counters of a session that may arrive out of order. */
export const sessionCounterWindow = 64;
/** What a volume may write while no broker answers, where its policy lets it go on. */
export const anchorOutageRecordsMax = 1_000_000;
/** A signed head of a log that has not grown is given out again for so long. */
export const logHeadAgeMillisecondsMax = 1_000;
/** Rules that a refusal and its line in the log name. */
export const refusalRulesMax = 32;

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
