/** What the verifiers of Intel evidence say of evidence that is right, and the rules of every verifier. */
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import {
  enclaveReport,
  fakePlatform,
  fakeQuote,
  intelCollateral,
  intelContext,
  intelEvidence,
  intelKey,
  intelNames,
  intelNow,
  intermediateCertificate,
  pckCertificate,
  pckCrl,
  rootCertificate,
  rootCertificateOnce,
  serials,
  sourceOf,
  tdReport,
  dateText,
} from '../../../../test/support/fake-intel.ts';
import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import { pem } from '../../../../test/support/fake-x509.ts';

import type { Evidence } from '../../../wire/evidence.ts';

import { sgxVerifier } from '../sgx/sgx.ts';
import { tdxVerifier } from '../tdx/tdx.ts';

import { day, identity, info, levelOf, lists, verify } from '../../../../test/support/intel-verification.ts';

test('the report data, the fields and the platform come out as they went in', async () => {
  const { claims, reportData, basis } = await verify('sgx', intelEvidence('sgx'));
  assert.deepEqual(reportData, new Uint8Array(64).fill(0x42));
  assert.deepEqual(claims.get('sgx.mr-enclave'), new Uint8Array(32).fill(0xee));
  assert.deepEqual(claims.get('sgx.mr-signer'), new Uint8Array(32).fill(0x51));
  assert.deepEqual(
    ['sgx.isv-prod-id', 'sgx.isv-svn', 'tcb.evaluation-number', 'qe.isv-svn'].map((name) => claims.get(name)),
    [1, 7, 17, 7],
  );
  assert.deepEqual(claims.get('platform.instance-id'), new Uint8Array(16).fill(0x77));
  assert.deepEqual([claims.get('platform.dynamic'), claims.get('platform.cached-keys')], [true, false]);
  assert.ok(basis.some(({ name, value }) => name === 'root' && value.startsWith('fake root ')));
});

test('the evaluation number is the lower of both documents', async () => {
  const { claims } = await verify('sgx', intelEvidence('sgx'), identity({ tcbEvaluationDataNumber: 16 }));
  assert.equal(claims.get('tcb.evaluation-number'), 16);
});

test('the other authority has a list of its own', async () => {
  const issuer = intelNames.processor;
  const certification = pem(
    pckCertificate({ issuer }),
    intermediateCertificate({ subject: issuer }),
    rootCertificateOnce(),
  );
  await verify('sgx', intelEvidence('sgx', { certification }));
  const revoked = { 'intel/pck-crl/processor': { bytes: pckCrl({ issuer, revoked: [serials.pck] }) } };
  await assert.rejects(async () => await verify('sgx', intelEvidence('sgx', { certification }), revoked), {
    details: { check: 'pck-revoked' },
  });
});

test('limits may be reached', async () => {
  const svns = fakePlatform.svns.with(0, 255);
  const platform = { ...fakePlatform, svns, pceSvn: 65_535 };
  await verify('sgx', intelEvidence('sgx', { pck: pckCertificate({}, platform) }));
  const levels = Array.from({ length: 256 }, () => levelOf('UpToDate'));
  await verify('sgx', intelEvidence('sgx'), info('sgx', { tcbLevels: levels }));
  await verify('sgx', intelEvidence('sgx', { authentication: new Uint8Array(1024) }));
  const oldest = { 'intel/root-crl': { obtainedAt: intelNow - 7 * day } };
  await verify('sgx', intelEvidence('sgx'), { ...oldest, ...lists(pckCrl({ thisUpdate: intelNow - 7 * day })) });
  await verify('sgx', intelEvidence('sgx'), info('sgx', { issueDate: dateText(intelNow - 7 * day) }));
  await verify(
    'sgx',
    intelEvidence('sgx'),
    info('sgx', { issueDate: dateText(intelNow), nextUpdate: dateText(intelNow) }),
  );
});

test('a quote may be padded with zeros', async () => {
  await verify('sgx', intelEvidence('sgx', { trailing: new Uint8Array(70) }));
});

test('TCB info of version 2 is read for SGX', async () => {
  const flat = Object.fromEntries(
    fakePlatform.svns.map((svn, index) => [`sgxtcbcomp${String(index + 1).padStart(2, '0')}svn`, svn]),
  );
  const level = { tcb: { ...flat, pcesvn: 13 }, tcbDate: '2024-03-13T00:00:00Z', tcbStatus: 'ConfigurationNeeded' };
  const changes = info('sgx', { version: 2, id: undefined, tcbLevels: [level] });
  const { claims } = await verify('sgx', intelEvidence('sgx'), changes);
  assert.equal(claims.get('tcb.status'), 'ConfigurationNeeded');
});

for (const [type, bytes] of [
  [1, 16],
  [2, 256],
  [3, 384],
] as const)
  test(`certification type ${type}: the certificate comes from collateral`, async () => {
    const pceId = type === 1 ? [] : [Buffer.from([0, 0])];
    const ids = [Buffer.alloc(bytes, 0xab), Buffer.alloc(16, 2), Buffer.from([13, 0]), ...pceId];
    const name = `intel/pck/${'0d'.repeat(16)}/${'02'.repeat(16)}/0d00/0000/${'ab'.repeat(bytes)}`;
    const evidence = intelEvidence('sgx', { certificationType: type, certification: Buffer.concat(ids) });
    const collateral = intelCollateral();
    const issuerChain = pem(intermediateCertificate(), rootCertificate());
    collateral.set(name, { bytes: pem(pckCertificate()), issuerChain, obtainedAt: intelNow });
    const context = { collateral: sourceOf(collateral) };
    await verify('sgx', evidence, {}, context);
    const foreign = pckCertificate({ publicKey: createPublicKey(intelKey('stranger')) });
    collateral.set(name, { bytes: pem(foreign), issuerChain, obtainedAt: intelNow });
    await assert.rejects(async () => await verify('sgx', evidence, {}, context), { code: 'evidence-untrusted' });
    const unsigned = pckCertificate({ signingKey: intelKey('stranger') });
    collateral.set(name, { bytes: pem(unsigned), issuerChain, obtainedAt: intelNow });
    await assert.rejects(async () => await verify('sgx', evidence, {}, context), { code: 'collateral-untrusted' });
  });

test('version 5 carries both kinds of TD report', async () => {
  const small = await verify('tdx', intelEvidence('tdx', { version: 5 }));
  assert.equal(small.claims.has('tdx.mr-service-td'), false);
  const body = tdReport({ teeTcbSvn2: [6, 1, 3] });
  const large = await verify('tdx', intelEvidence('tdx', { version: 5, body }));
  assert.deepEqual(large.claims.get('tdx.mr-service-td'), new Uint8Array(48));
  assert.deepEqual(large.claims.get('tdx.rtmr2'), new Uint8Array(48).fill(0x72));
});

test('attributes of a TD have names', async () => {
  const body = tdReport({ attributes: [0, 0, 0, 0xe0, 0, 0, 0, 0x80] });
  const { claims } = await verify('tdx', intelEvidence('tdx', { body }));
  const flags = ['sept-ve-disable', 'migratable', 'pks', 'kl', 'perfmon'].map((name) => claims.get(`tdx.${name}`));
  assert.deepEqual(flags, [false, true, true, true, true]);
});

test('a quote of every length but the right one is refused by name', async () => {
  const quote = fakeQuote('tdx', { version: 5 });
  const evidence = (length: number): Evidence => ({
    technology: 'tdx',
    parts: { quote: quote.subarray(0, length) },
  });
  await Promise.all(
    Array.from({ length: quote.length - 1 }, async (_, length) => {
      await assert.rejects(async () => await verify('tdx', evidence(length + 1)), { code: 'evidence-invalid' });
    }),
  );
});

for (const technology of ['sgx', 'tdx'] as const) {
  const debugBody = technology === 'sgx' ? enclaveReport({ attributes: 0x07 }) : tdReport({ attributes: [1] });
  verifierConformance(technology, {
    verifier: technology === 'sgx' ? sgxVerifier : tdxVerifier,
    make: () => ({ evidence: good[technology], context: intelContext(goodCollateral) }),
    makeDebug: () => ({
      evidence: intelEvidence(technology, { body: debugBody }),
      context: intelContext(goodCollateral),
    }),
    unauthenticatedParts: ['eventLog'],
  });
}

const goodCollateral = intelCollateral();
const good = { sgx: intelEvidence('sgx'), tdx: intelEvidence('tdx') };

test('any of the debug bits of a TD counts as debug', async () => {
  const { claims } = await verify('tdx', intelEvidence('tdx', { body: tdReport({ attributes: [0x80] }) }));
  assert.equal(claims.get('debug'), true);
});
