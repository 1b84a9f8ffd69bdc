/** Intel's service, played by a server of this process that knows the addresses of version 4 and nothing else. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import {
  fakePlatform,
  intelCollateral,
  intelContext,
  intelEvidence,
  intelNow,
  pckCertificate,
} from '../../../test/support/fake-intel.ts';
import { pem } from '../../../test/support/fake-x509.ts';
import type { Clock } from '../../lib/clock.ts';
import { systemClock } from '../../lib/clock.ts';
import { collateralBytesMax, collateralQuestionsMax } from '../../lib/limits.ts';
import type { CollateralSource } from '../attest/collateral.ts';
import { sgxVerifier } from '../attest/sgx/sgx.ts';
import { tdxVerifier } from '../attest/tdx/tdx.ts';
import { intelService } from './intel-pcs.ts';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const text = (bytes: Uint8Array | undefined): string => encodeURIComponent(Buffer.from(bytes ?? []).toString());
const collateral = intelCollateral();
const entry = (name: string): { bytes: Uint8Array; issuerChain?: Uint8Array } => collateral.get(name)!;
const { fmspc } = fakePlatform;

function serve(name: string, header?: string): Answer {
  return (_, response) => {
    const { bytes, issuerChain } = entry(name);
    if (header !== undefined) response.setHeader(header, text(issuerChain));
    response.end(bytes);
  };
}

const root = '/sgx/certification/v4';
const addresses: Readonly<Record<string, Answer>> = {
  [`${root}/tcb?fmspc=${fmspc}`]: serve(`intel/sgx/tcb/${fmspc}`, 'TCB-Info-Issuer-Chain'),
  [`/tdx/certification/v4/tcb?fmspc=${fmspc}`]: serve(`intel/tdx/tcb/${fmspc}`, 'TCB-Info-Issuer-Chain'),
  [`${root}/qe/identity`]: serve('intel/sgx/qe-identity', 'SGX-Enclave-Identity-Issuer-Chain'),
  '/tdx/certification/v4/qe/identity': serve('intel/tdx/qe-identity', 'SGX-Enclave-Identity-Issuer-Chain'),
  [`${root}/pckcrl?ca=platform&encoding=der`]: serve('intel/pck-crl/platform'),
  [`${root}/pckcrl?ca=processor&encoding=der`]: serve('intel/pck-crl/processor'),
  [`${root}/rootcacrl`]: (_, response) => response.end(Buffer.from(entry('intel/root-crl').bytes).toString('hex')),
};

/** Waits of the client take no time, but for its patience with an answer. */
const hurried: Clock = {
  ...systemClock,
  wall: () => intelNow,
  after: (milliseconds, callback) => systemClock.after(milliseconds > 5_000 ? 400 : 0, callback),
};

async function service(
  t: TestContext,
  answers: Readonly<Record<string, Answer>> = addresses,
): Promise<{ source: CollateralSource; asked: string[]; url: string }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    const answer = answers[request.url ?? ''] ?? answers['*'];
    if (answer === undefined) response.writeHead(404).end();
    else answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { source: intelService({ baseUrl: url, clock: hurried, subscriptionKey: 'key' }), asked, url };
}

test('everything that both verifiers need comes from the service', async (t) => {
  const { source, asked } = await service(t);
  const context = { ...intelContext(), collateral: source };
  const sgx = await sgxVerifier.verify(intelEvidence('sgx'), context);
  const tdx = await tdxVerifier.verify(intelEvidence('tdx'), context);
  assert.deepEqual([sgx.claims.get('tcb.status'), tdx.claims.get('tcb.status')], ['UpToDate', 'UpToDate']);
  assert.equal(asked.length, 8);
});

test('a base address may have a path', async (t) => {
  const { url } = await service(t, { '/pccs/sgx/certification/v4/qe/identity': addresses[`${root}/qe/identity`]! });
  const source = intelService({ baseUrl: `${url}/pccs/`, clock: hurried });
  assert.deepEqual((await source.get('intel/sgx/qe-identity')).bytes, entry('intel/sgx/qe-identity').bytes);
});

test('the list of the root is asked for where it is said to be', async (t) => {
  const { url } = await service(t, { '/list.der': serve('intel/root-crl') });
  const source = intelService({ rootListUrl: `${url}/list.der`, clock: hurried });
  assert.deepEqual(await source.get('intel/root-crl'), { bytes: entry('intel/root-crl').bytes, obtainedAt: intelNow });
});

test('a PCK certificate is asked for with the key of a subscriber', async (t) => {
  const ppid = 'ab'.repeat(384);
  const ids = { cpusvn: '02'.repeat(16), pcesvn: '0d00', pceid: '0000', qeid: '0d'.repeat(16) };
  const query = new URLSearchParams({ encrypted_ppid: ppid, ...ids }).toString();
  const pck = pem(pckCertificate());
  const { source } = await service(t, {
    [`${root}/pckcert?${query}`]: (request, response) => {
      assert.equal(request.headers['ocp-apim-subscription-key'], 'key');
      response.setHeader('SGX-PCK-Certificate-Issuer-Chain', text(pck)).end(pck);
    },
  });
  const { qeid, cpusvn, pcesvn, pceid } = ids;
  const found = await source.get(`intel/pck/${qeid}/${cpusvn}/${pcesvn}/${pceid}/${ppid}`);
  assert.deepEqual([found.bytes, found.issuerChain], [pck, pck]);
});

test('a name that Intel does not have is missing and asks nobody', async (t) => {
  const { source, asked } = await service(t, { '*': (_, response) => response.end('{}') });
  const plain = `intel/pck/${'0'.repeat(32)}/${'0'.repeat(32)}/0000/0000/${'0'.repeat(32)}`;
  for (const name of ['amd/milan/crl', 'intel/sgx/tcb/xx', 'intel/sgx/tcb/../x', '', plain])
    await assert.rejects(async () => await source.get(name), { code: 'collateral-missing', kind: 'invalid' });
  assert.deepEqual(asked, []);
});

for (const status of [404, 410])
  test(`answer ${status}: missing, after one question`, async (t) => {
    const { source, asked } = await service(t, { '*': (_, response) => response.writeHead(status).end() });
    await assert.rejects(async () => await source.get('intel/root-crl'), {
      code: 'collateral-missing',
      kind: 'invalid',
    });
    assert.equal(asked.length, 1);
  });

for (const [status, count] of [
  [429, 3],
  [500, 3],
  [503, 3],
  [302, 1],
  [401, 1],
] as const)
  test(`answer ${status}: ask again later, after ${count} questions`, async (t) => {
    const { source, asked } = await service(t, {
      '*': (_, response) => response.writeHead(status, { location: '/elsewhere' }).end(),
    });
    await assert.rejects(async () => await source.get('intel/root-crl'), {
      code: 'collateral-missing',
      kind: 'transient',
    });
    assert.equal(asked.length, count);
  });

test('what fails first and comes then is taken', async (t) => {
  let tries = 0;
  const { source } = await service(t, {
    '*': (request, response) => {
      tries += 1;
      if (tries === 1) response.writeHead(503, { 'retry-after': '1' }).end();
      else if (tries === 2) request.socket.destroy();
      else response.end(entry('intel/root-crl').bytes);
    },
  });
  assert.deepEqual((await source.get('intel/root-crl')).bytes, entry('intel/root-crl').bytes);
});

test('a vendor that wants to be waited for too long counts as not answering', async (t) => {
  const { source, asked } = await service(t, {
    '*': (_, response) => response.writeHead(429, { 'retry-after': '3600' }).end(),
  });
  await assert.rejects(async () => await source.get('intel/root-crl'), { kind: 'transient' });
  assert.equal(asked.length, 1);
});

test('an answer that never ends is given up', async (t) => {
  const { source } = await service(t, { '*': (_, response) => void response.write('30') });
  await assert.rejects(async () => await source.get('intel/root-crl'), { kind: 'transient' });
});

test('questions that are under way at one time are bounded', async (t) => {
  const { source } = await service(t, { '*': () => undefined });
  const waiting = Array.from({ length: collateralQuestionsMax }, () => source.get('intel/root-crl'));
  await assert.rejects(async () => await source.get('intel/root-crl'), { kind: 'transient', message: /too many/ });
  await Promise.allSettled(waiting);
});

test('an answer that is too large is cut off', async (t) => {
  const { source, asked } = await service(t, {
    '*': (_, response) => response.end(Buffer.alloc(collateralBytesMax + 1)),
  });
  await assert.rejects(async () => await source.get('intel/root-crl'), { code: 'collateral-untrusted' });
  assert.equal(asked.length, 1);
});

test('a chain that is not encoded as it should be is refused', async (t) => {
  const { source } = await service(t, {
    '*': (_, response) => response.setHeader('SGX-Enclave-Identity-Issuer-Chain', '%E0%A4%A').end('{}'),
  });
  await assert.rejects(async () => await source.get('intel/sgx/qe-identity'), { code: 'collateral-untrusted' });
});
