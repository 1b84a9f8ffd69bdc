/** The whole way to a key over HTTPS, and every way that must not lead to one (spec/broker-http.md). */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { signingKeyFromSeed } from '../../src/crypto/signature.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { fromHex, toHex } from '../../src/lib/hex.ts';
import { nonceMillisecondsMax } from '../../src/lib/broker-limits.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { generateRecipient } from '../../src/wire/envelope.ts';
import { releaseBodyDigest } from '../../src/wire/release-body.ts';
import { reportDataOf } from '../../src/wire/report-data.ts';
import { evidenceDigestOf, signRequest } from '../../src/wire/request-statement.ts';
import { rejects } from '../conformance/store.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { fakeSource, policyText, refusalOf, startTestBroker } from '../support/test-broker.ts';
import type { TestBroker } from '../support/test-broker.ts';

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, string | number>>;
}

/** A request by hand, so that each part of it can be wrong. */
async function rawRelease(
  broker: TestBroker,
  changes: Readonly<Record<string, unknown>> = {},
  {
    level = 7,
    tenant = 'acme',
    evidence = {},
    nonce,
  }: {
    readonly level?: number;
    readonly tenant?: string;
    readonly evidence?: Record<string, Uint8Array>;
    readonly nonce?: string | undefined;
  } = {},
): Promise<{ status: number; refusal: Refusal | undefined; body: Record<string, unknown> }> {
  const challenged = await post(broker, '/v1/challenge', { tenant, technology: 'tpm' });
  const issued = nonce ?? String(challenged['nonce']);
  const recipient = await generateRecipient('x25519');
  const sessionKey = signingKeyFromSeed(systemRandom.bytes(32));
  const keys = {
    ...({ purpose: 'release', suite: 'x25519' } as const),
    ...{ nonce: fromHex(issued, 32) ?? new Uint8Array(32) },
    ...{ recipientPublicKey: recipient.publicKey, sessionPublicKey: sessionKey.publicKey },
  };
  const gathered = await fakeSource(level, evidence).gather(reportDataOf(keys));
  const statement = {
    ...keys,
    ...{ tenant, keyName: 'data', brokerId: fromHex(String(challenged['brokerId']), 32) ?? new Uint8Array(32) },
    ...{ evidenceDigest: evidenceDigestOf(gathered), bodyDigest: releaseBodyDigest({}) },
  };
  const body: Record<string, unknown> = {
    ...{ tenant, key: 'data', nonce: issued, suite: 'x25519' },
    evidence: {
      technology: 'tpm',
      parts: Object.fromEntries(
        Object.entries(gathered.parts).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]),
      ),
    },
    recipientPublicKey: Buffer.from(recipient.publicKey).toString('base64'),
    sessionPublicKey: toHex(sessionKey.publicKey),
    signature: toHex(signRequest(sessionKey, statement)),
    ...changes,
  };
  const response = await broker.broker.app.request('/v1/release', { method: 'POST', body: JSON.stringify(body) }, {});
  const answer = (await response.json()) as { error?: Refusal };
  return { status: response.status, refusal: answer.error, body };
}

async function post(broker: TestBroker, path: string, request: object): Promise<Record<string, unknown>> {
  const response = await broker.broker.app.request(path, { method: 'POST', body: JSON.stringify(request) }, {});
  return (await response.json()) as Record<string, unknown>;
}

describe('a release', () => {
  let broker: TestBroker;
  const database = new MemoryBrokerDatabase();
  before(async () => {
    broker = await startTestBroker({ database });
  });
  after(() => broker.close());

  it('gives the same key to the same workload, and a line of the log each time', async () => {
    const access = broker.access('data');
    const first = await access.takeKey(new Uint8Array(16));
    const second = await access.takeKey(new Uint8Array(16));
    assert.equal(first.key.length, 32);
    assert.deepEqual(first, second);
    const lines = database.entries.filter(({ kind }) => kind === 'release');
    assert.equal(lines.length, 2);
    assert.equal(lines[0]?.tenant, 'acme');
    assert.equal(lines[0]?.facts['key'], 'data');
    assert.equal(lines[0]?.facts['profile'], 'main');
    assert.ok(!JSON.stringify(database.entries).includes(toHex(first.key)), 'no key in the log');
    access.close();
  });

  it('makes a key where a policy lets workloads do so', async () => {
    const access = broker.access('fresh');
    await rejects(access.takeKey(new Uint8Array(16)), 'name-missing');
    const made = await access.takeKey(new Uint8Array(16), { policy: 'main' });
    const again = await access.takeKey(new Uint8Array(16), { policy: 'main' });
    assert.deepEqual(made.key, again.key);
    await broker.admin('policy-put', { tenant: 'acme', name: 'closed', text: policyText('closed', 7, '') });
    const refused = await refusalOf(
      broker.access('other').takeKey(new Uint8Array(16), { policy: 'closed' }),
      'policy-refused',
    );
    assert.equal(refused.details['rule'], 'release.may-create-key');
    access.close();
  });

  it('is refused by the rule that failed, in the answer and in the log', async () => {
    const access = broker.access('data', fakeSource(3));
    const refused = await refusalOf(access.takeKey(new Uint8Array(16)), 'policy-refused');
    assert.equal(refused.details['rule'], 'profiles.main.tpm.level');
    assert.equal(refused.details['expected'], '7');
    assert.equal(refused.details['actual'], '3');
    assert.match(refused.remedy ?? '', /^profiles\.main\.tpm\.level: found 3, expected 7\. /);
    const line = database.entries.at(-1);
    assert.deepEqual([line?.kind, line?.facts['failed']], ['refusal', ['profiles.main.tpm.level']]);
    assert.equal(refused.details['logIndex'], line?.index);
    access.close();
  });

  /** What is wrong, the code, and whether the nonce is burnt by it. */
  const wrong: readonly [
    string,
    Parameters<typeof rawRelease>[1],
    Parameters<typeof rawRelease>[2],
    string,
    boolean,
  ][] = [
    ['forged evidence', {}, { evidence: { signature: Uint8Array.of(1) } }, 'evidence-untrusted', true],
    ['an unknown part', {}, { evidence: { more: Uint8Array.of(1) } }, 'evidence-invalid', true],
    ['an empty part', {}, { evidence: { pcrs: new Uint8Array(0) } }, 'evidence-invalid', true],
    ['a signature of another', { signature: '00'.repeat(64) }, {}, 'proof-invalid', true],
    ['another recipient', { recipientPublicKey: Buffer.alloc(32, 9).toString('base64') }, {}, 'proof-invalid', true],
    ['another session key', { sessionPublicKey: '11'.repeat(32) }, {}, 'proof-invalid', true],
    ['a volume that was not signed', { volumeId: '22'.repeat(16) }, {}, 'proof-invalid', true],
    ['rights that were not signed', { anchors: true }, {}, 'proof-invalid', true],
    ['another key than was signed', { key: 'data2' }, {}, 'proof-invalid', true],
    ['evidence for another nonce', { nonce: 'ab'.repeat(32) }, {}, 'nonce-unknown', false],
    ['the nonce of another broker', {}, { nonce: '00'.repeat(32) }, 'nonce-unknown', false],
    ['another level', {}, { level: 8 }, 'policy-refused', true],
    ['another tenant', { tenant: 'nobody' }, {}, 'tenant-missing', false],
    ['the tenant that holds no keys', { tenant: 'root' }, {}, 'tenant-missing', false],
    ['an unknown member', { force: true }, {}, 'argument-invalid', false],
    ['an unknown technology', { evidence: { technology: 'abacus', parts: {} } }, {}, 'argument-invalid', false],
  ];
  for (const [name, changes, options, code, isBurnt] of wrong) {
    it(`is refused for ${name}: ${code}`, async () => {
      const lines = database.entries.length;
      const { status, refusal, body } = await rawRelease(broker, changes, options);
      assert.equal(refusal?.code, code);
      assert.ok(status >= 400 && status < 500);
      const line = database.entries.at(-1);
      assert.deepEqual([database.entries.length, line?.kind, line?.facts['code']], [lines + 1, 'refusal', code]);
      if (!isBurnt) return;
      // The very same nonce, now with nothing wrong: it has been taken.
      const retried = await rawRelease(broker, {}, { nonce: String(body['nonce']) });
      assert.equal(retried.refusal?.code, 'nonce-used');
    });
  }

  it('takes a nonce once, also where a replay is byte for byte the same', async () => {
    const { status, body } = await rawRelease(broker);
    assert.equal(status, 200);
    const response = await broker.broker.app.request('/v1/release', { method: 'POST', body: JSON.stringify(body) }, {});
    assert.equal(((await response.json()) as { error: Refusal }).error.code, 'nonce-used');
    assert.equal(database.entries.at(-1)?.facts['code'], 'nonce-used');
  });

  it('is for the tenant that the challenge was for', async () => {
    await broker.admin('tenant-add', { tenant: 'other' });
    const { nonce } = await post(broker, '/v1/challenge', { tenant: 'other', technology: 'tpm' });
    assert.equal((await rawRelease(broker, {}, { nonce: String(nonce) })).refusal?.code, 'nonce-unknown');
  });

  it('is refused for an erased key, whose receipt names its line', async () => {
    await broker.admin('key-create', { tenant: 'acme', key: 'doomed', policy: 'main' });
    const receipt = await broker.admin('key-erase', { tenant: 'acme', key: 'doomed' });
    assert.equal(database.entries[Number(receipt['logIndex'])]?.kind, 'key-erase');
    await rejects(broker.access('doomed').takeKey(new Uint8Array(16)), 'volume-erased');
  });

  it('does not tell which keys there are to who shows no evidence', async () => {
    const { refusal } = await rawRelease(broker, { key: 'no-such' }, { evidence: { signature: Uint8Array.of(1) } });
    assert.equal(refusal?.code, 'evidence-untrusted');
  });

  it('keeps nothing when the commit fails, and gives no key', async () => {
    for (const [kind, code, status] of [
      ['transient', 'database-locked', 503],
      ['full', 'database-full', 507],
      ['integrity', 'database-rolled-back', 409],
    ] as const) {
      const lines = database.entries.length;
      database.failure = new CaissonError(kind, code, 'the database says no');
      const answered = await rawRelease(broker).finally(() => (database.failure = undefined));
      assert.deepEqual([answered.status, answered.refusal?.code], [status, code]);
      assert.equal(database.entries.length, lines);
    }
  });

  it('has its line before its answer', async () => {
    let isCommitted = false;
    database.beforeCommit = async () => {
      await patientClock.turn();
      isCommitted = true;
    };
    const { status } = await rawRelease(broker);
    database.beforeCommit = undefined;
    assert.deepEqual([status, isCommitted], [200, true]);
    assert.equal(database.entries.at(-1)?.kind, 'release');
  });
});

describe('a nonce', () => {
  it('ends after two minutes', async () => {
    let skipped = 0;
    const clock = { ...patientClock, wall: () => Date.now() + skipped };
    const broker = await startTestBroker({ clock });
    const { nonce } = await post(broker, '/v1/challenge', { tenant: 'acme', technology: 'tpm' });
    skipped = nonceMillisecondsMax + 1_000;
    assert.equal((await rawRelease(broker, {}, { nonce: String(nonce) })).refusal?.code, 'nonce-unknown');
    skipped = 0;
    await broker.close();
  });
});

describe('requests', () => {
  let broker: TestBroker;
  before(async () => {
    broker = await startTestBroker();
  });
  after(() => broker.close());

  const ask = async (
    body: string | Uint8Array<ArrayBuffer>,
    path = '/v1/challenge',
  ): Promise<[number, string | undefined]> => {
    const response = await broker.broker.app.request(path, { method: 'POST', body }, {});
    const { error } = (await response.json()) as { error?: Refusal };
    return [response.status, error?.code];
  };

  it('are strict JSON within bounds', async () => {
    assert.deepEqual(await ask('{"tenant":"acme","tenant":"acme","technology":"tpm"}'), [400, 'argument-invalid']);
    assert.deepEqual(await ask('{"tenant":"acme","technology":"tpm"} x'), [400, 'argument-invalid']);
    assert.deepEqual(await ask('['.repeat(100)), [413, 'limit-exceeded']);
    assert.deepEqual(await ask(new Uint8Array(300 * 1024)), [413, 'limit-exceeded']);
    assert.deepEqual(await ask(new Uint8Array(3 * 1024 * 1024), '/v1/release'), [413, 'limit-exceeded']);
    assert.deepEqual(await ask('{}', '/v1/nothing'), [404, 'name-missing']);
  });

  it('of administrators need the right token', async () => {
    const code = async (operation: string, request: object, token?: string): Promise<unknown> =>
      ((await broker.admin(operation, request, token)) as { error?: Refusal }).error?.code;
    const { token } = (await broker.admin('tenant-add', { tenant: 'second' })) as { token: string };
    assert.equal(await code('tenant-ls', {}, 'f'.repeat(64)), 'admin-refused');
    assert.equal(await code('tenant-ls', {}, 'short'), 'admin-refused');
    assert.equal(await code('tenant-ls', {}, token), 'admin-refused');
    assert.equal(await code('key-ls', { tenant: 'acme' }, token), 'admin-refused');
    assert.equal(await code('key-ls', { tenant: 'second' }, token), undefined);
    assert.equal(await code('tenant-add', { tenant: 'root' }), 'name-exists');
    assert.equal(await code('key-create', { tenant: 'root', key: 'x', policy: 'main' }), 'tenant-missing');
    assert.equal(
      await code('policy-put', { tenant: 'acme', name: 'bad', text: 'caisson-policy: 1' }),
      'policy-invalid',
    );
    assert.equal(await code('policy-put', { tenant: 'acme', name: 'a', text: policyText('b') }), 'policy-invalid');
    const stored = await broker.admin('policy-put', { tenant: 'acme', text: policyText('own-name') });
    assert.equal(stored['name'], 'own-name');
    assert.equal(await code('policy-rm', { tenant: 'acme', name: 'main' }), 'argument-invalid');
    assert.equal(await code('session-revoke', { tenant: 'acme' }), 'argument-invalid');
  });

  it('are counted by address', async () => {
    const limited = await startTestBroker({ addressLimit: { perSecond: 0.01, burst: 6 } });
    const codes = [];
    for (let asked = 0; asked < 8; asked++) {
      const response = await limited.broker.app.request('/v1/health', {}, {});
      codes.push(response.status);
      if (response.status === 429) assert.ok(Number(response.headers.get('retry-after')) > 0);
    }
    assert.deepEqual(codes.filter((status) => status === 429).length >= 2, true);
    await limited.close();
  });

  it('of operators are answered', async () => {
    const get = (path: string): Promise<Response> => Promise.resolve(broker.broker.app.request(path, {}, {}));
    assert.equal((await get('/v1/health')).status, 200);
    assert.equal((await get('/v1/ready')).status, 200);
    const openApi = (await (await get('/v1/openapi.json')).json()) as { openapi: string; paths: object };
    assert.equal(openApi.openapi, '3.1.0');
    assert.ok('/v1/release' in openApi.paths && '/v1/admin/policy-put' in openApi.paths);
    assert.match(await (await get('/metrics')).text(), /caisson_broker_requests_total\{/);
    assert.equal((await get('/v1/log')).status, 401);
  });
});
