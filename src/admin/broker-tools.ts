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
  readonly logId: string;
  readonly warnings: readonly string[];
}

/** How a command reaches a broker that runs elsewhere. Secrets are read from files, never from arguments. */
export interface BrokerPlace {
  readonly url: string;
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
}

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
