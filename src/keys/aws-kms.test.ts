import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, beforeEach, describe, test } from 'node:test';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { FakeKms } from '../../test/support/fake-kms.ts';
import { hurriedContext, keyRefusal, otherUse, testOnDemand, use } from '../../test/support/key-services.ts';
import { createAwsKmsSource } from './aws-kms.ts';
import type { HeldKeySource } from './key-source.ts';
import { parseKeyUrl } from './key-url.ts';

const kms = await new FakeKms().start();
after(() => kms.stop());
for (const name of ['alias/data', 'alias/other']) kms.keys.set(name, randomBytes(32));

const environment = {
  AWS_ACCESS_KEY_ID: 'AK',
  AWS_SECRET_ACCESS_KEY: 'SK',
  AWS_EC2_METADATA_DISABLED: 'true',
  AWS_REGION: 'eu-central-1',
};

function source(key = 'alias/data', given: Record<string, string> = environment): HeldKeySource {
  const url = parseKeyUrl(`aws-kms:${key}?endpoint=${encodeURIComponent(kms.origin)}`);
  return createAwsKmsSource(url, { ...hurriedContext, environment: given });
}

beforeEach(() => {
  kms.fault = undefined;
  kms.identities.clear();
  kms.identities.set('AK', { secret: 'SK' });
});

keySourceConformance('aws-kms', {
  make: () => source(),
  makeOther: () => source('alias/other'),
  bindsVolume: true,
});

describe('aws-kms', () => {
  test('the volume is the encryption context, and KMS refuses another', async () => {
    const { parameters } = await source().enroll(use);
    assert.deepEqual(kms.contexts.at(-1), { 'caisson:volume': Buffer.from(use.volumeId).toString('hex') });
    const refusal = await keyRefusal(source().derive(parameters, otherUse), 'key-wrong');
    assert.match(refusal.message, /InvalidCiphertextException/);
  });

  test('a blob under another key is refused, even one that these credentials may use', async () => {
    const { parameters } = await source('alias/other').enroll(use);
    const refusal = await keyRefusal(source().derive(parameters, use), 'key-wrong');
    assert.match(refusal.message, /IncorrectKeyException/);
  });

  test('wrong, missing, expired and powerless credentials are told apart', async () => {
    const { parameters } = await source().enroll(use);
    const messages = async (given: Record<string, string>): Promise<string> =>
      (await keyRefusal(source('alias/data', given).derive(parameters, use), 'key-source-unavailable')).message;
    assert.match(await messages({ ...environment, AWS_SECRET_ACCESS_KEY: 'wrong' }), /InvalidSignatureException/);
    assert.match(await messages({ ...environment, AWS_ACCESS_KEY_ID: 'who' }), /UnrecognizedClientException/);
    const { AWS_ACCESS_KEY_ID: _, ...none } = environment;
    assert.match(await messages(none), /no AWS credentials/);
    kms.identities.set('AK', { secret: 'SK', denied: true });
    assert.match(await messages(environment), /AccessDeniedException/);
    kms.identities.set('AK', { secret: 'SK', expired: true });
    assert.match(await messages(environment), /ExpiredTokenException/);
  });

  test('credentials that end are renewed once', async (t) => {
    const issued: string[] = [];
    const endpoint = http.createServer((_request, response) => {
      issued.push(issued.length === 0 ? 'OLD' : 'NEW');
      const Expiration = new Date(Date.now() + 3_600_000).toISOString();
      response.end(JSON.stringify({ AccessKeyId: issued.at(-1), SecretAccessKey: 'SK', Token: 'T', Expiration }));
    });
    await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve));
    t.after(() => endpoint.close());
    const { port } = endpoint.address() as AddressInfo;
    kms.identities.set('OLD', { secret: 'SK', sessionToken: 'T', expired: true });
    kms.identities.set('NEW', { secret: 'SK', sessionToken: 'T' });
    const { AWS_REGION } = environment;
    const given = { AWS_REGION, AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${port}/` };
    assert.equal((await source('alias/data', given).enroll(use)).key.length, 32);
    assert.deepEqual(issued, ['OLD', 'NEW']);
  });

  test('a session token is sent and signed', async () => {
    kms.identities.set('AK', { secret: 'SK', sessionToken: 'T' });
    const given = { ...environment, AWS_SESSION_TOKEN: 'T' };
    assert.equal((await source('alias/data', given).enroll(use)).key.length, 32);
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
  });

  test('a key that is not there, throttling, garbage, floods and silence are named', async () => {
    const { parameters } = await source().enroll(use);
    await keyRefusal(source('alias/none').derive(parameters, use), 'key-source-unavailable');
    const faults: ((response: ServerResponse) => void)[] = [
      (response) => response.writeHead(400).end('{"__type":"ThrottlingException"}'),
      (response) => response.writeHead(500).end(),
      (response) => response.end('garbage'),
      (response) => response.end('{"Plaintext":7}'),
      (response) => response.end('x'.repeat(70_000)),
      (response) => response.socket?.destroy(),
      () => undefined,
    ];
    for (const fault of faults) {
      kms.fault = fault;
      const refusal = await keyRefusal(source().derive(parameters, use), 'key-source-unavailable');
      assert.equal(refusal.kind, 'transient');
    }
    kms.fault = (response) => response.end(JSON.stringify({ CiphertextBlob: 'A'.repeat(4000) }));
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
  });

  test('a service that encrypts and does not decrypt enrols nothing', async () => {
    kms.fault = (response) =>
      response.end(JSON.stringify({ CiphertextBlob: 'AAAA', Plaintext: Buffer.alloc(32).toString('base64') }));
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
  });

  test('URLs that cannot work are refused before anybody is asked', () => {
    const given = { ...hurriedContext, environment: {} };
    for (const text of [
      'aws-kms:',
      'aws-kms:alias/data',
      'aws-kms:some key?region=eu-central-1'.replace(' ', '%20'),
      'aws-kms:alias/data?region=EU',
      'aws-kms:arn:aws:kms:eu-central-1:111122223333:key/a?region=us-east-1',
      'aws-kms:alias/data?region=eu-central-1&endpoint=http://kms.example',
      'aws-kms:alias/data?region=eu-central-1&endpoint=kms.example',
    ])
      assert.throws(() => createAwsKmsSource(parseKeyUrl(text), given), { code: 'argument-invalid' }, text);
    const arn = 'aws-kms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
    assert.match(createAwsKmsSource(parseKeyUrl(arn), given).describe, /eu-central-1/);
  });

  testOnDemand('CAISSON_TEST_AWS_KMS', 'KMS', (text) =>
    createAwsKmsSource(parseKeyUrl(text), { ...hurriedContext, environment: process.env }),
  );
});
