import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { rejects } from '../../test/conformance/store.ts';
import type { Clock } from '../lib/clock.ts';
import type { Credentials } from './credential-source.ts';
import { CredentialChain } from './credentials.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-credentials-'));
const tokenFile = path.join(base, 'token');
const minute = 60_000;
let now = Date.UTC(2030, 0, 1);
const clock: Clock = {
  monotonic: () => now,
  wall: () => now,
  after: () => () => undefined,
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};
/** One server for STS, the container endpoint and the instance metadata. */
let origin = '';
let isDown = false;
let issuedCount = 0;
const asked: string[] = [];
const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (piece: Buffer) => (body += piece.toString()));
  request.on('end', () => {
    asked.push(`${request.method} ${request.url} ${body}`);
    const { headers } = request;
    const isAllowed = headers['x-aws-ec2-metadata-token'] === 'imds' || headers.authorization === 'container-token';
    const expiration = new Date(now + 15 * minute).toISOString();
    if (isDown) response.writeHead(500).end();
    else if (request.url === '/sts' || request.url === '/') response.end(stsAnswer(expiration));
    else if (request.url === '/latest/api/token') response.end('imds');
    else if (!isAllowed) response.writeHead(401).end();
    else if (request.url?.endsWith('/security-credentials/')) response.end('role\n');
    else {
      const fields = { AccessKeyId: `ID${++issuedCount}`, SecretAccessKey: 's', Token: 't', Expiration: expiration };
      response.end(JSON.stringify(fields));
    }
  });
});

function stsAnswer(expiration: string): string {
  const fields = `<AccessKeyId>STS</AccessKeyId><SecretAccessKey>a&amp;b</SecretAccessKey><SessionToken>t</SessionToken>`;
  return `<R><Credentials>${fields}<Expiration>${expiration}</Expiration></Credentials></R>`;
}

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  fs.writeFileSync(tokenFile, 'container-token\n');
});
after(() => {
  server.closeAllConnections();
  server.close();
  fs.rmSync(base, { recursive: true, force: true });
});

function chain(environment: Record<string, string>, profile?: string): CredentialChain {
  const nobody = { HOME: path.join(base, 'nobody'), AWS_EC2_METADATA_DISABLED: 'true' };
  return new CredentialChain({ environment: { ...nobody, ...environment }, profile, region: 'eu-central-1', clock });
}

describe('s3 credentials', () => {
  it('come from the environment first', async () => {
    const keys = { AWS_ACCESS_KEY_ID: 'A', AWS_SECRET_ACCESS_KEY: 'B' };
    assert.deepEqual(await chain(keys).get(), { accessKeyId: 'A', secretAccessKey: 'B' });
    const { sessionToken } = await chain({ ...keys, AWS_SESSION_TOKEN: 'C' }).get();
    assert.equal(sessionToken, 'C');
  });

  it('come from the files of the AWS tools, by the name of a profile', async () => {
    const home = path.join(base, 'home');
    fs.mkdirSync(path.join(home, '.aws'), { recursive: true });
    fs.writeFileSync(
      path.join(home, '.aws/credentials'),
      '# mine\n[default]\r\naws_access_key_id=D1\naws_secret_access_key = D2 \n\n[other]\naws_access_key_id = O1\naws_secret_access_key=O2=\naws_session_token=O3\n',
    );
    fs.writeFileSync(
      path.join(home, '.aws/config'),
      '[profile sso]\nsso_session = x\n[profile   process]\ncredential_process = /bin/false\n[profile empty]\nregion = x\n',
    );
    const environment = { HOME: home, AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: 'only half' };
    assert.equal((await chain(environment).get()).secretAccessKey, 'D2');
    const other = { accessKeyId: 'O1', secretAccessKey: 'O2=', sessionToken: 'O3' };
    assert.deepEqual(await chain({ ...environment, AWS_PROFILE: 'other' }).get(), other);
    // The URL's profile is meant, whatever the environment holds.
    assert.deepEqual(
      await chain({ HOME: home, AWS_ACCESS_KEY_ID: 'A', AWS_SECRET_ACCESS_KEY: 'B' }, 'other').get(),
      other,
    );
    for (const profile of ['sso', 'process', 'empty', 'absent'])
      await rejects(chain({ HOME: home }, profile).get(), 'store-credentials-missing');
  });

  it('come from STS for a web identity', async () => {
    const environment = { AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile, AWS_ROLE_ARN: 'arn:x', AWS_ENDPOINT_URL_STS: origin };
    const { accessKeyId, secretAccessKey, expiresAt } = await chain(environment).get();
    assert.deepEqual([accessKeyId, secretAccessKey, expiresAt], ['STS', 'a&b', now + 15 * minute]);
    assert.match(
      asked.at(-1) ?? '',
      /Action=AssumeRoleWithWebIdentity.*RoleArn=arn%3Ax.*WebIdentityToken=container-token$/,
    );
    await rejects(
      chain({ ...environment, AWS_WEB_IDENTITY_TOKEN_FILE: `${tokenFile}2` }).get(),
      'configuration-invalid',
    );
  });

  it('come from the endpoint of a container, which lies on this machine or behind TLS', async () => {
    const environment = { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: tokenFile };
    const found = await chain({ ...environment, AWS_CONTAINER_CREDENTIALS_FULL_URI: `${origin}/container` }).get();
    assert.match(found.accessKeyId, /^ID/);
    const elsewhere = { ...environment, AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://example.com/x' };
    await rejects(chain(elsewhere).get(), 'store-credentials-missing');
  });

  it('come from the metadata service of an instance, by its second version', async () => {
    const environment = { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: origin };
    assert.match((await chain(environment).get()).accessKeyId, /^ID/);
    assert.deepEqual(asked.slice(-3), [
      'PUT /latest/api/token ',
      'GET /latest/meta-data/iam/security-credentials/ ',
      'GET /latest/meta-data/iam/security-credentials/role ',
    ]);
  });

  it('are renewed before they end, once for all who ask, and stay in use while their source is down', async () => {
    const source = chain({
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'container-token',
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${origin}/container`,
    });
    const first = await source.get();
    now += 9 * minute;
    assert.equal(await source.get(), first);
    now += 2 * minute;
    const before = issuedCount;
    assert.deepEqual(await Promise.all([source.get(), source.get()]), [first, first]);
    const second = await until(
      () => source.get(),
      (found) => found !== first,
    );
    assert.equal(issuedCount, before + 1);
    isDown = true;
    now += 14.5 * minute;
    assert.equal(await source.get(), second);
    now += minute;
    await rejects(source.get(), 'store-credentials-missing');
    isDown = false;
    assert.notEqual(await source.get(), second);
  });

  it('are fetched anew once when a server calls them expired', async () => {
    const source = chain({
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'container-token',
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${origin}/container`,
    });
    const first = await source.get();
    const [second, third] = await Promise.all([source.renew(first), source.renew(first)]);
    assert.notEqual(second, first);
    assert.equal(third, second);
    assert.equal(await source.renew(first), second, 'somebody else renewed them already');
  });

  it('that are nowhere are named as missing', async () => {
    await rejects(chain({}).get(), 'store-credentials-missing');
  });
});

async function until(get: () => Promise<Credentials>, isRight: (found: Credentials) => boolean): Promise<Credentials> {
  for (;;) {
    const found = await get();
    if (isRight(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
