/**
 * What administrators ask of a broker (spec/broker-http.md, "Administration").
 *
 * Invariant: every change and its line in the log are one commit; a token leaves once, in the answer that makes it.
 */
import { equalBytes, sha256 } from '../../crypto/digest.ts';
import { CaissonError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { toHex } from '../../lib/hex.ts';
import { brokerTenantKeysMax, brokerTenantsMax } from '../../lib/broker-limits.ts';
import type { Random } from '../../lib/random.ts';
import type { AdminAnswer, AdminOperationName, AdminRequest } from '../../wire/broker-schema.ts';
import { adminOperations } from '../../wire/broker-schema.ts';
import type { LogEntry, LogFact } from '../../wire/release-log.ts';
import type { BrokerDatabase, CommitReceipt, Effect, StoredDocument, StoredKey } from '../state/broker-database.ts';
import { rootTenant, tokenDigest } from './broker-keys.ts';
import type { BrokerKeys } from './broker-keys.ts';
import type { Policies } from './policies.ts';
import { revocationSetting, revocationValue } from './sessions.ts';
import type { Sessions } from './sessions.ts';
import { newVolumeKey, rewrapped } from './volume-keys.ts';

export interface AdminParts {
  readonly version: string;
  readonly database: BrokerDatabase;
  readonly keys: BrokerKeys;
  readonly policies: Policies;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly random: Random;
}

type Handlers = { readonly [Name in AdminOperationName]: (request: AdminRequest<Name>) => Promise<AdminAnswer<Name>> };

const documentKindOf = { policy: 'policy', reference: 'reference-values' } as const;
const changeOf = { policy: 'policy-change', reference: 'reference-change' } as const;
type DocumentWord = keyof typeof documentKindOf;

export class AdminService {
  readonly #parts: AdminParts;
  readonly #handlers: Handlers;

  constructor(parts: AdminParts) {
    this.#parts = parts;
    this.#handlers = {
      ...this.#tenantHandlers(),
      ...this.#keyHandlers(),
      ...this.#documentHandlers(),
      ...this.#otherHandlers(),
    };
  }

  /** `admin-refused` unless the token may ask this; which of both is wrong is not told. */
  async authorize(name: AdminOperationName, tenant: string | undefined, token: string): Promise<void> {
    const digest = tokenDigest(token);
    const { database } = this.#parts;
    const root = await database.tenant(rootTenant);
    if (root !== undefined && equalBytes(root.adminTokenDigest, digest)) return;
    if (adminOperations[name].who === 'tenant' && tenant !== undefined && tenant !== rootTenant) {
      const found = await database.tenant(tenant);
      if (found !== undefined && equalBytes(found.adminTokenDigest, digest)) return;
    }
    throw adminRefused();
  }

  /** For what only the root administrator may read. */
  async authorizeRoot(token: string): Promise<void> {
    await this.authorize('tenant-ls', undefined, token);
  }

  async run<Name extends AdminOperationName>(name: Name, request: AdminRequest<Name>): Promise<AdminAnswer<Name>> {
    return this.#handlers[name](request as never);
  }

  #tenantHandlers() {
    const { database, random } = this.#parts;
    const put = async (name: string, isNew: boolean): Promise<{ token: string }> => {
      const token = toHex(random.bytes(32));
      const tenant = { name, adminTokenDigest: tokenDigest(token) };
      await this.#change('tenant-change', name, { change: isNew ? 'added' : 'token-replaced' }, [
        { kind: 'put-tenant', tenant, isNew },
      ]);
      return { token };
    };
    return {
      'tenant-ls': async () => ({
        tenants: (await database.tenants()).map(({ name }) => name).filter((name) => name !== rootTenant),
      }),
      'tenant-add': async ({ tenant }) => {
        if ((await database.tenants()).length >= brokerTenantsMax) throw full('tenants', brokerTenantsMax);
        return put(tenant, true);
      },
      'tenant-token': async ({ tenant }) => {
        await this.#mustKnow(tenant, true);
        return put(tenant, false);
      },
      'tenant-rm': async ({ tenant }) => {
        await this.#mustKnow(tenant);
        await this.#change('tenant-change', tenant, { change: 'removed' }, [{ kind: 'remove-tenant', name: tenant }]);
        return {};
      },
    } satisfies Partial<Handlers>;
  }

  #keyHandlers() {
    const { database, keys, random, clock } = this.#parts;
    return {
      'key-ls': async ({ tenant }) => {
        await this.#mustKnow(tenant);
        return { keys: (await database.keys(tenant)).map(keyRow) };
      },
      'key-create': async ({ tenant, key: name, policy }) => {
        await this.#mustKnow(tenant);
        await this.#mustHavePolicy(tenant, policy);
        if ((await database.keys(tenant)).length >= brokerTenantKeysMax) throw full('keys', brokerTenantKeysMax);
        const { key, stored } = newVolumeKey({ tenant, key: name }, policy, keys, random, clock.wall());
        key.fill(0);
        const id = toHex(stored.id);
        await this.#change('key-create', tenant, { key: name, keyId: id, policy }, [
          { kind: 'create-key', key: stored },
          keys.expected,
        ]);
        return { id };
      },
      'key-erase': async ({ tenant, key: name }) => {
        const { id } = await this.#key(tenant, name);
        const at = clock.wall();
        const facts = { key: name, keyId: toHex(id) };
        const { firstIndex } = await this.#change(
          'key-erase',
          tenant,
          facts,
          [{ kind: 'erase-key', tenant, name, at }],
          at,
        );
        this.#parts.sessions.forget();
        return { tenant, key: name, id: toHex(id), erasedAt: at, logIndex: firstIndex, brokerId: toHex(keys.brokerId) };
      },
      'key-set-policy': async ({ tenant, key: name, policy }) => {
        const { id } = await this.#key(tenant, name);
        await this.#mustHavePolicy(tenant, policy);
        const facts = { change: 'key-policy', key: name, keyId: toHex(id), policy };
        await this.#change('admin-change', tenant, facts, [{ kind: 'set-key-policy', tenant, name, policy }]);
        return {};
      },
      'key-rewrap': async ({ tenant }) => {
        await this.#mustKnow(tenant);
        const living = (await database.keys(tenant)).filter(({ erasedAt }) => erasedAt === undefined);
        if (living.length === 0) return { keys: 0 };
        const effects = living.map((stored): Effect => {
          const wrapped = rewrapped(stored, keys);
          return { kind: 'rewrap-key', tenant, name: stored.name, wrapped };
        });
        const facts = { change: 'keys-rewrapped', keys: living.length };
        await this.#change('admin-change', tenant, facts, [...effects, keys.expected]);
        return { keys: living.length };
      },
    } satisfies Partial<Handlers>;
  }

  #documentHandlers() {
    return {
      'policy-put': (request) => this.#putDocument('policy', request),
      'policy-ls': (request) => this.#listDocuments('policy', request),
      'policy-show': (request) => this.#showDocument('policy', request),
      'policy-rm': (request) => this.#removeDocument('policy', request),
      'reference-put': (request) => this.#putDocument('reference', request),
      'reference-ls': (request) => this.#listDocuments('reference', request),
      'reference-show': (request) => this.#showDocument('reference', request),
      'reference-rm': (request) => this.#removeDocument('reference', request),
    } satisfies Partial<Handlers>;
  }

  #otherHandlers() {
    const { database, keys, sessions, clock, version } = this.#parts;
    return {
      status: async ({ tenant }) => {
        const { size, root } = await database.logTree();
        return {
          version,
          database: database.kind,
          brokerId: toHex(keys.brokerId),
          logSize: size,
          logRoot: toHex(root),
          tenants: tenant === undefined ? (await database.tenants()).length - 1 : null,
        };
      },
      'session-revoke': async ({ tenant, session: id, key }) => {
        if ((id === undefined) === (key === undefined))
          throw new CaissonError('invalid', 'argument-invalid', 'name a session or a key, one of them');
        const { effect, facts } =
          id === undefined ? await this.#revokeAll(tenant, key ?? '', clock.wall()) : await this.#revokeOne(tenant, id);
        await this.#change('session', tenant, { change: 'revoked', ...facts }, [effect]);
        sessions.forget();
        return {};
      },
      'anchor-show': async ({ tenant, volumeId }) => {
        await this.#mustKnow(tenant);
        const state = await database.anchor(tenant, volumeId);
        if (state === undefined) return { state: null };
        const { epoch, manifestNumber, sequence } = state;
        const bytes = {
          volumeId: toHex(state.volumeId),
          manifestDigest: toHex(state.manifestDigest),
          chain: toHex(state.chain),
        };
        return { state: { epoch, manifestNumber, sequence, ...bytes } };
      },
      'anchor-forget': async ({ tenant, volumeId }) => {
        await this.#mustKnow(tenant);
        const facts = { volume: toHex(volumeId), by: 'administrator' };
        await this.#change('anchor-forget', tenant, facts, [{ kind: 'forget-anchor', tenant, volumeId }]);
        return {};
      },
      'capability-revoke': async ({ tenant, volumeId }) => {
        await this.#mustKnow(tenant);
        const facts = { change: 'epoch-raised', volume: toHex(volumeId) };
        await this.#change('capability-change', tenant, facts, [{ kind: 'raise-capability-epoch', tenant, volumeId }]);
        return { epoch: await database.capabilityEpoch(tenant, volumeId) };
      },
    } satisfies Partial<Handlers>;
  }

  async #revokeOne(tenant: string, id: Uint8Array): Promise<{ effect: Effect; facts: Record<string, LogFact> }> {
    const { database, sessions } = this.#parts;
    const found = await database.session(id);
    if (found === undefined || found.tenant !== tenant)
      throw new CaissonError('invalid', 'session-missing', 'the tenant has no such session');
    return { effect: { kind: 'put-session', session: sessions.endOf(found) }, facts: { session: toHex(id) } };
  }

  async #revokeAll(
    tenant: string,
    key: string,
    at: number,
  ): Promise<{ effect: Effect; facts: Record<string, LogFact> }> {
    await this.#key(tenant, key);
    return {
      effect: { kind: 'put-setting', name: revocationSetting(tenant, key), value: revocationValue(at) },
      facts: { key },
    };
  }

  async #putDocument(
    word: DocumentWord,
    { tenant, name: asked, text }: AdminRequest<'policy-put'>,
  ): Promise<AdminAnswer<'policy-put'>> {
    const { database, policies } = this.#parts;
    await this.#mustKnow(tenant);
    const kind = documentKindOf[word];
    const name = await policies.check(tenant, kind, asked, text);
    const version = ((await database.document(tenant, kind, name))?.version ?? 0) + 1;
    const document: StoredDocument = { tenant, kind, name, text, version };
    const digest = digestOf(text);
    await this.#change(changeOf[word], tenant, { change: 'put', name, version, digest }, [
      { kind: 'put-document', document },
    ]);
    policies.forget();
    return { name, version, digest };
  }

  async #listDocuments(word: DocumentWord, { tenant }: AdminRequest<'policy-ls'>): Promise<AdminAnswer<'policy-ls'>> {
    await this.#mustKnow(tenant);
    const documents = await this.#parts.database.documents(tenant, documentKindOf[word]);
    return { documents: documents.map(({ name, version, text }) => ({ name, version, digest: digestOf(text) })) };
  }

  async #showDocument(
    word: DocumentWord,
    { tenant, name }: AdminRequest<'policy-show'>,
  ): Promise<AdminAnswer<'policy-show'>> {
    const { text, version } = await this.#document(word, tenant, name);
    return { text, version, digest: digestOf(text) };
  }

  async #removeDocument(
    word: DocumentWord,
    { tenant, name }: AdminRequest<'policy-rm'>,
  ): Promise<AdminAnswer<'policy-rm'>> {
    const { database, policies } = this.#parts;
    const { text } = await this.#document(word, tenant, name);
    if (word === 'reference') await policies.checkWithout(tenant, name);
    else {
      const guarded = (await database.keys(tenant)).find((key) => key.policy === name && key.erasedAt === undefined);
      if (guarded !== undefined) {
        throw new CaissonError('invalid', 'argument-invalid', `the policy ${name} guards the key ${guarded.name}`, {
          remedy: 'Put the key under another policy first, with "caisson broker key-set-policy".',
        });
      }
    }
    const effect: Effect = { kind: 'remove-document', tenant, document: documentKindOf[word], name };
    await this.#change(changeOf[word], tenant, { change: 'removed', name, digest: digestOf(text) }, [effect]);
    policies.forget();
    return {};
  }

  async #document(word: DocumentWord, tenant: string, name: string): Promise<StoredDocument> {
    await this.#mustKnow(tenant);
    const found = await this.#parts.database.document(tenant, documentKindOf[word], name);
    if (found !== undefined) return found;
    throw new CaissonError(
      'invalid',
      word === 'policy' ? 'policy-missing' : 'name-missing',
      `the tenant has no ${word === 'policy' ? 'policy' : 'reference values'} ${name}`,
    );
  }

  async #mustHavePolicy(tenant: string, policy: string): Promise<void> {
    await this.#document('policy', tenant, policy);
  }

  async #key(tenant: string, name: string): Promise<StoredKey> {
    await this.#mustKnow(tenant);
    const key = await this.#parts.database.key(tenant, name);
    if (key === undefined) throw new CaissonError('invalid', 'name-missing', `the tenant has no key ${name}`);
    if (key.erasedAt !== undefined)
      throw new CaissonError('denied', 'volume-erased', `the key ${name} was destroyed on purpose`);
    return key;
  }

  async #mustKnow(tenant: string, isRootAllowed = false): Promise<void> {
    const isMeant = tenant !== rootTenant || isRootAllowed;
    if (isMeant && (await this.#parts.database.tenant(tenant)) !== undefined) return;
    throw new CaissonError('invalid', 'tenant-missing', `there is no tenant ${tenant}`, {
      remedy: 'Add it with "caisson broker tenant-add".',
    });
  }

  #change(
    kind: LogEntry['kind'],
    tenant: string,
    facts: Readonly<Record<string, LogFact>>,
    effects: readonly Effect[],
    at = this.#parts.clock.wall(),
  ): Promise<CommitReceipt> {
    return this.#parts.database.commit({ effects, entries: [{ kind, at, tenant, facts }] });
  }
}

export function adminRefused(): CaissonError {
  return new CaissonError('denied', 'admin-refused', 'this is not the token of an administrator who may do this', {
    remedy: 'Give the token file of the tenant, or of the root administrator.',
  });
}

function keyRow({ name, id, policy, createdAt, erasedAt }: StoredKey): AdminAnswer<'key-ls'>['keys'][number] {
  return { key: name, id: toHex(id), policy, createdAt, erasedAt: erasedAt ?? null };
}

function digestOf(text: string): string {
  return toHex(sha256(new TextEncoder().encode(text)));
}

function full(what: string, max: number): CaissonError {
  return new CaissonError('full', 'limit-exceeded', `there are ${max} ${what} already, which is the limit`);
}
