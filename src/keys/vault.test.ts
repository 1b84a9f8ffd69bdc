import assert from 'node:assert/strict';
import fs from 'node:fs';
import type { ServerResponse } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { FakeVault } from '../../test/support/fake-vault.ts';
import { hurriedContext, keyRefusal, otherUse, testOnDemand, use } from '../../test/support/key-services.ts';
import { makeTlsFiles } from '../../test/support/tls-files.ts';
import type { HeldKeySource } from './key-source.ts';
import { parseKeyUrl } from './key-url.ts';
import { createVaultSource } from './vault.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-vault-'));
const vault = await new FakeVault().start();
for (const name of ['data', 'other', 'rotated']) vault.addKey(name);
const tokenFile = file('token', `${vault.addToken()}\n`);
after(() => {
  vault.stop();
  fs.rmSync(folder, { recursive: true });
});

function file(name: string, content: string): string {
  const whole = path.join(folder, name);
  fs.writeFileSync(whole, content, { mode: 0o600 });
  return whole;
}

function source(key = 'transit/data', options = `token-file=${tokenFile}`, environment = {}): HeldKeySource {
  const url = parseKeyUrl(`vault:${vault.origin}/${key}?${options}`);
  return createVaultSource(url, { ...hurriedContext, environment });
}

keySourceConformance('vault', {
  make: () => source(),
  makeOther: () => source('transit/other'),
  bindsVolume: true,
});

describe('vault', () => {
  beforeEach(() => {
    vault.fault = undefined;
    vault.isSealed = false;
    vault.namespace = undefined;
    vault.asked.length = 0;
  });

  test('the volume is bound by Vault itself', async () => {
    const { parameters } = await source().enroll(use);
    const refusal = await keyRefusal(source().derive(parameters, otherUse), 'key-wrong');
    assert.match(refusal.message, /message authentication failed/);
  });

  test('a rotated key opens old slots until Vault no longer allows its version', async () => {
    const { parameters, key } = await source('transit/rotated').enroll(use);
    vault.rotate('rotated');
    assert.deepEqual(await source('transit/rotated').derive(parameters, use), key);
    assert.match(new TextDecoder().decode((await source('transit/rotated').enroll(use)).parameters), /vault:v2:/);
    vault.keys.get('rotated')!.minDecryptionVersion = 2;
    const refusal = await keyRefusal(source('transit/rotated').derive(parameters, use), 'key-wrong');
    assert.match(refusal.message, /no longer allowed/);
  });

  test('a wrong token, a missing one and an unreadable file are told apart', async () => {
    const wrong = file('wrong', 'hvs.wrong');
    const refusal = await keyRefusal(
      source('transit/data', `token-file=${wrong}`).enroll(use),
      'key-source-unavailable',
    );
    assert.match(refusal.message, /does not allow encrypt with transit\/data/);
    assert.match(refusal.remedy ?? '', /transit\/encrypt\/data/);
    assert.doesNotMatch(refusal.message + refusal.remedy, /hvs/);
    assert.match(
      (await keyRefusal(source('transit/data', 'namespace=a').enroll(use), 'key-source-unavailable')).message,
      /no token/,
    );
    for (const content of ['', 'two\nlines\n', 'blank in it', '\u0000'])
      await keyRefusal(
        source('transit/data', `token-file=${file('odd', content)}`).enroll(use),
        'key-source-unavailable',
      );
    await keyRefusal(source('transit/data', 'token-file=/does/not/exist').enroll(use), 'key-source-unavailable');
  });

  test('VAULT_TOKEN of the environment is taken where no file is named', async () => {
    const environment = { VAULT_TOKEN: vault.addToken() };
    assert.equal((await source('transit/data', 'auth=token', environment).enroll(use)).key.length, 32);
  });

  test('a given token that is renewable is renewed past half its life, and only then', async () => {
    const renewals = (): number => vault.asked.filter((asked) => asked.path === 'auth/token/renew-self').length;
    const late = file('late', vault.addToken(100, 3600, true));
    await source('transit/data', `token-file=${late}`).enroll(use);
    assert.equal(renewals(), 1);
    const early = file('early', vault.addToken(3000, 3600, true));
    await source('transit/data', `token-file=${early}`).enroll(use);
    assert.equal(renewals(), 1);
  });

  test('AppRole logs in once, again when the token was revoked, and again before its lease ends', async () => {
    vault.appRoles.set('role-1', 'letmein');
    const options = `auth=approle&role-id-file=${file('role', 'role-1\n')}&secret-id-file=${file('secret', 'letmein\n')}`;
    let now = 0;
    const clock = { ...hurriedContext.clock, monotonic: () => now };
    const url = parseKeyUrl(`vault:${vault.origin}/transit/data?${options}`);
    const held = createVaultSource(url, { ...hurriedContext, clock });
    const logins = (): number => vault.asked.filter((asked) => asked.path === 'auth/approle/login').length;
    const { parameters, key } = await held.enroll(use);
    assert.equal(logins(), 1);
    vault.tokens.clear();
    assert.deepEqual(await held.derive(parameters, use), key);
    assert.equal(logins(), 2);
    now = 0.9 * vault.leaseSeconds * 1000;
    assert.deepEqual(await held.derive(parameters, use), key);
    assert.equal(logins(), 3);
    vault.addToken();
    vault.appRoles.clear();
    now *= 3;
    const refusal = await keyRefusal(held.derive(parameters, use), 'key-source-unavailable');
    assert.match(refusal.message, /login by approle was refused/);
    fs.writeFileSync(tokenFile, `${vault.addToken()}\n`);
  });

  test('Kubernetes shows its service account, in a namespace', async () => {
    vault.namespace = 'team/a';
    vault.serviceAccounts.set('volumes', 'a.b.c');
    const options = `auth=kubernetes&role=volumes&namespace=team/a&jwt-file=${file('jwt', 'a.b.c')}`;
    assert.equal((await source('transit/data', options).enroll(use)).key.length, 32);
    assert.ok(vault.asked.every(({ namespace }) => namespace === 'team/a'));
    await keyRefusal(source('transit/data', options.replace('team/a', 'team/b')).enroll(use), 'key-source-unavailable');
  });

  test('a certificate logs in by TLS, one of another authority does not, and the server must show one too', async () => {
    const files = makeTlsFiles(folder);
    const secure = await new FakeVault(files).start();
    secure.addKey('data');
    const open = (
      { certificate, key }: { certificate: string; key: string },
      authority: string,
      more = '',
    ): HeldKeySource => {
      const options = `auth=cert&cert-file=${certificate}&key-file=${key}&ca-file=${authority}${more}`;
      return createVaultSource(parseKeyUrl(`vault:${secure.origin}/transit/data?${options}`), hurriedContext);
    };
    try {
      const { parameters, key } = await open(files.client, files.authority).enroll(use);
      assert.deepEqual(await open(files.client, files.authority, '&role=volumes').derive(parameters, use), key);
      for (const refused of [
        open(files.client, files.authority, '&role=other'),
        open(files.stranger, files.authority),
        open(files.client, files.stranger.authority),
        open({ certificate: files.client.key, key: files.client.key }, files.authority),
      ])
        await keyRefusal(refused.derive(parameters, use), 'key-source-unavailable');
    } finally {
      secure.stop();
    }
  });

  test('a missing key or mount, a sealed Vault, garbage, floods and silence are named', async () => {
    const { parameters } = await source().enroll(use);
    await keyRefusal(source('transit/none').derive(parameters, use), 'key-source-unavailable');
    await keyRefusal(source('secrets/data').derive(parameters, use), 'key-source-unavailable');
    vault.isSealed = true;
    const sealed = await keyRefusal(source().derive(parameters, use), 'key-source-unavailable');
    assert.equal(sealed.kind, 'transient');
    vault.isSealed = false;
    const faults: ((response: ServerResponse) => void)[] = [
      (response) => response.end('<html>'),
      (response) => response.end('{"data":{"plaintext":5,"ciphertext":"x"}}'),
      (response) => response.end('[]'),
      (response) => response.end(`{"data":{"plaintext":"AAAA"}}${' '.repeat(70_000)}`),
      (response) => response.writeHead(502).end('bad gateway'),
      (response) => response.writeHead(307, { location: `${vault.origin}/elsewhere` }).end(),
      (response) => response.socket?.destroy(),
      () => undefined,
    ];
    for (const fault of faults) {
      vault.fault = fault;
      await keyRefusal(source().derive(parameters, use), 'key-source-unavailable');
    }
  });

  test('what Vault unwraps must be a key', async () => {
    const { parameters } = await source().enroll(use);
    vault.fault = (response) => response.end('{"data":{"plaintext":"AAAA"}}');
    await keyRefusal(source().derive(parameters, use), 'key-wrong');
  });

  testOnDemand('CAISSON_TEST_VAULT', 'Vault or OpenBao', (text) =>
    createVaultSource(parseKeyUrl(text), { ...hurriedContext, environment: process.env }),
  );

  test('URLs that cannot work are refused before anybody is asked', () => {
    for (const text of [
      'vault:http://vault.example:8200/transit/data',
      'vault:https://vault.example:8200/data',
      'vault:https://vault.example:8200/transit/../data',
      'vault:https://vault.example:8200/transit/',
      'vault:https://vault.example:8200/transit/data?auth=ldap',
      'vault:https://vault.example:8200/transit/data?role=x',
      'vault:https://vault.example:8200/transit/data?auth=approle',
      'vault:https://vault.example:8200/transit/data?auth=kubernetes',
      'vault:http://localhost:8200/transit/data?auth=cert&cert-file=/a&key-file=/b',
      'vault:https://vault.example:8200/transit/data?namespace=../a',
    ])
      assert.throws(() => createVaultSource(parseKeyUrl(text), hurriedContext), { code: 'argument-invalid' }, text);
  });
});
