import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { emptyPayloadHash, signRequest } from './sigv4.ts';

/** From "Authenticating Requests: Using the Authorization Header", Amazon S3 API Reference. */
const credentials = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const host = 'examplebucket.s3.amazonaws.com';
const fixed = {
  region: 'us-east-1',
  service: 's3',
  time: Date.UTC(2013, 4, 24),
  payloadHash: emptyPayloadHash,
} as const;

function signatureOf(headers: Record<string, string>): string {
  return /Signature=([0-9a-f]{64})$/.exec(headers['authorization'] ?? '')?.[1] ?? '';
}

describe('sigv4', () => {
  it('lists objects as the published example does', () => {
    const query = [
      ['prefix', 'J'],
      ['max-keys', '2'],
    ] as const;
    const signed = signRequest({ ...fixed, method: 'GET', path: '/', query, headers: { host } }, credentials);
    assert.equal(signatureOf(signed), '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7');
  });

  it('asks for a configuration as the published example does', () => {
    const query = [['lifecycle', '']] as const;
    const signed = signRequest({ ...fixed, method: 'GET', path: '/', query, headers: { host } }, credentials);
    assert.equal(signatureOf(signed), 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543');
  });

  it('signs conditions and the session token, so that nobody on the way can take them off', () => {
    const headers = { host, 'if-none-match': '*', range: 'bytes=0-9' };
    const request = { ...fixed, method: 'PUT', path: '/a', query: [], headers };
    const signed = signRequest(request, { ...credentials, sessionToken: 'token' });
    assert.match(
      signed['authorization'] ?? '',
      /SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token,/,
    );
    assert.notEqual(signatureOf(signed), signatureOf(signRequest(request, credentials)));
  });

  it('derives a new key for another day, region or secret', () => {
    const request = { ...fixed, method: 'GET', path: '/', query: [], headers: { host } };
    const signatures = [
      signRequest(request, credentials),
      signRequest({ ...request, time: Date.UTC(2013, 4, 25) }, credentials),
      signRequest({ ...request, region: 'eu-west-1' }, credentials),
      signRequest(request, { ...credentials, secretAccessKey: 'other' }),
      signRequest(request, credentials),
    ].map(signatureOf);
    assert.equal(new Set(signatures).size, 4);
    assert.equal(signatures[0], signatures[4]);
  });
});
