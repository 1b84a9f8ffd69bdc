/** The KBS protocol from the first request to the key, and every way that must not lead to one (spec/kbs.md). */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { kbsVersion } from '../../src/broker/kbs/kbs-service.ts';
import { tokenMillisecondsMax } from '../../src/broker/kbs/attested-token.ts';
import { brokerReleaseBytesMax, brokerRequestBytesMax, nonceMillisecondsMax } from '../../src/lib/broker-limits.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { openJwe } from '../../src/wire/kbs/jwe.ts';
import type { Jwe, TeePublicKey } from '../../src/wire/kbs/jwe.ts';
import { kbsReportData } from '../../src/wire/kbs/runtime-data.ts';
import { fakeQuote, fakeTdxVerifier, tdxPolicyText, teePair } from '../support/fake-kbs.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { fakeVerifier, startTestBroker } from '../support/test-broker.ts';
import type { TestBroker } from '../support/test-broker.ts';

const errorTypes = 'https://github.com/confidential-containers/kbs/errors';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

interface Challenge {
  readonly nonce: string;
  readonly cookie: string;
}

/** What may be wrong with one attestation. */
interface Changes {
  readonly level?: number;
  readonly nonce?: string;
  readonly additional?: string;
  readonly primary?: unknown;
  readonly cookie?: string | undefined;
  /** The key that the evidence names; another one than is sent. */
  readonly bound?: TeePublicKey;
  readonly jwk?: object;
}

const database = new MemoryBrokerDatabase();
let broker: TestBroker;
let lateBy = 0;

before(async () => {
  broker = await startTestBroker({
    database,
    verifiers: new Map([
      ['tpm', fakeVerifier],
      ['tdx', fakeTdxVerifier],
    ]),
    clock: { ...patientClock, wall: () => Date.now() + lateBy },
  });
  await broker.admin('policy-put', { tenant: 'acme', name: 'confidential', text: tdxPolicyText('confidential') });
  await broker.admin('key-create', { tenant: 'acme', key: 'sealed', policy: 'confidential' });
});
after(() => broker.close());

async function ask(path: string, body?: object | string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await broker.broker.app.request(
    `/kbs/v0/${path}`,
    {
      method: body === undefined ? 'GET' : 'POST',
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      headers,
    },
    {},
  );
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

function authBody(changes: object = {}): object {
  return { version: kbsVersion, tee: 'tdx', 'extra-params': '', ...changes };
}

async function challenge(): Promise<Challenge> {
  const { headers, body } = await ask('auth', authBody());
  return { nonce: String(body['nonce']), cookie: String(headers.get('set-cookie')).split(';')[0] ?? '' };
}

async function attest(
  { nonce, cookie }: Challenge,
  pair = teePair(),
  { level = 7, additional = '', ...changes }: Changes = {},
): Promise<Answer> {
  const runtimeData = { nonce: changes.nonce ?? nonce, 'tee-pubkey': changes.jwk ?? pair.jwk };
  const bound = { nonce, 'tee-pubkey': changes.bound ?? pair.jwk };
  const quote = fakeQuote(kbsReportData('tdx', bound, additional), level);
  const primary = changes.primary ?? { cc_eventlog: null, quote: Buffer.from(quote).toString('base64') };
  const request = {
    'init-data': null,
    'runtime-data': runtimeData,
    'tee-evidence': { primary_evidence: primary, additional_evidence: additional },
  };
  const sent = 'cookie' in changes ? changes.cookie : cookie;
  return ask('attest', request, sent === undefined ? {} : { cookie: sent });
}

async function attested(level = 7) {
  const pair = teePair();
  const challenged = await challenge();
  const { status, body } = await attest(challenged, pair, { level });
  assert.equal(status, 200);
  return { ...challenged, pair, token: String(body['token']) };
}

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

/** One more line of the log, a refusal with this code, and an answer of this type. */
async function refused(asked: () => Promise<Answer>, type: string, code: string, status = 401): Promise<Answer> {
  const lines = database.entries.length;
  const answer = await asked();
  assert.deepEqual([answer.status, answer.body['type']], [status, `${errorTypes}/${type}`]);
  assert.deepEqual(Object.keys(answer.body), ['type', 'detail']);
  assert.equal(typeof answer.body['detail'], 'string');
  const line = database.entries.at(-1);
  assert.equal(database.entries.length, lines + 1, 'one line of the log');
  assert.deepEqual([line?.kind, line?.facts['code'], line?.facts['protocol']], ['refusal', code, 'kbs']);
  return answer;
}

describe('the KBS protocol', () => {
  it('gives the key for the cookie and for the token, the same as the API of its own, each with its line', async () => {
    await broker.admin('policy-put', { tenant: 'acme', name: 'both', text: bothPolicy });
    await broker.admin('key-create', { tenant: 'acme', key: 'shared', policy: 'both' });
    const access = broker.access('shared');
    const { key } = await access.takeKey(new Uint8Array(16));
    access.close();
    const { cookie, token, pair } = await attested();
    assert.deepEqual(
      [database.entries.at(-1)?.kind, database.entries.at(-1)?.facts['change']],
      ['session', 'attested'],
    );
    for (const headers of [{ cookie }, bearer(token)]) {
      const lines = database.entries.length;
      const { status, body } = await ask('resource/acme/volume-key/shared', undefined, headers);
      assert.equal(status, 200);
      assert.deepEqual(Object.keys(body), ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag']);
      assert.deepEqual(openJwe(body as unknown as Jwe, pair.privateKey), Uint8Array.from(key));
      const line = database.entries.at(-1);
      assert.equal(database.entries.length, lines + 1);
      assert.deepEqual(
        [line?.kind, line?.tenant, line?.facts['key'], line?.facts['profile'], line?.facts['protocol']],
        ['release', 'acme', 'shared', 'confidential', 'kbs'],
      );
    }
    const leaves = await database.logLeaves(0, database.entries.length);
    assert.ok(!JSON.stringify(leaves).includes(Buffer.from(key).toString('hex')), 'no key in the log');
  });

  it('answers a request for a challenge in exactly this form', async () => {
    const { status, headers, body } = await ask('auth', authBody());
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(body), ['nonce', 'extra-params']);
    assert.match(String(body['nonce']), /^[A-Za-z0-9+/]{43}=$/);
    assert.deepEqual(body['extra-params'], { 'selected-hash-algorithm': 'sha384' });
    assert.match(
      String(headers.get('set-cookie')),
      /^kbs-session-id=[0-9a-f]{32}; Expires=[^;]+ GMT; Path=\/kbs\/v0; HttpOnly$/,
    );
    assert.equal(headers.get('cache-control'), 'no-store');
  });

  it('issues tokens with the claims that clients read', async () => {
    const { token, pair, nonce } = await attested();
    const [header, claims] = token
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>);
    assert.deepEqual([header?.['alg'], header?.['typ']], ['ES256', 'JWT']);
    const jwk = header?.['jwk'] as Record<string, unknown> | undefined;
    assert.equal(jwk?.['alg'], 'ES256');
    assert.equal(Number(claims?.['exp']) - Number(claims?.['iat']), tokenMillisecondsMax / 1000);
    assert.equal(claims?.['eat_profile'], 'tag:github.com,2024:confidential-containers/Trustee');
    const submods = claims?.['submods'] as Record<string, Record<string, Record<string, unknown>>>;
    const evidence = submods['cpu0']?.['ear.veraison.annotated-evidence'];
    assert.deepEqual(evidence?.['runtime_data_claims'], { nonce, 'tee-pubkey': pair.jwk, 'additional-evidence': '' });
  });

  it('takes the older sign for no devices', async () => {
    assert.equal((await attest(await challenge(), teePair(), { additional: '{}' })).status, 200);
  });

  const unauthenticated: readonly [string, object, string][] = [
    ['an older version', { version: '0.2.0' }, 'ProtocolVersion'],
    ['a newer version', { version: '0.4.1' }, 'ProtocolVersion'],
    ['sample evidence', { tee: 'sample' }, 'AttestationError'],
    ['a TPM alone', { tee: 'tpm' }, 'AttestationError'],
    ['a name of every object', { tee: 'constructor' }, 'AttestationError'],
    ['a technology without a verifier here', { tee: 'sgx' }, 'AttestationError'],
  ];
  for (const [name, changes, type] of unauthenticated) {
    it(`gives no challenge to ${name}`, async () => {
      await refused(() => ask('auth', authBody(changes)), type, 'unsupported');
    });
  }

  it('reads only strict JSON of bounded size', async () => {
    const twice = '{"version":"0.4.0","tee":"tdx","tee":"tdx","extra-params":""}';
    await refused(() => ask('auth', twice), 'SerdeError', 'argument-invalid');
    await refused(() => ask('auth', authBody({ tee: 7 })), 'SerdeError', 'argument-invalid');
    await refused(() => ask('auth', ' '.repeat(brokerRequestBytesMax + 1)), 'SerdeError', 'limit-exceeded');
    await refused(() => ask('attest', ' '.repeat(brokerReleaseBytesMax + 1)), 'SerdeError', 'limit-exceeded');
    await refused(() => ask('attest', '[['.repeat(50)), 'SerdeError', 'limit-exceeded');
    await refused(() => ask('attest', { 'runtime-data': {} }), 'SerdeError', 'argument-invalid');
  });

  const key = { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x: 'AA', y: 'AA' } as const;
  const genuine = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const unattested: readonly [string, Changes, string][] = [
    ['a nonce of another session', { nonce: Buffer.alloc(32, 7).toString('base64') }, 'nonce-unknown'],
    ['evidence that names another key', { bound: teePair().jwk }, 'proof-invalid'],
    ['evidence of devices', { additional: '{"nvidia":"e30="}' }, 'unsupported'],
    ['forged evidence', { primary: { quote: genuine(new Uint8Array(80)) } }, 'evidence-untrusted'],
    ['evidence of another form', { primary: { token: [1] } }, 'evidence-invalid'],
    ['no evidence', { primary: {} }, 'evidence-invalid'],
    ['a key that is none', { jwk: key, bound: key }, 'evidence-invalid'],
    [
      'a key of another kind',
      { jwk: { kty: 'oct' }, bound: { kty: 'oct' } as unknown as TeePublicKey },
      'evidence-invalid',
    ],
  ];
  for (const [name, changes, code] of unattested) {
    it(`attests nothing for ${name}, and the session is over`, async () => {
      const challenged = await challenge();
      const pair = teePair();
      await refused(() => attest(challenged, pair, changes), 'AttestationError', code);
      await refused(() => attest(challenged, pair), 'TokenNotFound', 'session-missing');
      await refused(
        () => ask('resource/acme/volume-key/sealed', undefined, { cookie: challenged.cookie }),
        'TokenNotFound',
        'session-missing',
      );
    });
  }

  it('burns the nonce of what failed, in the database that brokers share', async () => {
    const challenged = await challenge();
    await attest(challenged, teePair(), { additional: 'x' });
    const expiresAt = Date.now() + nonceMillisecondsMax;
    const nonce = new Uint8Array(Buffer.from(challenged.nonce, 'base64'));
    const entry = { kind: 'refusal', at: 0, tenant: 'root', facts: {} } as const;
    await assert.rejects(database.commit({ effects: [{ kind: 'take-nonce', nonce, expiresAt }], entries: [entry] }), {
      code: 'nonce-used',
    });
  });

  it('attests once in a session, and never without its cookie', async () => {
    const challenged = await challenge();
    const pair = teePair();
    for (const cookie of [undefined, 'kbs-session-id=', 'kbs-session-id=../..', `kbs-session-id=${'0'.repeat(32)}`])
      await refused(() => attest(challenged, pair, { cookie }), 'TokenNotFound', 'session-missing');
    assert.equal((await attest(challenged, pair, { cookie: `a=b; ${challenged.cookie}` })).status, 200);
    await refused(() => attest(challenged, pair), 'TokenNotFound', 'session-missing');
  });

  it('refuses by the rule that failed', async () => {
    const { token } = await attested(3);
    const answer = await refused(
      () => ask('resource/acme/volume-key/sealed', undefined, bearer(token)),
      'PolicyDeny',
      'policy-refused',
    );
    assert.match(String(answer.body['detail']), /profiles\.main\.tdx\.level/);
    const line = database.entries.at(-1);
    assert.deepEqual([line?.tenant, line?.facts['failed']], ['acme', ['profiles.main.tdx.level']]);
  });

  it('asks the policy at each request, as it is then', async () => {
    const { token } = await attested();
    const put = (level: number) =>
      broker.admin('policy-put', { tenant: 'acme', name: 'changing', text: tdxPolicyText('changing', level) });
    await put(7);
    await broker.admin('key-create', { tenant: 'acme', key: 'changing', policy: 'changing' });
    assert.equal((await ask('resource/acme/volume-key/changing', undefined, bearer(token))).status, 200);
    await put(8);
    await refused(
      () => ask('resource/acme/volume-key/changing', undefined, bearer(token)),
      'PolicyDeny',
      'policy-refused',
    );
  });

  it('has no resource where there is no key, no tenant, another type, an erased key', async () => {
    await broker.admin('tenant-add', { tenant: 'other' });
    await broker.admin('key-create', { tenant: 'acme', key: 'doomed', policy: 'confidential' });
    await broker.admin('key-erase', { tenant: 'acme', key: 'doomed' });
    const { token } = await attested();
    for (const [path, tenant] of [
      ['acme/volume-key/no-such', 'acme'],
      ['other/volume-key/sealed', 'other'],
      ['nobody/volume-key/sealed', 'root'],
      ['root/volume-key/sealed', 'root'],
      ['acme/secret/sealed', 'acme'],
      ['acme/volume-key/doomed', 'acme'],
      ['acme/volume-key/__proto__', 'acme'],
    ] as const) {
      await refused(() => ask(`resource/${path}`, undefined, bearer(token)), 'PluginInternalError', 'name-missing');
      assert.equal(database.entries.at(-1)?.tenant, tenant, path);
    }
  });

  it('answers 404 for a path that there is not', async () => {
    const { token } = await attested();
    for (const path of ['acme/volume-key/.hidden', 'acme/volume-key/a%2Fb', `acme/volume-key/${'x'.repeat(129)}`])
      await refused(
        () => ask(`resource/${path}`, undefined, bearer(token)),
        'InvalidRequestPath',
        'object-missing',
        404,
      );
    for (const path of ['resource/acme/volume-key', 'resource/acme//sealed', 'workload/a/b/c', 'resource/a/b/c/d']) {
      const lines = database.entries.length;
      const { status, body } = await ask(path, undefined, bearer(token));
      assert.deepEqual([status, body['type']], [404, `${errorTypes}/InvalidRequestPath`], path);
      assert.equal(database.entries.length, lines, 'nothing was asked for');
    }
  });

  it('believes no token but its own', async () => {
    const { token, cookie } = await attested();
    const [header = '', claims = '', signature = ''] = token.split('.');
    const other = (await attested()).token.split('.');
    const flipped = Buffer.from(signature, 'base64url');
    flipped[9]! ^= 1;
    for (const forged of [
      `${header}.${claims}.`,
      `${header}.${claims}.${flipped.toString('base64url')}`,
      `${header}.${other[1]}.${signature}`,
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.${signature}`,
      `${token}.${signature}`,
      'x'.repeat(65_537),
      'token',
    ])
      await refused(
        // A cookie beside it does not help.
        () => ask('resource/acme/volume-key/sealed', undefined, { ...bearer(forged), cookie }),
        'TokenNotFound',
        'session-missing',
      );
    await refused(() => ask('resource/acme/volume-key/sealed'), 'TokenNotFound', 'session-missing');
    const unattestedCookie = (await challenge()).cookie;
    await refused(
      () => ask('resource/acme/volume-key/sealed', undefined, { cookie: unattestedCookie }),
      'TokenNotFound',
      'session-missing',
    );
  });

  it('ends challenges after two minutes and tokens after five', async () => {
    try {
      const challenged = await challenge();
      lateBy = nonceMillisecondsMax;
      await refused(() => attest(challenged), 'TokenNotFound', 'session-missing');
      const { token, cookie } = await attested();
      lateBy += tokenMillisecondsMax - 1000;
      assert.equal((await ask('resource/acme/volume-key/sealed', undefined, bearer(token))).status, 200);
      lateBy += 1000;
      for (const headers of [bearer(token), { cookie }])
        await refused(
          () => ask('resource/acme/volume-key/sealed', undefined, headers),
          'TokenNotFound',
          'session-missing',
        );
    } finally {
      lateBy = 0;
    }
  });

  it('keeps attested sessions, however many strangers ask for challenges', async () => {
    const { token } = await attested();
    for (let asked = 0; asked < 4100; asked++) await ask('auth', authBody());
    assert.equal((await ask('resource/acme/volume-key/sealed', undefined, bearer(token))).status, 200);
  });

  it('gives nothing when its line cannot be written', async () => {
    const { token } = await attested();
    database.failure = new CaissonError('transient', 'database-locked', 'the database says no');
    const { status, body } = await ask('resource/acme/volume-key/sealed', undefined, bearer(token)).finally(
      () => (database.failure = undefined),
    );
    assert.deepEqual([status, body['type']], [503, `${errorTypes}/PluginInternalError`]);
  });
});

const bothPolicy = [
  'caisson-policy: 1',
  'name: both',
  'profiles:',
  '  measured: {technology: tpm, rules: {tpm.level: 7}}',
  '  confidential: {technology: tdx, rules: {tdx.level: 7}}',
  'release: {}',
].join('\n');
