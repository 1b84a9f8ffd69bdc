/** Volumes whose key comes by the KBS protocol, from our own broker and from ones that misbehave (spec/keys.md, 5.12). */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import type { EvidenceSource } from '../../src/attester/evidence-source.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import type { HeldKeySource } from '../../src/keys/key-source.ts';
import { parseKeyUrl } from '../../src/keys/key-url.ts';
import { createKbsSource } from '../../src/keys/kbs.ts';
import { openKeySource } from '../../src/keys/open-key-source.ts';
import { patientClock, systemClock } from '../../src/lib/clock.ts';
import { fromHex } from '../../src/lib/hex.ts';
import { createVolume, openVolume } from '../../src/volume/volume.ts';
import { sealJwe } from '../../src/wire/kbs/jwe.ts';
import type { TeePublicKey } from '../../src/wire/kbs/jwe.ts';
import { keySourceConformance } from '../conformance/key-source.ts';
import { MemoryAnchor } from '../sim/memory-anchor.ts';
import { MemoryMedium, MemoryStore } from '../sim/memory-store.ts';
import { fakeTdxSource, fakeTdxVerifier, tdxPolicyText, teePair } from '../support/fake-kbs.ts';
import { context, keyRefusal, otherUse, use } from '../support/key-services.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { startTestBroker } from '../support/test-broker.ts';
import { makeTlsFiles } from '../support/tls-files.ts';

const database = new MemoryBrokerDatabase();
let lateBy = 0;
const broker = await startTestBroker({
  database,
  verifiers: new Map([['tdx', fakeTdxVerifier]]),
  clock: { ...patientClock, wall: () => Date.now() + lateBy },
});
await broker.admin('policy-put', { tenant: 'acme', name: 'confidential', text: tdxPolicyText('confidential') });
for (const key of ['sealed', 'other', 'doomed'])
  await broker.admin('key-create', { tenant: 'acme', key, policy: 'confidential' });

const folder = mkdtempSync(join(tmpdir(), 'caisson-kbs-'));
const tls = makeTlsFiles(folder);

/** A KBS that says what a test wants. */
type Reply = (request: IncomingMessage, body: string, response: ServerResponse) => void;
let reply: Reply = (_request, _body, response) => response.end();
const asked: { readonly path: string; readonly headers: IncomingMessage['headers']; readonly body: string }[] = [];
const foreign: Server = createServer(
  { cert: readFileSync(tls.server.certificate), key: readFileSync(tls.server.key), minVersion: 'TLSv1.3' },
  (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const body = Buffer.concat(pieces).toString();
      asked.push({ path: request.url ?? '', headers: request.headers, body });
      reply(request, body, response);
    });
  },
);
await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
const foreignUrl = `kbs:https://127.0.0.1:${(foreign.address() as AddressInfo).port}`;

after(async () => {
  foreign.closeAllConnections();
  foreign.close();
  await broker.close();
  rmSync(folder, { recursive: true });
});

let gathered = 0;

function open(text: string, evidence: EvidenceSource = fakeTdxSource(), clock = context.clock): HeldKeySource {
  return createKbsSource(parseKeyUrl(text), { ...context, clock }, async () => {
    gathered++;
    return evidence;
  });
}

function own(key = 'sealed', evidence = fakeTdxSource()): HeldKeySource {
  return open(`kbs:${broker.url}/acme/volume-key/${key}?ca-file=${broker.authorityFile}`, evidence);
}

function other(evidence = fakeTdxSource(), clock = context.clock): HeldKeySource {
  return open(`${foreignUrl}/repository/key/tag?ca-file=${tls.authority}`, evidence, clock);
}

/** As a KBS should, but for what `changes` replaces by step. */
function behaved(secret: Uint8Array, changes: Readonly<Record<string, Reply>> = {}): Reply {
  let recipient: TeePublicKey | undefined;
  return (request, body, response) => {
    const step = (request.url ?? '').split('/')[3] ?? '';
    const changed = changes[step];
    if (changed !== undefined) return changed(request, body, response);
    if (step === 'auth') {
      response.setHeader('set-cookie', ['other=1', 'kbs-session-id=abc; Expires=never']);
      return response.end(JSON.stringify({ nonce: Buffer.alloc(32, 5).toString('base64'), 'extra-params': '' }));
    }
    if (step === 'attest') {
      const sent = JSON.parse(body) as { 'runtime-data': { 'tee-pubkey': TeePublicKey } };
      recipient = sent['runtime-data']['tee-pubkey'];
      return response.end(JSON.stringify({ token: 'a.b.c' }));
    }
    return response.end(JSON.stringify(recipient === undefined ? {} : sealJwe(secret, recipient, systemRandom)));
  };
}

function says(status: number, body: object | string, headers: Readonly<Record<string, string>> = {}): Reply {
  return (_request, _body, response) => {
    response.writeHead(status, headers);
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
}

function refusal(name: string, detail = 'because') {
  return { type: `https://github.com/confidential-containers/kbs/errors/${name}`, detail };
}

const secret32 = new Uint8Array(32).fill(9);

keySourceConformance('kbs', { make: () => own(), makeOther: () => own('other'), bindsVolume: true });

describe('kbs', () => {
  beforeEach(() => {
    asked.length = 0;
    gathered = 0;
    reply = behaved(secret32);
  });

  test('a volume opens with it, and not with another resource', async () => {
    const environment = {
      ...{ store: new MemoryStore(new MemoryMedium()), anchor: new MemoryAnchor(), clock: systemClock },
      ...{ random: systemRandom, sealer: nodeSealer },
    };
    const created = await createVolume(environment, {
      ...({ size: 2 ** 20, protection: 'sealed', durability: 'local', keySource: own() } as const),
    });
    const volumeId = fromHex(created.volumeId, 16)!;
    const lines = database.entries.length;
    const volume = await openVolume(environment, { volumeId, keySource: own() });
    await volume.close();
    assert.deepEqual(
      database.entries.slice(lines).map(({ kind, tenant }) => [kind, tenant]),
      [
        ['session', 'root'],
        ['release', 'acme'],
      ],
    );
    await assert.rejects(openVolume(environment, { volumeId, keySource: own('other') }), { code: 'key-wrong' });
  });

  test('the slot holds a version, a salt and a check, and nothing of the secret', async () => {
    const { parameters } = await other().enroll(use);
    assert.equal(parameters.length, 1 + 32 + 32);
    const again = await other().enroll(use);
    assert.deepEqual(
      again.parameters.subarray(33),
      parameters.subarray(33),
      'the check is of the secret and the volume',
    );
    assert.notDeepEqual((await other().enroll(otherUse)).parameters.subarray(33), parameters.subarray(33));
    assert.ok(!Buffer.from(parameters).includes(Buffer.from(secret32.subarray(0, 4))));
  });

  test('asks in the form of the protocol, and shows evidence once for several requests', async () => {
    await other().enroll(use);
    assert.deepEqual(
      asked.map(({ path }) => path),
      ['/kbs/v0/auth', '/kbs/v0/attest', '/kbs/v0/resource/repository/key/tag', '/kbs/v0/resource/repository/key/tag'],
    );
    assert.equal(gathered, 1);
    const [auth, attest, resource] = asked;
    assert.deepEqual(JSON.parse(auth?.body ?? ''), {
      version: '0.4.0',
      tee: 'tdx',
      'extra-params': { 'supported-hash-algorithms': ['sha384'] },
    });
    assert.equal(attest?.headers.cookie, 'kbs-session-id=abc');
    const sent = JSON.parse(attest?.body ?? '') as Record<string, Record<string, unknown>>;
    assert.equal(sent['init-data'], null);
    assert.equal(sent['runtime-data']?.['nonce'], Buffer.alloc(32, 5).toString('base64'));
    assert.deepEqual(Object.keys(sent['tee-evidence'] ?? {}), ['primary_evidence', 'additional_evidence']);
    assert.equal(sent['tee-evidence']?.['additional_evidence'], '');
    assert.equal(resource?.headers.authorization, 'Bearer a.b.c');
    assert.equal(resource?.headers.cookie, undefined);
  });

  test('attests once more when its token has ended, then tells the error', async () => {
    const source = own();
    const { parameters, key } = await source.enroll(use);
    assert.equal(gathered, 1);
    lateBy += 6 * 60_000;
    assert.deepEqual(await source.derive(parameters, use), key);
    assert.equal(gathered, 2);
    reply = behaved(secret32, { resource: says(401, refusal('TokenVerifierError')) });
    gathered = 0;
    const error = await keyRefusal(other().enroll(use), 'broker-refused');
    assert.deepEqual(
      [error.kind, error.details['type'], error.details['status']],
      ['denied', 'TokenVerifierError', 401],
    );
    assert.match(error.message, /TokenVerifierError: because/);
    assert.equal(gathered, 2);
  });

  test('refusals by policy name the rule, and a missing path is final', async () => {
    const denied = await keyRefusal(own('sealed', fakeTdxSource(3)).enroll(use), 'broker-refused');
    assert.match(denied.message, /PolicyDeny: .*profiles\.main\.tdx\.level/);
    gathered = 0;
    reply = behaved(secret32, { resource: says(404, refusal('InvalidRequestPath')) });
    const missing = await keyRefusal(other().enroll(use), 'broker-refused');
    assert.deepEqual([missing.details['type'], gathered], ['InvalidRequestPath', 1]);
  });

  test('a key that was erased opens nothing any more', async () => {
    const { parameters } = await own('doomed').enroll(use);
    await broker.admin('key-erase', { tenant: 'acme', key: 'doomed' });
    await keyRefusal(own('doomed').derive(parameters, use), 'broker-refused');
  });

  test('a resource that changed is key-wrong', async () => {
    const { parameters } = await other().enroll(use);
    reply = behaved(new Uint8Array(32).fill(8));
    assert.match((await keyRefusal(other().derive(parameters, use), 'key-wrong')).message, /another secret/);
  });

  test('takes secrets of 16 to 4096 bytes', async () => {
    for (const length of [16, 33, 4096]) {
      reply = behaved(new Uint8Array(length).fill(1));
      const { parameters, key } = await other().enroll(use);
      assert.deepEqual(await other().derive(parameters, use), key);
    }
    for (const length of [0, 15, 4097]) {
      reply = behaved(new Uint8Array(length).fill(1));
      await assert.rejects(other().enroll(use), ({ code }: { code: string }) =>
        length === 0 ? code === 'broker-untrusted' : code === 'broker-refused',
      );
    }
  });

  const challenge = { nonce: Buffer.alloc(32).toString('base64'), 'extra-params': '' };
  const cookie = { 'set-cookie': 'kbs-session-id=abc' };
  const misbehaved: readonly [string, string, Reply, string, string][] = [
    ['no cookie', 'auth', says(200, challenge), 'broker-untrusted', 'integrity'],
    ['no nonce', 'auth', says(200, { 'extra-params': '' }, cookie), 'broker-untrusted', 'integrity'],
    [
      'another hash',
      'auth',
      says(200, { ...challenge, 'extra-params': { 'selected-hash-algorithm': 'sha256' } }, cookie),
      'unsupported',
      'invalid',
    ],
    ['no version of ours', 'auth', says(401, refusal('ProtocolVersion')), 'broker-refused', 'denied'],
    ['evidence refused', 'attest', says(401, refusal('AttestationError')), 'broker-refused', 'denied'],
    ['a token that is a header', 'attest', says(200, { token: 'a\r\nX: b' }), 'broker-untrusted', 'integrity'],
    ['a page', 'auth', says(200, '<html>'), 'broker-untrusted', 'integrity'],
    ['a page of a proxy', 'auth', says(502, '<html>'), 'broker-refused', 'transient'],
    ['later', 'resource', says(429, refusal('RateLimited')), 'broker-refused', 'transient'],
    ['an error of nobody', 'resource', says(403, { message: 'no' }), 'broker-untrusted', 'integrity'],
    [
      'a redirect',
      'resource',
      says(302, '', { location: 'https://elsewhere.example/' }),
      'broker-untrusted',
      'integrity',
    ],
    ['too much', 'resource', says(200, `"${'x'.repeat(300_000)}"`), 'broker-untrusted', 'integrity'],
    ['far too much', 'resource', says(200, 'x'.repeat(5_000_000)), 'broker-untrusted', 'integrity'],
    ['a resource in the clear', 'resource', says(200, { secret: 'x' }), 'broker-untrusted', 'integrity'],
  ];
  for (const [name, step, answer, code, kind] of misbehaved) {
    test(`${name} from a KBS is ${code}`, async () => {
      reply = behaved(secret32, { [step]: answer });
      await assert.rejects(other().enroll(use), { code, kind });
    });
  }

  test('a resource sealed to another key is refused', async () => {
    const { jwk } = teePair();
    reply = behaved(secret32, { resource: says(200, sealJwe(secret32, jwk, systemRandom)) });
    await keyRefusal(other().enroll(use), 'broker-untrusted');
  });

  test('what it says about its refusal reaches a terminal without control characters, and not all of it', async () => {
    reply = behaved(secret32, { attest: says(401, refusal('AttestationError', `\u001b[2J${'x'.repeat(5000)}`)) });
    const { message } = await keyRefusal(other().enroll(use), 'broker-refused');
    assert.ok(!message.includes('\u001b') && message.length < 500, message);
  });

  test('no answer, or one that trickles, ends in time', async () => {
    const hurried = { ...patientClock, after: (ms: number, then: () => void) => patientClock.after(ms / 100, then) };
    for (const trickle of [false, true]) {
      reply = (_request, _body, response) => {
        if (!trickle) return;
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(timer));
      };
      const { kind } = await keyRefusal(other(fakeTdxSource(), hurried).enroll(use), 'key-source-unavailable');
      assert.equal(kind, 'transient');
    }
  });

  test('a server of another authority gets nothing', async () => {
    const source = open(`${foreignUrl}/repository/key/tag?ca-file=${tls.stranger.authority}`);
    await keyRefusal(source.enroll(use), 'broker-untrusted');
    assert.equal(asked.length, 0);
  });

  test('a server that is not there is away, and evidence that cannot be shown is told', async () => {
    const nobody = open(`kbs:https://127.0.0.1:1/a/b/c?ca-file=${tls.authority}`);
    assert.equal((await keyRefusal(nobody.enroll(use), 'key-source-unavailable')).kind, 'transient');
    for (const technology of ['tpm', 'nitro', 'az-snp-vtpm', 'az-tdx-vtpm'] as const)
      await keyRefusal(other({ ...fakeTdxSource(), technology }).enroll(use), 'unsupported');
    assert.equal(asked.length, 0);
  });

  test('only whole URLs of resources are taken', async () => {
    for (const body of [
      'https://h:1/a/b',
      'https://h:1/a/b/c/d',
      'https://h:1/a/b/',
      'https://h:1/a/../c',
      'https://h:1/a/b/.c',
      'https://h:1/a/b/c%2Fd',
      'http://h:1/a/b/c',
      'h:1/a/b/c',
      'https:///a/b/c',
    ])
      await keyRefusal(openKeySource(`kbs:${body}`, context), 'argument-invalid');
    assert.equal((await openKeySource('kbs:https://h:1/a/b/c', context)).describe, 'KBS https://h:1, resource a/b/c');
  });
});
