/**
 * What the commands `broker`, `policy` and `log` ask of the broker's code, as an interface: the
 * command line imports these types alone, `broker/local.ts` carries them out in the command's own
 * process and is loaded by `cli/run.ts` when a command asks for it.
 */

/** What `caisson broker run` was asked to do; it runs in the command's own process. */
export interface BrokerRunRequest {
  /** Absolute path of a YAML file; undefined: the defaults. */
  readonly configurationFile: string | undefined;
  /** HOST:PORT, instead of what the configuration says. */
  readonly listen: string | undefined;
  /** Absolute path of the folder with database, master key and certificates, instead of what the configuration says. */
  readonly stateFolder: string | undefined;
  /** The database is older than the head of its log that is kept elsewhere, and that is meant. */
  readonly acceptsRollback: boolean;
  /** Told once everything is served: an open descriptor that gets one line, then end of file. */
  readonly readyDescriptor: number | undefined;
  readonly onReady: (ready: BrokerReady) => void;
}

export interface BrokerReady {
  readonly url: string;
  /** SHA-256 of the certificate authority that clients pin, hex; undefined where the certificate was given. */
  readonly authorityFingerprint: string | undefined;
  readonly authorityFile: string | undefined;
  /** Set on the first start alone: the file with the token of the root administrator. */
  readonly adminTokenFile: string | undefined;
  /** What workloads pin: the identity of the broker, hex. */
  readonly brokerId: string;
  readonly warnings: readonly string[];
}

/** How a command reaches a broker that runs elsewhere. Secrets are read from files, never from arguments. */
export interface BrokerPlace {
  /** Undefined: a broker of this machine, with the authority and the token of its state folder. */
  readonly url: string | undefined;
  /** PEM of the certificates that the broker's chain must end in. */
  readonly authorityFile: string | undefined;
  /** SHA-256 of a certificate of the broker's chain, hex. */
  readonly fingerprint: string | undefined;
  readonly tokenFile: string | undefined;
}

/** One question to the admin API of a broker: a name of `brokerAdminOperations` and its JSON request. */
export interface BrokerAdmin {
  ask(operation: string, request: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>;
  /** Writes the release log as it stands to a new file: what `caisson log verify` reads. */
  downloadLog(file: string): Promise<{ readonly entries: number; readonly bytes: number }>;
  close(): void;
}

export interface BrokerTools {
  /** Serves until it is told to stop. */
  run(request: BrokerRunRequest): Promise<void>;
  admin(place: BrokerPlace): Promise<BrokerAdmin>;
  policies(): Promise<PolicyTools>;
  logs(): Promise<LogTools>;
  backups(): Promise<BackupTools>;
  collateral(): Promise<CollateralTools>;
  rotation(): Promise<RotationTools>;
}

/** `caisson broker key-rotate`: a new root key below a new master key, on the database that the configuration names. */
export interface RotationTools {
  /** Killed at any moment, it goes on where it was when it is asked again. */
  rotate(request: {
    readonly configurationFile: string | undefined;
    readonly stateFolder: string | undefined;
    /** As `masterKey` of the configuration; undefined: the same, enrolled anew. */
    readonly masterKey: string | undefined;
  }): Promise<{ readonly generation: number; readonly isResumed: boolean; readonly keys: number }>;
}

/** What vendors publish beside evidence, for brokers without a network. */
export interface CollateralTools {
  /** Asks the vendors, or the services that the configuration names, and writes a bundle. */
  fetch(request: CollateralFetchRequest): Promise<CollateralFetchReport>;
}

export interface CollateralFetchRequest {
  /** Absolute path of a broker's YAML file; undefined: the defaults. */
  readonly configurationFile: string | undefined;
  /** A new file, or a bundle: then what is in it is fetched anew as well. */
  readonly file: string;
  /** Models of Intel's platforms, 12 hexadecimal digits each. */
  readonly fmspcs: readonly string[];
  /** Of AMD: `milan`, `genoa`, `turin`. */
  readonly products: readonly string[];
  /** Evidence of workloads: whatever their verification asks for. */
  readonly evidenceFiles: readonly string[];
}

export interface CollateralFetchReport {
  readonly file: string;
  readonly names: readonly string[];
  /** Asked for by model or product, and not published for it. */
  readonly missing: readonly string[];
}

/** Of a broker's SQLite database. Paths are absolute; nothing that exists is replaced. */
export interface BackupTools {
  /**
   * Also while a broker runs on the database. With the master key, as `masterKey` of the configuration, its head is
   * signed; undefined: the key file beside the database, where there is one.
   */
  backup(databaseFile: string, file: string, masterKey: string | undefined): Promise<BackupReport>;
  /** With `key` as in LogCopy, or with the master key, the backup must have a head that the key of the log signed. */
  restore(
    backup: string,
    databaseFile: string,
    key: string | undefined,
    masterKey: string | undefined,
  ): Promise<BackupReport>;
}

export interface BackupReport {
  readonly databaseBytes: number;
  readonly sha256: string;
  readonly logSize: number;
  readonly logRoot: string;
  /** When the backup was made, milliseconds since 1970. */
  readonly time: number;
  readonly isHeadSigned: boolean;
}

/** What `caisson log` does with a downloaded copy. Paths are absolute. Throws `log-tampered` for what does not hold. */
export interface LogTools {
  /** Also writes the newest head to `headFile`, to be given as `since` the next time. */
  verify(copy: LogCopy, headFile: string | undefined): Promise<LogReport>;
  show(copy: LogCopy, request: LogShowRequest): Promise<LogShown>;
  /** The text of a proof: of the line at `index`, or that the log continues `copy.since`. */
  prove(copy: LogCopy, index: number | undefined): Promise<string>;
  checkProof(file: string, key: string | undefined): Promise<LogProofReport>;
}

export interface LogCopy {
  readonly file: string;
  /** 64 hexadecimal digits, or the path of a file with them. Undefined: the copy vouches for itself. */
  readonly key: string | undefined;
  /** A file with an earlier head, or an earlier copy. */
  readonly since: string | undefined;
}

export interface LogReport {
  readonly log: string;
  readonly key: string;
  readonly isKeyGiven: boolean;
  /** Whether an earlier head was given, which the log continues. */
  readonly isContinuation: boolean;
  readonly size: number;
  readonly root: string;
  /** When the last head was signed, milliseconds since 1970. */
  readonly time: number;
  readonly headCount: number;
  readonly kinds: Readonly<Record<string, number>>;
}

export interface LogShowRequest {
  readonly kind: string | undefined;
  readonly tenant: string | undefined;
  readonly from: number;
  readonly count: number;
}

export interface LogShownEntry {
  readonly index: number;
  readonly at: number;
  readonly kind: string;
  readonly tenant: string;
  readonly facts: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

export interface LogShown extends LogReport {
  /** How many there are; `entries` are the first of them. */
  readonly matching: number;
  readonly entries: readonly LogShownEntry[];
}

export type LogProofReport = {
  readonly log: string;
  readonly key: string;
  readonly isKeyGiven: boolean;
  readonly size: number;
  readonly time: number;
} & (
  | { readonly kind: 'inclusion'; readonly entry: LogShownEntry }
  | { readonly kind: 'consistency'; readonly from: number }
);

/** What `caisson policy` does. Paths are absolute. */
export interface PolicyTools {
  check(files: readonly string[], referenceFiles: readonly string[]): Promise<PolicyCheckReport>;
  explain(request: PolicyExplainRequest): Promise<PolicyExplanation>;
  /** Test files, or folders whose `*.test.yaml`, `*.test.yml` and `*.test.json` are run. */
  test(places: readonly string[]): Promise<PolicyTestReport>;
  /** Of one technology, or of all. */
  claims(technology: string | undefined): Promise<readonly PolicyClaims[]>;
  /** A commented policy to start from. */
  example(technology: string): Promise<string>;
}

export interface PolicyCheckReport {
  readonly files: readonly {
    readonly file: string;
    readonly kind: 'policy' | 'reference-values' | 'policy-test';
    readonly problems: readonly PolicyProblem[];
  }[];
}

export interface PolicyProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface PolicyExplainRequest {
  readonly policyFile: string;
  readonly referenceFiles: readonly string[];
  readonly evidenceFile: string;
  readonly collateralFile: string | undefined;
  /** PEM or DER: roots beside the vendors' own. */
  readonly rootFiles: readonly string[];
  /** Milliseconds since 1970; undefined: the time of the system. */
  readonly now: number | undefined;
  readonly keyName: string | undefined;
  /** 32 hexadecimal digits. */
  readonly volumeId: string | undefined;
  readonly suite: string | undefined;
  readonly asks: readonly ('create-key' | 'advance-anchor')[];
}

export interface PolicyRuleOutcome {
  readonly rule: string;
  readonly outcome: 'pass' | 'fail' | 'waived';
  readonly expected: string;
  readonly actual: string;
}

export interface PolicyExplanation {
  readonly allowed: boolean;
  readonly policy: string;
  readonly policyDigest: string;
  readonly profile: string | undefined;
  readonly profiles: readonly {
    readonly profile: string;
    readonly allowed: boolean;
    readonly rules: readonly PolicyRuleOutcome[];
  }[];
  readonly conditions: readonly PolicyRuleOutcome[];
  /** What refused. */
  readonly failures: readonly PolicyRuleOutcome[];
  readonly evidence: {
    readonly technology: string;
    readonly reportData: string;
    readonly claims: readonly { readonly name: string; readonly value: string }[];
    readonly basis: readonly { readonly name: string; readonly value: string }[];
  };
}

export interface PolicyTestReport {
  readonly passed: number;
  readonly failed: number;
  readonly cases: readonly {
    readonly file: string;
    readonly line: number;
    readonly name: string;
    /** Undefined: passed. */
    readonly failure: string | undefined;
  }[];
}

export interface PolicyClaims {
  readonly technology: string;
  readonly claims: readonly {
    readonly name: string;
    readonly kind: string;
    readonly bytes: number | undefined;
    readonly mustBeJudged: boolean;
    readonly isOptional: boolean;
    readonly about: string;
    readonly source: string;
  }[];
}
