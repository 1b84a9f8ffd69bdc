/**
 * A BrokerDatabase whose log is held against a head that is kept elsewhere. Spec: spec/broker-state.md,
 * "Rollback of the database itself".
 *
 * Invariants:
 * - Before the kept head moves, the log contains it: the head never moves onto another history.
 * - Once the log was found to be behind, every call is refused until the broker is started anew.
 */
import type { AnchorState } from '../../anchor/anchor.ts';
import { equalBytes } from '../../crypto/digest.ts';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { rootOf } from '../../wire/merkle.ts';
import type { NodeId } from '../../wire/merkle.ts';
import type {
  BrokerDatabase,
  Commit,
  CommitReceipt,
  DatabaseCounters,
  LogLeaf,
  StoredDocument,
  StoredKey,
  StoredSession,
  Tenant,
} from '../state/broker-database.ts';
import type { LogHead, LogHeadAnchor } from './log-head-anchor.ts';

export interface AnchoringOptions {
  readonly anchor: LogHeadAnchor;
  readonly clock: Clock;
  /** 0: the head moves before a commit is answered. Raised to what the place of the head allows. */
  readonly everyMilliseconds: number;
  /** The operator says that an older database is meant: it is logged, and the kept head replaced. */
  readonly acceptsRollback: boolean;
}

/** Throws `database-rolled-back` where the log is behind the kept head and nobody accepted that. */
export async function openAnchoredDatabase(
  database: BrokerDatabase,
  options: AnchoringOptions,
): Promise<AnchoredDatabase> {
  const { anchor, clock, acceptsRollback } = options;
  const held = await readHeld(anchor, acceptsRollback);
  if (held === 'tampered' || (held !== undefined && !(await contains(database, held)))) {
    if (held !== 'tampered' && !acceptsRollback) throw await rolledBack(database, held, anchor);
    await acceptRollback(database, held, clock.wall());
    await anchor.replace(await database.logTree());
  }
  const anchored = new AnchoredDatabase(database, options);
  await anchored.anchorNow();
  return anchored;
}

export class AnchoredDatabase implements BrokerDatabase {
  readonly #inner: BrokerDatabase;
  readonly #anchor: LogHeadAnchor;
  readonly #clock: Clock;
  readonly #everyMilliseconds: number;
  #failure: CaissonError | undefined;
  #anchoredSize = 0;
  #failures = 0;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(inner: BrokerDatabase, { anchor, clock, everyMilliseconds }: AnchoringOptions) {
    this.#inner = inner;
    this.#anchor = anchor;
    this.#clock = clock;
    this.#everyMilliseconds = Math.max(everyMilliseconds, anchor.millisecondsMin);
  }

  get kind(): BrokerDatabase['kind'] {
    return this.#inner.kind;
  }

  get counters(): DatabaseCounters {
    return { ...this.#inner.counters, headAnchoredSize: this.#anchoredSize, headAnchorFailures: this.#failures };
  }

  async commit(change: Commit): Promise<CommitReceipt> {
    this.#mustBeNewest();
    const receipt = await this.#inner.commit(change);
    if (this.#everyMilliseconds === 0) await this.anchorNow();
    else this.#cancelTimer ??= this.#clock.after(this.#everyMilliseconds, () => this.#anchorLater());
    return receipt;
  }

  /** Moves the kept head to where the log is now. Calls that wait share one move. */
  anchorNow(): Promise<void> {
    // A move that has begun may have looked at the log before what the caller wants to be covered.
    this.#next ??= (this.#running ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => {
        this.#running = this.#next;
        this.#next = undefined;
        return this.#move();
      });
    return this.#next;
  }

  tenant(name: string): Promise<Tenant | undefined> {
    return this.#newest().tenant(name);
  }

  tenants(): Promise<readonly Tenant[]> {
    return this.#newest().tenants();
  }

  key(tenant: string, name: string): Promise<StoredKey | undefined> {
    return this.#newest().key(tenant, name);
  }

  keyById(tenant: string, id: Uint8Array): Promise<StoredKey | undefined> {
    return this.#newest().keyById(tenant, id);
  }

  keys(tenant: string): Promise<readonly StoredKey[]> {
    return this.#newest().keys(tenant);
  }

  document(tenant: string, kind: StoredDocument['kind'], name: string): Promise<StoredDocument | undefined> {
    return this.#newest().document(tenant, kind, name);
  }

  documents(tenant: string, kind: StoredDocument['kind']): Promise<readonly StoredDocument[]> {
    return this.#newest().documents(tenant, kind);
  }

  anchor(tenant: string, volumeId: Uint8Array): Promise<AnchorState | undefined> {
    return this.#newest().anchor(tenant, volumeId);
  }

  session(id: Uint8Array): Promise<StoredSession | undefined> {
    return this.#newest().session(id);
  }

  capabilityEpoch(tenant: string, volumeId: Uint8Array): Promise<number> {
    return this.#newest().capabilityEpoch(tenant, volumeId);
  }

  setting(name: string): Promise<Uint8Array | undefined> {
    return this.#newest().setting(name);
  }

  logLeaves(from: number, count: number): Promise<readonly LogLeaf[]> {
    return this.#newest().logLeaves(from, count);
  }

  logTree(): Promise<{ readonly size: number; readonly root: Uint8Array }> {
    return this.#newest().logTree();
  }

  logNodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]> {
    return this.#newest().logNodes(ids);
  }

  check(): Promise<void> {
    return this.#newest().check();
  }

  /** The last move included, so that the next start finds the newest head. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelTimer?.();
    // A place that cannot be reached now is told at the next start; the log is whole without it.
    if (this.#failure === undefined) await this.anchorNow().catch(() => undefined);
    await this.#inner.close();
  }

  #anchorLater(): void {
    this.#cancelTimer = undefined;
    this.anchorNow().catch(() => {
      // Counted; without a later commit nobody else would try again.
      if (this.#failure === undefined && !this.#isClosed)
        this.#cancelTimer ??= this.#clock.after(this.#everyMilliseconds, () => this.#anchorLater());
    });
  }

  async #move(): Promise<void> {
    try {
      await this.#moveOnce();
    } catch (error) {
      this.#failures++;
      if (isCaissonError(error, 'database-rolled-back')) this.#failure = error;
      throw error;
    }
  }

  async #moveOnce(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const held = await this.#anchor.read();
      const tree = await this.#inner.logTree();
      if (held !== undefined && !(await contains(this.#inner, held)))
        throw await rolledBack(this.#inner, held, this.#anchor);
      try {
        if (held === undefined || held.size < tree.size) await this.#anchor.advance(tree);
        this.#anchoredSize = Math.max(tree.size, held?.size ?? 0);
        return;
      } catch (error) {
        // Another broker on the same database moved it between our look and our move.
        if (!isCaissonError(error, 'rolled-back') || attempt === movesMax) throw error;
      }
    }
  }

  #newest(): BrokerDatabase {
    this.#mustBeNewest();
    return this.#inner;
  }

  #mustBeNewest(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Brokers that share a database and a place for its head get out of each other's way. */
const movesMax = 8;

async function contains(database: BrokerDatabase, head: LogHead): Promise<boolean> {
  const { size } = await database.logTree();
  if (size < head.size) return false;
  return equalBytes(await rootOf(head.size, (ids) => database.logNodes(ids)), head.root);
}

async function rolledBack(database: BrokerDatabase, held: LogHead, anchor: LogHeadAnchor): Promise<CaissonError> {
  const { size } = await database.logTree();
  const how = size < held.size ? `it has ${size} lines` : `its first ${held.size} lines are others`;
  return new CaissonError(
    'integrity',
    'database-rolled-back',
    `the broker's database is not the newest: ${anchor.describe} keeps a log of ${held.size} lines, ${how}`,
    {
      remedy: 'Put the newest copy back; only if it is lost, start once with --accept-rollback, which is logged.',
      details: { heldSize: held.size, size },
    },
  );
}

/** What cannot be read is accepted as an older state is: by the operator's word alone. */
async function readHeld(anchor: LogHeadAnchor, acceptsRollback: boolean): Promise<LogHead | 'tampered' | undefined> {
  try {
    return await anchor.read();
  } catch (error) {
    if (acceptsRollback && isCaissonError(error, 'anchor-tampered')) return 'tampered';
    throw error;
  }
}

async function acceptRollback(database: BrokerDatabase, held: LogHead | 'tampered', at: number): Promise<void> {
  const tree = await database.logTree();
  const before = held === 'tampered' ? { held: 'unreadable' } : { heldSize: held.size, heldRoot: toHex(held.root) };
  const facts = { ...before, size: tree.size, root: toHex(tree.root) };
  await database.commit({ effects: [], entries: [{ kind: 'restore', at, tenant: '', facts }] });
}
