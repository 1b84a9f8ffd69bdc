/**
 * What a group of commits does to the database: every rule of the contract, once for both kinds of
 * database, without one. It looks at rows through a function and gives the rows, leaves and subtrees that
 * are to be written in one transaction.
 *
 * Invariants:
 * - A commit that is refused leaves nothing in the plan: its rows are staged and merged when all of it held.
 * - Each commit sees the rows of those before it in the group.
 */
import { checkAdvance } from '../../anchor/anchor-order.ts';
import type { AnchorState } from '../../anchor/anchor.ts';
import { equalBytes } from '../../crypto/digest.ts';
import { assert } from '../../lib/assert.ts';
import { CaissonError } from '../../lib/errors.ts';
import { hashLeaf } from '../../wire/merkle.ts';
import type { Frontier, TreeNode } from '../../wire/merkle.ts';
import { encodeLeaf } from '../../wire/release-log.ts';
import type { Commit, CommitReceipt, Effect } from './broker-database.ts';
import {
  anchorRow,
  anchorTable,
  asNumber,
  documentRow,
  documentTable,
  epochTable,
  keyIdTable,
  keyRow,
  keyTable,
  keyText,
  nonceTable,
  rowToAnchor,
  rowToDocument,
  rowToKey,
  asBytes,
  sessionRow,
  sessionTable,
  settingTable,
  tenantRow,
  tenantTable,
} from './tables.ts';
import type { Row, Table } from './tables.ts';

/** A row by its key, as it was before the group. */
export type RowSource = (table: Table, key: Row) => Row | undefined;

export interface RowChange {
  readonly table: Table;
  readonly key: Row;
  /** Undefined: it is removed. */
  readonly row: Row | undefined;
}

export interface PlannedLeaf {
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly hash: Uint8Array;
}

export class CommitPlan {
  readonly #source: RowSource;
  readonly #frontier: Frontier;
  readonly #changes = new Map<string, RowChange>();
  readonly leaves: PlannedLeaf[] = [];
  /** Complete subtrees above the leaves. */
  readonly nodes: TreeNode[] = [];
  /** Set by `remove-tenant`, which is alone in its group. */
  removedTenant: string | undefined;
  /** The newest time of an entry: what expired long before it can go. */
  newestAt = 0;

  constructor(frontier: Frontier, source: RowSource) {
    this.#frontier = frontier;
    this.#source = source;
  }

  get frontier(): Frontier {
    return this.#frontier;
  }

  get changes(): Iterable<RowChange> {
    return this.#changes.values();
  }

  /** Throws the refusal; the plan is as before then. */
  add({ effects, entries }: Commit): CommitReceipt {
    assert(entries.length > 0, 'nothing changes without a line in the log');
    assert(this.removedTenant === undefined, 'removing a tenant is alone in its group');
    const staged = new Staging(this.#source, this.#changes);
    for (const effect of effects) staged.apply(effect);
    const firstIndex = this.#frontier.size;
    const leaves = entries.map((entry, place) => encodeLeaf(entry, firstIndex + place));
    // From here on nothing can be refused.
    for (const [text, change] of staged.changes) this.#changes.set(text, change);
    this.removedTenant = staged.removedTenant;
    for (const bytes of leaves) {
      const hash = hashLeaf(bytes);
      this.leaves.push({ index: this.#frontier.size, bytes, hash });
      const [, ...nodes] = this.#frontier.append(hash);
      this.nodes.push(...nodes);
    }
    for (const { at } of entries) this.newestAt = Math.max(this.newestAt, at);
    return { firstIndex };
  }
}

export type Outcome = { readonly receipt: CommitReceipt } | { readonly refusal: CaissonError };

/** What became of one commit of a group; anything but a refusal by name goes to whoever asked, too. */
export function planCommit(plan: CommitPlan, change: Commit): Outcome {
  try {
    return { receipt: plan.add(change) };
  } catch (refusal) {
    // A row that cannot be read is no refusal of this commit alone.
    if (refusal instanceof CaissonError && refusal.code !== 'database-damaged') return { refusal };
    throw refusal;
  }
}

/** A commit that is to be alone in its group: its effect reaches rows that no key names. */
export function isAlone({ effects }: Commit): boolean {
  return effects.some(({ kind }) => kind === 'remove-tenant');
}

/** The rows that an effect looks at, so that a database can fetch those of a group at once. */
export function rowsTouched(effect: Effect): { readonly table: Table; readonly key: Row }[] {
  const tenant = (name: string): { table: Table; key: Row } => ({ table: tenantTable, key: [name] });
  switch (effect.kind) {
    case 'put-tenant':
      return [tenant(effect.tenant.name)];
    case 'remove-tenant':
      return [tenant(effect.name)];
    case 'create-key': {
      const { key } = effect;
      return [
        tenant(key.tenant),
        { table: keyTable, key: [key.tenant, key.name] },
        { table: keyIdTable, key: [key.tenant, key.id] },
      ];
    }
    case 'erase-key':
    case 'set-key-policy':
    case 'rewrap-key':
      return [{ table: keyTable, key: [effect.tenant, effect.name] }];
    case 'put-document': {
      const { document } = effect;
      const key = [document.tenant, document.kind, document.name];
      return [tenant(document.tenant), { table: documentTable, key }];
    }
    case 'remove-document':
      return [{ table: documentTable, key: [effect.tenant, effect.document, effect.name] }];
    case 'advance-anchors': {
      const anchors = effect.states.map(({ volumeId }) => ({ table: anchorTable, key: [effect.tenant, volumeId] }));
      return [tenant(effect.tenant), ...anchors];
    }
    case 'forget-anchor':
      return [{ table: anchorTable, key: [effect.tenant, effect.volumeId] }];
    case 'take-nonce':
      return [{ table: nonceTable, key: [effect.nonce] }];
    case 'put-session':
      return [tenant(effect.session.tenant), { table: sessionTable, key: [effect.session.id] }];
    case 'raise-capability-epoch':
      return [tenant(effect.tenant), { table: epochTable, key: [effect.tenant, effect.volumeId] }];
    case 'put-setting':
    case 'expect-setting':
      return [{ table: settingTable, key: [effect.name] }];
  }
}

/** The rows of one commit, before it is known whether it holds. */
class Staging {
  readonly changes = new Map<string, RowChange>();
  removedTenant: string | undefined;
  readonly #source: RowSource;
  readonly #group: ReadonlyMap<string, RowChange>;

  constructor(source: RowSource, group: ReadonlyMap<string, RowChange>) {
    this.#source = source;
    this.#group = group;
  }

  apply(effect: Effect): void {
    switch (effect.kind) {
      case 'put-tenant': {
        const { tenant, isNew } = effect;
        const held = this.#get(tenantTable, [tenant.name]);
        if (isNew && held !== undefined) throw exists(`there is a tenant ${tenant.name} already`);
        if (!isNew && held === undefined) throw tenantMissing(tenant.name);
        return this.#put(tenantTable, tenantRow(tenant));
      }
      case 'remove-tenant':
        this.#mustHaveTenant(effect.name);
        this.removedTenant = effect.name;
        return this.#remove(tenantTable, [effect.name]);
      case 'create-key':
      case 'erase-key':
      case 'set-key-policy':
      case 'rewrap-key':
        return this.#applyToKey(effect);
      case 'put-document':
      case 'remove-document':
        return this.#applyToDocument(effect);
      case 'advance-anchors':
        this.#mustHaveTenant(effect.tenant);
        for (const state of effect.states) this.#advance(effect.tenant, state);
        return;
      case 'forget-anchor':
        return this.#remove(anchorTable, [effect.tenant, effect.volumeId]);
      case 'take-nonce':
        if (this.#get(nonceTable, [effect.nonce]) !== undefined) throw nonceUsed();
        return this.#put(nonceTable, [effect.nonce, effect.expiresAt]);
      case 'put-session':
        this.#mustHaveTenant(effect.session.tenant);
        return this.#put(sessionTable, sessionRow(effect.session));
      case 'raise-capability-epoch': {
        this.#mustHaveTenant(effect.tenant);
        const held = this.#get(epochTable, [effect.tenant, effect.volumeId]);
        const before = held === undefined ? 0 : asNumber(held[2]);
        const epoch = Math.max(before, effect.atLeast ?? before + 1);
        return this.#put(epochTable, [effect.tenant, effect.volumeId, epoch]);
      }
      case 'put-setting': {
        const held = effect.keepsOther === true ? this.#get(settingTable, [effect.name]) : undefined;
        if (held !== undefined && !equalBytes(asBytes(held[1]), effect.value))
          throw exists(`${effect.name} has another value already`);
        return this.#put(settingTable, [effect.name, effect.value]);
      }
      case 'expect-setting': {
        const held = this.#get(settingTable, [effect.name]);
        if (!equalBytes(held === undefined ? new Uint8Array(0) : asBytes(held[1]), effect.value))
          throw settingChanged(effect.name);
        return;
      }
    }
  }

  #applyToKey(effect: Extract<Effect, { kind: 'create-key' | 'erase-key' | 'set-key-policy' | 'rewrap-key' }>): void {
    if (effect.kind === 'create-key') {
      const { key } = effect;
      this.#mustHaveTenant(key.tenant);
      const isTaken =
        this.#get(keyTable, [key.tenant, key.name]) !== undefined ||
        this.#get(keyIdTable, [key.tenant, key.id]) !== undefined;
      if (isTaken) throw exists(`there is a key ${key.name} already, or was one`);
      this.#put(keyTable, keyRow(key));
      return this.#put(keyIdTable, [key.tenant, key.id, key.name]);
    }
    const held = this.#get(keyTable, [effect.tenant, effect.name]);
    if (held === undefined) throw missing(`there is no key ${effect.name}`);
    const key = rowToKey(held);
    if (key.erasedAt !== undefined) throw missing(`the key ${effect.name} was erased`);
    if (effect.kind === 'set-key-policy') return this.#put(keyTable, keyRow({ ...key, policy: effect.policy }));
    if (effect.kind === 'rewrap-key') return this.#put(keyTable, keyRow({ ...key, wrapped: effect.wrapped }));
    this.#put(keyTable, keyRow({ ...key, wrapped: new Uint8Array(0), erasedAt: effect.at }));
  }

  #applyToDocument(effect: Extract<Effect, { kind: 'put-document' | 'remove-document' }>): void {
    if (effect.kind === 'remove-document') {
      const key = [effect.tenant, effect.document, effect.name];
      if (this.#get(documentTable, key) === undefined)
        throw missing(`there is no ${effect.document} named ${effect.name}`);
      return this.#remove(documentTable, key);
    }
    const { document } = effect;
    this.#mustHaveTenant(document.tenant);
    const held = this.#get(documentTable, [document.tenant, document.kind, document.name]);
    const heldVersion = held === undefined ? 0 : rowToDocument(held).version;
    if (document.version !== heldVersion + 1) {
      throw new CaissonError(
        'transient',
        'object-changed',
        `${document.kind} ${document.name} was changed by somebody else meanwhile: it has version ${heldVersion}`,
        { remedy: 'Look at it again, then change it.', details: { heldVersion, version: document.version } },
      );
    }
    this.#put(documentTable, documentRow(document));
  }

  /** The rule of every anchor (spec/anchor.md); a fenced writer is one whose epoch is before the one held. */
  #advance(tenant: string, state: AnchorState): void {
    const held = this.#get(anchorTable, [tenant, state.volumeId]);
    if (held !== undefined) checkAdvance(rowToAnchor(held), state);
    this.#put(anchorTable, anchorRow(tenant, state));
  }

  #mustHaveTenant(name: string): void {
    if (this.#get(tenantTable, [name]) === undefined) throw tenantMissing(name);
  }

  #get(table: Table, key: Row): Row | undefined {
    const text = keyText(table, key);
    const change = this.changes.get(text) ?? this.#group.get(text);
    return change === undefined ? this.#source(table, key) : change.row;
  }

  #put(table: Table, row: Row): void {
    for (const value of row) {
      if (typeof value === 'number') assert(Number.isSafeInteger(value) && value >= 0, 'numbers of rows are counts');
      if (typeof value === 'string') checkText(value);
    }
    const key = row.slice(0, table.keyCount);
    this.changes.set(keyText(table, row), { table, key, row });
  }

  #remove(table: Table, key: Row): void {
    this.changes.set(keyText(table, key), { table, key, row: undefined });
  }
}

/** PostgreSQL cannot hold either, and SQLite would give other text back. */
function checkText(text: string): void {
  if (!text.includes('\0') && text.isWellFormed()) return;
  throw new CaissonError('invalid', 'argument-invalid', 'text for the database holds what is not a character');
}

function tenantMissing(name: string): CaissonError {
  return new CaissonError('invalid', 'tenant-missing', `there is no tenant ${name}`, {
    remedy: 'Look for its name in the list of tenants.',
  });
}

function settingChanged(name: string): CaissonError {
  return new CaissonError('transient', 'object-changed', `${name} was changed by another process meanwhile`, {
    remedy: 'Start this broker anew; another one may answer at once.',
    details: { setting: name },
  });
}

function exists(message: string): CaissonError {
  return new CaissonError('invalid', 'name-exists', message, { remedy: 'Choose another name.' });
}

function missing(message: string): CaissonError {
  return new CaissonError('invalid', 'name-missing', message, { remedy: 'Look for its name in the list.' });
}

function nonceUsed(): CaissonError {
  return new CaissonError('denied', 'nonce-used', 'this nonce was used before', {
    remedy: 'Ask for a new challenge and answer that.',
  });
}
