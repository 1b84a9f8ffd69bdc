/** A BrokerDatabase in memory, for tests of what stands above it. Commits can be made to fail, or to wait. */
import { checkAdvance } from '../../src/anchor/anchor-order.ts';
import type { AnchorState } from '../../src/anchor/anchor.ts';
import type {
  BrokerDatabase,
  Commit,
  Effect,
  StoredDocument,
  StoredKey,
  StoredSession,
  Tenant,
} from '../../src/broker/state/broker-database.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { toHex } from '../../src/lib/hex.ts';
import { hashLeaf, hashNode } from '../../src/wire/merkle.ts';
import { decodeLeaf, encodeLeaf } from '../../src/wire/release-log.ts';
import type { LoggedEntry } from '../../src/wire/release-log.ts';

interface State {
  readonly tenants: Map<string, Tenant>;
  readonly keys: Map<string, StoredKey>;
  readonly documents: Map<string, StoredDocument>;
  readonly anchors: Map<string, AnchorState>;
  readonly nonces: Set<string>;
  readonly sessions: Map<string, StoredSession>;
  readonly epochs: Map<string, number>;
  readonly settings: Map<string, Uint8Array>;
}

export class MemoryBrokerDatabase implements BrokerDatabase {
  readonly kind = 'sqlite';
  readonly counters = {
    ...{ commits: 0, refusals: 0, groups: 0, groupCommitsLargest: 0, commitsWaiting: 0, logSize: 0, groupSeconds: 0 },
  };
  readonly leaves: Uint8Array[] = [];
  /** Thrown by the next commits, as long as it is set. */
  failure: CaissonError | undefined;
  /** Runs before a commit is applied. */
  beforeCommit: ((change: Commit) => Promise<void>) | undefined;
  #state: State = {
    tenants: new Map(),
    keys: new Map(),
    documents: new Map(),
    anchors: new Map(),
    nonces: new Set(),
    sessions: new Map(),
    epochs: new Map(),
    settings: new Map(),
  };

  get entries(): LoggedEntry[] {
    return this.leaves.map(decodeLeaf);
  }

  async commit(change: Commit) {
    await this.beforeCommit?.(change);
    if (this.failure !== undefined) throw this.failure;
    const next = structuredClone(this.#state);
    for (const effect of change.effects) apply(next, effect);
    const firstIndex = this.leaves.length;
    for (const entry of change.entries) this.leaves.push(encodeLeaf(entry, this.leaves.length));
    this.#state = next;
    return { firstIndex };
  }

  async tenant(name: string) {
    return this.#state.tenants.get(name);
  }
  async tenants() {
    return [...this.#state.tenants.values()];
  }
  async key(tenant: string, name: string) {
    return this.#state.keys.get(`${tenant}/${name}`);
  }
  async keyById(tenant: string, id: Uint8Array) {
    return (await this.keys(tenant)).find((key) => toHex(key.id) === toHex(id));
  }
  async keys(tenant: string) {
    return [...this.#state.keys.values()].filter((key) => key.tenant === tenant);
  }
  async document(tenant: string, kind: StoredDocument['kind'], name: string) {
    return this.#state.documents.get(`${tenant}/${kind}/${name}`);
  }
  async documents(tenant: string, kind: StoredDocument['kind']) {
    return [...this.#state.documents.values()].filter((found) => found.tenant === tenant && found.kind === kind);
  }
  async anchor(tenant: string, volumeId: Uint8Array) {
    return this.#state.anchors.get(`${tenant}/${toHex(volumeId)}`);
  }
  async session(id: Uint8Array) {
    return this.#state.sessions.get(toHex(id));
  }
  async capabilityEpoch(tenant: string, volumeId: Uint8Array) {
    return this.#state.epochs.get(`${tenant}/${toHex(volumeId)}`) ?? 0;
  }
  async setting(name: string) {
    return this.#state.settings.get(name);
  }
  async logLeaves(from: number, count: number) {
    return this.leaves.slice(from, from + count).map((bytes, offset) => ({ index: from + offset, bytes }));
  }
  async logTree() {
    return { size: this.leaves.length, root: rootOfLeaves(this.leaves) };
  }
  async logNodes(ids: readonly { readonly level: number; readonly index: number }[]) {
    return ids.map(({ level, index }) => rootOfLeaves(this.leaves.slice(index * 2 ** level, (index + 1) * 2 ** level)));
  }
  async check() {
    if (this.failure !== undefined) throw this.failure;
  }
  async close() {}
}

function rootOfLeaves(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves;
  if (first === undefined) return new Uint8Array(32);
  if (leaves.length === 1) return hashLeaf(first);
  const split = 2 ** Math.floor(Math.log2(leaves.length - 1));
  return hashNode(rootOfLeaves(leaves.slice(0, split)), rootOfLeaves(leaves.slice(split)));
}

function apply(state: State, effect: Effect): void {
  switch (effect.kind) {
    case 'put-tenant':
      if (effect.isNew && state.tenants.has(effect.tenant.name)) throw refusal('name-exists');
      state.tenants.set(effect.tenant.name, effect.tenant);
      return;
    case 'remove-tenant':
      state.tenants.delete(effect.name);
      for (const map of [state.keys, state.documents, state.anchors])
        for (const place of map.keys()) if (place.startsWith(`${effect.name}/`)) map.delete(place);
      return;
    case 'create-key':
      if (state.keys.has(`${effect.key.tenant}/${effect.key.name}`)) throw refusal('name-exists');
      state.keys.set(`${effect.key.tenant}/${effect.key.name}`, effect.key);
      return;
    case 'erase-key':
      return changeKey(state, effect, { erasedAt: effect.at, wrapped: new Uint8Array(0) });
    case 'set-key-policy':
      return changeKey(state, effect, { policy: effect.policy });
    case 'rewrap-key':
      return changeKey(state, effect, { wrapped: effect.wrapped });
    case 'put-document': {
      const { tenant, kind, name } = effect.document;
      state.documents.set(`${tenant}/${kind}/${name}`, effect.document);
      return;
    }
    case 'remove-document':
      state.documents.delete(`${effect.tenant}/${effect.document}/${effect.name}`);
      return;
    case 'advance-anchors':
      for (const next of effect.states) {
        const place = `${effect.tenant}/${toHex(next.volumeId)}`;
        const held = state.anchors.get(place);
        if (held !== undefined) checkAdvance(held, next);
        state.anchors.set(place, structuredClone(next));
      }
      return;
    case 'forget-anchor':
      state.anchors.delete(`${effect.tenant}/${toHex(effect.volumeId)}`);
      return;
    case 'take-nonce':
      if (state.nonces.has(toHex(effect.nonce))) throw refusal('nonce-used');
      state.nonces.add(toHex(effect.nonce));
      return;
    case 'put-session':
      state.sessions.set(toHex(effect.session.id), effect.session);
      return;
    case 'raise-capability-epoch': {
      const place = `${effect.tenant}/${toHex(effect.volumeId)}`;
      const before = state.epochs.get(place) ?? 0;
      state.epochs.set(place, Math.max(before, effect.atLeast ?? before + 1));
      return;
    }
    case 'put-setting': {
      const held = effect.keepsOther === true ? state.settings.get(effect.name) : undefined;
      if (held !== undefined && toHex(held) !== toHex(effect.value)) throw refusal('name-exists');
      state.settings.set(effect.name, effect.value);
      return;
    }
    case 'expect-setting':
      if (toHex(state.settings.get(effect.name) ?? new Uint8Array(0)) !== toHex(effect.value))
        throw new CaissonError('transient', 'object-changed', `${effect.name} was changed`);
      return;
    default:
      throw new Error('the memory database does not know this effect');
  }
}

function changeKey(
  state: State,
  { tenant, name }: { readonly tenant: string; readonly name: string },
  change: Partial<StoredKey>,
): void {
  const key = state.keys.get(`${tenant}/${name}`);
  if (key?.erasedAt !== undefined || key === undefined) throw refusal('name-missing');
  state.keys.set(`${tenant}/${name}`, { ...key, ...change });
}

function refusal(code: 'name-exists' | 'name-missing' | 'nonce-used'): CaissonError {
  return new CaissonError('denied', code, `the memory database refuses: ${code}`);
}
