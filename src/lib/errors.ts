/**
 * Every failure that leaves a module of Caisson is a CaissonError.
 *
 * `kind` answers "what can the caller do?" and is all that an export translates; `code` names the
 * failure for people, scripts and tests; `remedy` says what to do next. Extra facts are fields in
 * `details`, never text to parse. Secrets must not appear in any of them.
 */

/** What a caller can do: retry, fix the request, distrust the store, reopen, give up. */
export type ErrorKind =
  | 'transient' // the same call may succeed later
  | 'invalid' // the request or configuration is wrong; retrying cannot help
  | 'integrity' // the store shows something this volume never wrote, or an old state
  | 'fenced' // another writer owns the volume now
  | 'denied' // the key, the right or the mode does not allow it
  | 'full' // no room left in the store or within a limit
  | 'io' // the operating system or the store failed
  | 'closed' // the object was closed before or during the call
  | 'bug'; // an invariant of Caisson itself is broken

export type ErrorCode =
  // store
  | 'object-missing'
  | 'object-exists'
  | 'object-changed' // compare-and-swap lost: the version is not the one expected
  | 'object-too-large'
  | 'store-missing'
  | 'store-foreign' // the folder or bucket holds something that is not a Caisson store
  | 'store-read-only'
  | 'store-full'
  | 'store-io'
  | 'store-closed' // the store or one of its readers was closed before the call
  | 'store-open-elsewhere' // one process at a time may have this store open
  | 'device-too-small'
  | 'device-not-blank' // it holds something that formatting would destroy
  | 'store-unreachable' // no answer, or none but "later", for as long as a caller waits
  | 'store-conditions-ignored' // the server does not honour If-Match and If-None-Match: writing would not be safe
  | 'store-credentials-missing'
  | 'store-credentials-refused'
  | 'store-credentials-expired'
  | 'store-access-denied' // known to the server, but not allowed to do this
  | 'store-region-wrong'
  | 'store-clock-skewed'
  // formats
  | 'format-invalid' // bytes that no writer of this format produces
  | 'format-version' // written by another version of Caisson
  // authenticity and freshness
  | 'unit-tampered'
  | 'record-tampered'
  | 'map-tampered'
  | 'manifest-tampered'
  | 'head-tampered'
  | 'keyring-tampered'
  | 'digest-mismatch'
  | 'rolled-back'
  | 'forked'
  | 'anchor-missing'
  | 'anchor-tampered'
  // keys
  | 'key-wrong'
  | 'key-source-unavailable'
  | 'key-parameters-weak'
  | 'key-slot-missing'
  | 'key-slot-last'
  | 'key-slots-full'
  | 'key-epoch-missing' // data sealed under a key epoch that the keyring does not hold
  | 'key-epochs-full'
  // volume life
  | 'volume-missing'
  | 'volume-exists'
  | 'volume-open-elsewhere'
  | 'volume-fenced'
  | 'volume-read-only'
  | 'volume-latched' // a sync failed earlier: the volume is read-only until reopened
  | 'volume-closed'
  | 'volume-busy'
  | 'volume-erased' // its keys were destroyed on purpose
  | 'volume-moved' // it goes on in another store
  | 'volume-needed' // clones read objects of this volume
  | 'volume-inherits' // it reads objects of the volume that it is a clone of
  | 'move-outrun' // the writer changed the volume faster than it could be moved
  | 'snapshot-missing'
  | 'snapshot-exists'
  | 'snapshot-needed' // a clone started from it
  // requests
  | 'argument-invalid'
  | 'name-invalid'
  | 'name-exists'
  | 'name-missing'
  | 'size-invalid'
  | 'range-outside'
  | 'limit-exceeded'
  | 'timeout'
  // exports, daemon, command line
  | 'socket-in-use'
  | 'protocol-violation'
  | 'tls-required'
  | 'daemon-unreachable'
  | 'daemon-refused'
  | 'mount-failed'
  | 'mount-missing'
  | 'tool-missing'
  | 'tool-failed' // a program of the system ended with an error
  | 'check-failed' // the demo saw something that it claims cannot happen
  | 'permission-missing'
  | 'unsupported'
  | 'configuration-invalid'
  | 'cancelled' // the person at the terminal stopped it
  // import, copy and backup
  | 'import-source-missing'
  | 'import-source-invalid' // a folder, a socket, a LUKS volume of a kind that cannot be read here
  | 'import-source-busy' // a block device that is mounted or otherwise taken
  | 'import-source-changed' // it was written to while it was read
  | 'import-ended-early'
  | 'import-too-large'
  | 'volume-unfinished' // an import or a copy of this name was interrupted
  | 'backup-ended-early'
  | 'backup-invalid' // a frame in the wrong place, or bytes that the stream's own manifest does not name
  | 'backup-base-missing'
  | 'backup-moving' // the writer changed the volume faster than it could be exported
  // attestation, broker, capabilities
  | 'evidence-invalid' // bytes that no genuine source of evidence produces
  | 'evidence-untrusted' // a signature, chain or hash of it does not hold
  | 'evidence-missing' // this machine has no source of such evidence
  | 'collateral-missing'
  | 'collateral-stale'
  | 'collateral-untrusted'
  | 'policy-invalid'
  | 'policy-missing'
  | 'policy-refused' // a rule failed; the details say which
  | 'nonce-unknown' // not given by this broker, or given too long ago
  | 'nonce-used'
  | 'proof-invalid' // whoever asks does not hold the key that the evidence names
  | 'session-missing' // ended, or never begun: show evidence again
  | 'tenant-missing'
  | 'broker-unreachable'
  | 'broker-refused'
  | 'broker-untrusted' // it is not the broker that this volume knows
  | 'admin-refused' // not the token of an administrator of this tenant
  | 'rate-limited'
  | 'database-locked'
  | 'database-full'
  | 'database-damaged'
  | 'database-rolled-back'
  | 'database-read-only'
  | 'database-unreachable' // the server of the database does not answer
  | 'log-tampered' // a proof or a signature of the release log does not hold
  | 'capability-invalid'
  | 'capability-refused' // outside what the capability grants
  | 'tpm-failed'
  // Caisson itself
  | 'assertion-failed';

export interface ErrorOptions {
  /** What the reader should do now, one sentence. */
  readonly remedy?: string;
  readonly details?: Readonly<Record<string, string | number | boolean>>;
  readonly cause?: unknown;
}

export class CaissonError extends Error {
  readonly kind: ErrorKind;
  readonly code: ErrorCode;
  readonly remedy: string | undefined;
  readonly details: Readonly<Record<string, string | number | boolean>>;

  constructor(kind: ErrorKind, code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CaissonError';
    this.kind = kind;
    this.code = code;
    this.remedy = options.remedy;
    this.details = options.details ?? {};
  }
}

export function isCaissonError(value: unknown, code?: ErrorCode): value is CaissonError {
  return value instanceof CaissonError && (code === undefined || value.code === code);
}

/** The one-line text of any thrown value, for messages that wrap it. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
