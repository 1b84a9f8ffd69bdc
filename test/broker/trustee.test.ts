/** The KBS protocol with what others wrote: their client at our broker, and our client at their KBS (spec/kbs.md). */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe } from 'node:test';
import { systemRandom } from '../../src/crypto/random.ts';
import { createKbsSource } from '../../src/keys/kbs.ts';
import { parseKeyUrl } from '../../src/keys/key-url.ts';
import { evidenceFromKbs } from '../../src/wire/kbs/evidence.ts';
import { fakeQuote, fakeTdxSource, fakeTdxVerifier, tdxPolicyText } from '../support/fake-kbs.ts';
import { context, keyRefusal, otherUse, use } from '../support/key-services.ts';
import { startTestBroker } from '../support/test-broker.ts';
import { makeTlsFiles } from '../support/tls-files.ts';
import {
  forwardTo,
  kbsClient,
  sampleBridge,
  sampleDigest,
  sampleEvidence,
  startTrusteeKbs,
  testWithTrustee,
} from '../support/trustee.ts';

const folder = mkdtempSync(join(tmpdir(), 'caisson-trustee-'));
after(() => rmSync(folder, { recursive: true }));
const allowAll = 'package policy\n\ndefault allow = true\n';
const nobodyMay = 'package policy\n\ndefault allow = false\n';

function tdxEvidence(digest: Uint8Array): Record<string, unknown> {
  const reportData = new Uint8Array(64);
  reportData.set(digest);
  return { cc_eventlog: null, quote: Buffer.from(fakeQuote(reportData)).toString('base64') };
}

function signedDigest(sent: Record<string, unknown>): Uint8Array {
  return (evidenceFromKbs('tdx', sent).parts['quote'] ?? new Uint8Array(0)).subarray(1, 65);
}

const workloadKeys = {
  'P-256': () => ellipticKey('P-256'),
  'P-521': () => ellipticKey('P-521'),
  RSA: () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs1', format: 'pem' }),
};

function ellipticKey(namedCurve: string): string | Buffer {
  return generateKeyPairSync('ec', { namedCurve }).privateKey.export({ type: 'pkcs8', format: 'pem' });
}

function write(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

/** A broker with the keys `good`, which made-up evidence opens, and `strict`, which it does not. */
async function bridgedBroker() {
  const broker = await startTestBroker({ verifiers: new Map([['tdx', fakeTdxVerifier]]) });
  for (const [name, level] of [
    ['good', 7],
    ['strict', 8],
  ] as const) {
    await broker.admin('policy-put', { tenant: 'acme', name, text: tdxPolicyText(name, level) });
    await broker.admin('key-create', { tenant: 'acme', key: name, policy: name });
  }
  const bridge = await sampleBridge(
    { tee: 'tdx', digest: sampleDigest, evidence: tdxEvidence },
    async ({ method, path, headers, body }) => {
      const asked = { method, headers: headers as Record<string, string>, ...(method === 'GET' ? {} : { body }) };
      const answer = await broker.broker.app.request(path, asked, {});
      return { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() };
    },
  );
  const close = async (): Promise<void> => {
    bridge.close();
    await broker.close();
  };
  return { broker, bridge, close };
}

describe('with programs of Trustee', () => {
  testWithTrustee('their client takes keys from our broker', ['CAISSON_KBS_CLIENT'], async (programs) => {
    const client = programs['CAISSON_KBS_CLIENT'];
    const { broker, bridge, close } = await bridgedBroker();
    try {
      const got = await kbsClient(client, bridge.url, 'get-resource', '--path', 'acme/volume-key/good');
      assert.equal(got.status, 0, got.stderr);
      assert.equal(Buffer.from(got.stdout.trim(), 'base64').length, 32);
      for (const [name, make] of Object.entries(workloadKeys)) {
        const [key, token] = [write(name, make()), join(folder, `${name}.token`)];
        const shown = await kbsClient(client, bridge.url, 'attest', '--tee-key-file', key);
        assert.equal(shown.status, 0, shown.stderr);
        writeFileSync(token, shown.stdout.trim());
        const held = ['--tee-key-file', key, '--attestation-token', token];
        const again = await kbsClient(client, bridge.url, 'get-resource', '--path', 'acme/volume-key/good', ...held);
        assert.deepEqual([again.status, again.stdout], [0, got.stdout], `${name}: ${again.stderr}`);
      }
      const denied = await kbsClient(client, bridge.url, 'get-resource', '--path', 'acme/volume-key/strict');
      assert.notEqual(denied.status, 0);
      const refusals = bridge.passed.filter(({ status, path }) => status !== 200 && path.endsWith('/strict'));
      assert.deepEqual([...new Set(refusals.map(({ status }) => status))], [401]);
      const names = refusals.map(({ answered }) => (JSON.parse(answered) as { type: string }).type.split('/').at(-1));
      assert.deepEqual([names[0], ...new Set(names.slice(1))], ['TokenNotFound', 'PolicyDeny']);
      // What it shows on a machine without hardware is no evidence, and it is told so in its own form.
      const ended = await kbsClient(
        client,
        ...[broker.url, '--cert-file', broker.authorityFile, 'get-resource', '--path', 'acme/volume-key/good'],
      );
      assert.notEqual(ended.status, 0);
      assert.match(ended.stdout + ended.stderr, /verifies no evidence of that TEE/);
    } finally {
      await close();
    }
  });

  testWithTrustee(
    'their KBS reads the tokens of our broker',
    ['CAISSON_TRUSTEE_KBS', 'CAISSON_KBS_CLIENT'],
    async (programs) => {
      const client = programs['CAISSON_KBS_CLIENT'];
      const kbs = await startTrusteeKbs(programs['CAISSON_TRUSTEE_KBS'], folder);
      const { bridge, close } = await bridgedBroker();
      try {
        const secret = systemRandom.bytes(32);
        for (const words of [
          ['set-resource-policy', '--policy-file', write('allow.rego', allowAll)],
          ['set-resource', '--path', 'acme/volume-key/told', '--resource-file', write('secret', secret)],
        ]) {
          const { status, stderr } = await kbsClient(client, kbs.origin, 'config', ...words);
          assert.equal(status, 0, stderr);
        }
        const key = write('key', workloadKeys['P-256']());
        const shown = await kbsClient(client, bridge.url, 'attest', '--tee-key-file', key);
        const held = ['--tee-key-file', key, '--attestation-token', write('token', shown.stdout.trim())];
        const got = await kbsClient(client, kbs.origin, 'get-resource', '--path', 'acme/volume-key/told', ...held);
        assert.equal(got.status, 0, got.stderr);
        assert.deepEqual(new Uint8Array(Buffer.from(got.stdout.trim(), 'base64')), secret);
      } finally {
        await close();
        await kbs.stop();
      }
    },
  );

  testWithTrustee(
    'our client takes keys from their KBS',
    ['CAISSON_TRUSTEE_KBS', 'CAISSON_KBS_CLIENT'],
    async (programs) => {
      const client = programs['CAISSON_KBS_CLIENT'];
      const kbs = await startTrusteeKbs(programs['CAISSON_TRUSTEE_KBS'], folder);
      const tls = makeTlsFiles(folder);
      const files = { cert: readFileSync(tls.server.certificate, 'utf8'), key: readFileSync(tls.server.key, 'utf8') };
      const bridge = await sampleBridge(
        { tee: 'sample', digest: signedDigest, evidence: sampleEvidence },
        forwardTo(kbs.origin),
        files,
      );
      const configure = async (...parameters: string[]): Promise<void> => {
        const { status, stderr } = await kbsClient(client, kbs.origin, 'config', ...parameters);
        assert.equal(status, 0, stderr);
      };
      const open = (path: string) =>
        createKbsSource(parseKeyUrl(`kbs:${bridge.url}/${path}?ca-file=${tls.authority}`), context, async () =>
          fakeTdxSource(),
        );
      try {
        await configure('set-resource-policy', '--policy-file', write('allow.rego', allowAll));
        for (const [path, bytes] of [
          ['acme/volume-key/sealed', 32],
          ['acme/volume-key/long', 4096],
          ['acme/volume-key/short', 8],
        ] as const) {
          const file = write('secret', systemRandom.bytes(bytes));
          await configure('set-resource', '--path', path, '--resource-file', file);
        }
        for (const path of ['acme/volume-key/sealed', 'acme/volume-key/long']) {
          const { parameters, key } = await open(path).enroll(use);
          assert.deepEqual(await open(path).derive(parameters, use), key);
          await keyRefusal(open(path).derive(parameters, otherUse), 'key-wrong');
        }
        const short = await keyRefusal(open('acme/volume-key/short').enroll(use), 'broker-refused');
        assert.match(short.message, /has 8 bytes/);
        const missing = await keyRefusal(open('acme/volume-key/none').enroll(use), 'broker-refused');
        assert.match(missing.message, /refuses \(401\): PluginInternalError/);
        await configure('set-resource-policy', '--policy-file', write('deny.rego', nobodyMay));
        const denied = await keyRefusal(open('acme/volume-key/sealed').enroll(use), 'broker-refused');
        assert.match(denied.message, /PolicyDeny/);
      } finally {
        bridge.close();
        await kbs.stop();
      }
    },
  );
});
