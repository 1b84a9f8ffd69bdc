/**
 * BrokerDatabase: everything a broker remembers, behind one contract with two implementations (SQLite
 * within the process, PostgreSQL between several), both checked by `test/conformance/broker-database.ts`.
 *
 * Invariants:
 * - A change and its line in the release log are one transaction: neither is ever there without the other.
 * - `commit` resolves once both are durable. Commits that wait at the same time share one transaction (group
 *   commit); one that is refused leaves the others alone.
 * - Refusals: `rolled-back` and `forked` (anchors: a fenced writer gets `rolled-back` with `heldEpoch` above `epoch` in
 *   the details), `tenant-missing`, `name-exists`, `name-missing`, `object-changed` (a document whose version does not
 *   follow), `nonce-used`, `limit-exceeded` (an entry that is too long).
 * - A database that is locked, full, read-only or damaged is `database-locked`, `database-full`, `database-read-only`,
 *   `database-damaged`; one that does not answer `database-unreachable`: the commit may or may not be there. More
 *   commits waiting than a queue holds is `rate-limited`. One that went back to an older state is `database-rolled-back`.
 * - Tenants are kept apart here: no call sees a row of another tenant.
 * - Secrets are wrapped before they get here.
 */
import type { AnchorState } from '../../anchor/anchor.ts';
import type { LogEntry } from '../../wire/release-log.ts';

export type { LogEntry } from '../../wire/release-log.ts';

export interface Tenant {
  readonly name: string;
  /** SHA-256 of the token that administers this tenant, 32 bytes. */
  readonly adminTokenDigest: Uint8Array;
}

export interface StoredKey {
  readonly tenant: string;
  /** Chosen by who creates it; lower case letters, digits and hyphens, at most 64. */
  readonly name: string;
  /** 16 random bytes. */
  readonly id: Uint8Array;
  /** The key, wrapped by the broker's own key (spec/broker-state.md). Empty once erased. */
  readonly wrapped: Uint8Array;
  /** The name of the policy that guards it. */
  readonly policy: string;
  readonly createdAt: number;
  readonly erasedAt: number | undefined;
}

export interface StoredDocument {
  readonly tenant: string;
  readonly kind: 'policy' | 'reference-values';
  readonly name: string;
  readonly text: string;
  /** Counts changes of this document; 1 when created. */
  readonly version: number;
}

export type Effect =
  | { readonly kind: 'put-tenant'; readonly tenant: Tenant; readonly isNew: boolean }
  /** With everything of it; the only effect of its commit. */
  | { readonly kind: 'remove-tenant'; readonly name: string }
  | { readonly kind: 'create-key'; readonly key: StoredKey }
  /** Leaves the name taken and the wrapped key empty; of an erased key nothing can be changed (`name-missing`). */
  | { readonly kind: 'erase-key'; readonly tenant: string; readonly name: string; readonly at: number }
  | { readonly kind: 'set-key-policy'; readonly tenant: string; readonly name: string; readonly policy: string }
  | { readonly kind: 'rewrap-key'; readonly tenant: string; readonly name: string; readonly wrapped: Uint8Array }
  /** Its version is 1, or the one held plus 1. */
  | { readonly kind: 'put-document'; readonly document: StoredDocument }
  | {
      readonly kind: 'remove-document';
      readonly tenant: string;
      readonly document: StoredDocument['kind'];
      readonly name: string;
    }
  /** All the states of one effect advance, or none does. */
  | { readonly kind: 'advance-anchors'; readonly tenant: string; readonly states: readonly AnchorState[] }
  | { readonly kind: 'forget-anchor'; readonly tenant: string; readonly volumeId: Uint8Array }
  /** A nonce is used once, by whichever instance sees it first. */
  | { readonly kind: 'take-nonce'; readonly nonce: Uint8Array; readonly expiresAt: number }
  | { readonly kind: 'put-session'; readonly session: StoredSession }
  /** By one, or to `atLeast` where it is lower. */
  | {
      readonly kind: 'raise-capability-epoch';
      readonly tenant: string;
      readonly volumeId: Uint8Array;
      readonly atLeast?: number;
    }
  /**
   * For small state of other parts, such as the broker's own sealed keys. With `keepsOther`, another value that is held
   * already is `name-exists`: the first of several writers wins.
   */
  | {
      readonly kind: 'put-setting';
      readonly name: string;
      readonly value: Uint8Array;
      readonly keepsOther?: boolean;
    }
  /** Changes nothing: the commit is `object-changed` where the setting has another value. No value is an empty one. */
  | { readonly kind: 'expect-setting'; readonly name: string; readonly value: Uint8Array };

/** An attested workload's session: what it may do until it ends without showing evidence again. */
export interface StoredSession {
  readonly id: Uint8Array; // 16 bytes
  readonly tenant: string;
  /** The key whose release opened it. */
  readonly keyName: string;
  /** 32 bytes, wrapped by the broker's own key. */
  readonly wrappedSecret: Uint8Array;
  readonly expiresAt: number;
}

export interface Commit {
  readonly effects: readonly Effect[];
  /** At least one: nothing changes without a line. A refusal has a line and no effect but `take-nonce`. */
  readonly entries: readonly LogEntry[];
}

export interface CommitReceipt {
  /** Place of the first entry in the log. */
  readonly firstIndex: number;
}

export interface LogLeaf {
  readonly index: number;
  /** Canonical JSON of the entry, as it was hashed. */
  readonly bytes: Uint8Array;
}

/** What metrics read. Counted since the database was opened, by this instance. */
export interface DatabaseCounters {
  readonly commits: number;
  readonly refusals: number;
  /** Transactions; commits / groups is the size of a group. */
  readonly groups: number;
  readonly groupCommitsLargest: number;
  readonly commitsWaiting: number;
  /** Leaves in the log after the last group of this instance. */
  readonly logSize: number;
  /** Time spent in transactions. */
  readonly groupSeconds: number;
  /** Where the head of the log is kept elsewhere, too: how far it has come … */
  readonly headAnchoredSize?: number;
  /** … and how often it could not be moved. */
  readonly headAnchorFailures?: number;
}

export interface BrokerDatabase {
  readonly kind: 'sqlite' | 'postgresql';
  readonly counters: DatabaseCounters;
  commit(change: Commit): Promise<CommitReceipt>;
  tenant(name: string): Promise<Tenant | undefined>;
  tenants(): Promise<readonly Tenant[]>;
  key(tenant: string, name: string): Promise<StoredKey | undefined>;
  keyById(tenant: string, id: Uint8Array): Promise<StoredKey | undefined>;
  keys(tenant: string): Promise<readonly StoredKey[]>;
  document(tenant: string, kind: StoredDocument['kind'], name: string): Promise<StoredDocument | undefined>;
  documents(tenant: string, kind: StoredDocument['kind']): Promise<readonly StoredDocument[]>;
  anchor(tenant: string, volumeId: Uint8Array): Promise<AnchorState | undefined>;
  session(id: Uint8Array): Promise<StoredSession | undefined>;
  capabilityEpoch(tenant: string, volumeId: Uint8Array): Promise<number>;
  setting(name: string): Promise<Uint8Array | undefined>;
  /** Leaves from `from` on, at most `count`. */
  logLeaves(from: number, count: number): Promise<readonly LogLeaf[]>;
  /** Size and root of the tree over everything committed. */
  logTree(): Promise<{ readonly size: number; readonly root: Uint8Array }>;
  /** Hashes of whole subtrees, for proofs: level 0 are leaves. */
  logNodes(ids: readonly { readonly level: number; readonly index: number }[]): Promise<readonly Uint8Array[]>;
  /** One line for health checks: throws what `commit` would. */
  check(): Promise<void>;
  close(): Promise<void>;
}
