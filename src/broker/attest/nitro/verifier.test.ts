/** Nitro documents: one test for each check of spec/attestation-nitro.md, on documents that are right but for one thing. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import { fakeNitroEvidence, registers, type FakeNitroEvidence } from '../../../../test/support/fake-nitro.ts';
import { emptyContext, keyPair, now } from '../../../../test/support/fake-tpm-evidence.ts';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import { isCaissonError, type ErrorCode } from '../../../lib/errors.ts';
import { nitroDocumentAgeMillisecondsMax, nitroDocumentEarlyMillisecondsMax } from '../../../lib/limits.ts';
import type { VerifiedEvidence, VerifyContext } from '../verifier.ts';
import { awsNitroRoot } from './root.ts';
import { verifier } from './verifier.ts';

type Made = Pick<FakeNitroEvidence, 'evidence' | 'context'>;

function verify({ evidence, context }: Made): Promise<VerifiedEvidence> {
  return verifier.verify(evidence, context);
}

async function refuses(made: Made, check: string, code: ErrorCode = 'evidence-untrusted'): Promise<void> {
  await assert.rejects(verify(made), (error) => {
    assert.ok(isCaissonError(error, code), String(error));
    assert.equal(error.details['check'], check);
    return true;
  });
}

async function malformed(fields: Readonly<Record<string, unknown>>): Promise<void> {
  await refuses(fakeNitroEvidence({ fields }), 'document-form', 'evidence-invalid');
}

function debugRegisters(): Map<number, Uint8Array> {
  const zero = new Uint8Array(48);
  return registers(16).set(0, zero).set(1, zero).set(2, zero);
}

verifierConformance('nitro', {
  ...{ verifier, make: fakeNitroEvidence },
  makeDebug: () => fakeNitroEvidence({ fields: { pcrs: debugRegisters() } }),
});

test('a right document gives its report data and every claim', async () => {
  const { reportData, claims, basis } = await verify(fakeNitroEvidence());
  assert.deepEqual(reportData, new Uint8Array(64).fill(0xda));
  assert.equal(claims.get('debug'), false);
  assert.deepEqual(claims.get('nitro.pcr.0'), new Uint8Array(48).fill(1));
  assert.deepEqual(claims.get('nitro.pcr.15'), new Uint8Array(48).fill(16));
  assert.equal(claims.get('nitro.module-id'), 'i-0123456789abcdef0-enc0123');
  assert.equal(claims.get('nitro.timestamp'), '2026-06-01T00:00:00Z');
  assert.deepEqual(claims.get('nitro.user-data'), reportData);
  assert.equal(claims.has('nitro.nonce'), false);
  assert.deepEqual(basis, [{ name: 'root', value: 'Fake Nitro Root' }]);
  await verify(fakeNitroEvidence({ sign1: { tag: 18 } }));
});

test('report data is the user data, else the nonce, else nothing', async () => {
  const nonce = new Uint8Array(20).fill(7);
  const reportData = async (fields: Readonly<Record<string, unknown>>): Promise<Uint8Array> =>
    (await verify(fakeNitroEvidence({ fields }))).reportData;
  assert.deepEqual(await reportData({ nonce }), new Uint8Array(64).fill(0xda));
  assert.deepEqual(await reportData({ user_data: null, nonce }), nonce);
  assert.deepEqual(await reportData({ user_data: new Uint8Array(0), nonce }), nonce);
  assert.deepEqual(await reportData({ user_data: undefined, nonce: undefined }), new Uint8Array(0));
});

test('registers of zeros, or none, are debug', async () => {
  const debug = async (pcrs: Map<number, Uint8Array>): Promise<unknown> =>
    (await verify(fakeNitroEvidence({ fields: { pcrs } }))).claims.get('debug');
  const zero = new Uint8Array(48);
  const zeros = debugRegisters();
  assert.equal(await debug(zeros), true);
  for (const index of [0, 1, 2]) assert.equal(await debug(new Map(zeros).set(index, zero.with(47, 1))), false);
  const lacking = registers(16);
  lacking.delete(2);
  assert.equal(await debug(lacking), true);
});

test('registers of a NitroTPM have claims of their own', async () => {
  const made = fakeNitroEvidence({ fields: { pcrs: undefined, nitrotpm_pcrs: registers(24) } });
  const { claims } = await verify(made);
  assert.deepEqual(claims.get('nitro-tpm.pcr.23'), new Uint8Array(48).fill(24));
  assert.equal(
    [...claims.keys()].some((name) => name.startsWith('nitro.pcr')),
    false,
  );
  assert.equal(claims.get('debug'), false);
  const unmeasured = fakeNitroEvidence({ fields: { pcrs: undefined, nitrotpm_pcrs: debugRegisters() } });
  assert.equal((await verify(unmeasured)).claims.get('debug'), false);
});

test('document-form: each field', async () => {
  for (const field of ['module_id', 'digest', 'timestamp', 'pcrs', 'certificate', 'cabundle'])
    await malformed({ [field]: undefined });
  await malformed({ nitrotpm_pcrs: registers(24) });
  await malformed({ module_id: '' });
  await malformed({ module_id: 'x'.repeat(257) });
  await malformed({ digest: 'SHA256' });
  await malformed({ timestamp: -1 });
  await malformed({ timestamp: 'now' });
  await malformed({ pcrs: new Map() });
  await malformed({ pcrs: registers(33) });
  await malformed({ pcrs: registers(16, 32) });
  await malformed({ pcrs: new Map([['0', new Uint8Array(48)]]) });
  await malformed({ pcrs: new Map([[-1, new Uint8Array(48)]]) });
  await malformed({ certificate: new Uint8Array(0) });
  await malformed({ certificate: new Uint8Array(1025) });
  await malformed({ cabundle: [] });
  await malformed({ cabundle: Array.from({ length: 9 }, () => Uint8Array.of(1)) });
  await malformed({ cabundle: [new Uint8Array(1025)] });
  await malformed({ public_key: new Uint8Array(1025) });
  await malformed({ user_data: new Uint8Array(513) });
  await malformed({ nonce: new Uint8Array(513) });
  await malformed({ nonce: 'text' });
});

test('bytes that are no document', async () => {
  const { evidence, context } = fakeNitroEvidence();
  const document = evidence.parts['document']!;
  const withDocument = (bytes: Uint8Array): Made => ({
    context,
    evidence: { ...evidence, parts: { document: bytes } },
  });
  await refuses(withDocument(document.subarray(0, 500)), 'cbor', 'evidence-invalid');
  await refuses(withDocument(Uint8Array.of(...document, 0)), 'cbor', 'evidence-invalid');
  await refuses(fakeNitroEvidence({ sign1: { payload: Uint8Array.of(0x9f, 0xff) } }), 'cbor', 'evidence-invalid');
  await refuses(
    fakeNitroEvidence({ sign1: { change: (items) => items.toSpliced(3, 1) } }),
    'cose-form',
    'evidence-invalid',
  );
  await assert.rejects(verify({ context, evidence: { technology: 'nitro', parts: {} } }), (error) =>
    isCaissonError(error, 'evidence-invalid'),
  );
});

test('cose-signature: another key, other bytes, another algorithm', async () => {
  await refuses(fakeNitroEvidence({ sign1: { key: keyPair('other', 'P-384').privateKey } }), 'cose-signature');
  await refuses(fakeNitroEvidence({ sign1: { algorithm: -7 } }), 'cose-signature');
  const changed = fakeNitroEvidence({
    sign1: { change: (items) => items.with(3, (items[3] as Uint8Array).toReversed()) },
  });
  await refuses(changed, 'cose-signature');
});

test('nitro-root', async () => {
  const made = fakeNitroEvidence();
  const none: VerifyContext = { ...made.context, extraRoots: [] };
  await refuses({ ...made, context: none }, 'nitro-root');
  await refuses(fakeNitroEvidence({ cabundle: ([, ...rest]) => rest }), 'nitro-root');
  await refuses(fakeNitroEvidence({ cabundle: ([root, ...rest]) => [...rest, root!] }), 'nitro-root');
});

test('certificate checks: issuer, signature, dates', async () => {
  await refuses(fakeNitroEvidence({ cabundle: ([root, zone]) => [root!, zone!] }), 'certificate-issuer');
  await refuses(fakeNitroEvidence({ cabundle: ([root, , instance]) => [root!, instance!] }), 'certificate-issuer');
  const pinnedFirst = fakeNitroEvidence({ cabundle: ([, ...rest]) => [awsNitroRoot, ...rest] });
  await refuses(pinnedFirst, 'certificate-issuer');
  const made = fakeNitroEvidence();
  await refuses({ ...made, context: { ...made.context, now: now + 2 * 86_400_000 } }, 'certificate-dates');
});

test('cabundle-order: authorities in another order, or beside the chain', async () => {
  await refuses(fakeNitroEvidence({ cabundle: ([root, zone, ...rest]) => [root!, ...rest, zone!] }), 'cabundle-order');
  await refuses(fakeNitroEvidence({ cabundle: (all) => [...all, all[1]!] }), 'cabundle-order');
  await refuses(fakeNitroEvidence({ cabundle: ([root, ...rest]) => [root!, root!, ...rest] }), 'cabundle-order');
});

test('document-time', async () => {
  const at = (now_: number): Made => {
    const made = fakeNitroEvidence();
    return { ...made, context: { ...made.context, now: now_ } };
  };
  await verify(at(now + nitroDocumentAgeMillisecondsMax));
  await refuses(at(now + nitroDocumentAgeMillisecondsMax + 1), 'document-time');
  await verify(at(now - nitroDocumentEarlyMillisecondsMax));
  await refuses(at(now - nitroDocumentEarlyMillisecondsMax - 1), 'document-time');
});

test('the pinned root is the one that AWS publishes', () => {
  const fingerprint = new X509Certificate(awsNitroRoot).fingerprint256.replaceAll(':', '').toLowerCase();
  assert.equal(fingerprint, '641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b');
});

test('a genuine document of a production enclave', async (t) => {
  if (!requireSamples(t)) return;
  const document = sample('nitro/valid-attestation-doc-bytes');
  const context = { ...emptyContext, now: Date.UTC(2022, 9, 13, 8, 58, 2) };
  const made: Made = { evidence: { technology: 'nitro', parts: { document } }, context };
  const { reportData, claims, basis } = await verify(made);
  assert.equal(claims.get('debug'), false);
  assert.equal(claims.get('nitro.module-id'), 'i-020b6af9246d90e92-enc0183d09086c24190');
  assert.equal(
    (claims.get('nitro.pcr.8') as Uint8Array).some((byte) => byte !== 0),
    true,
  );
  assert.equal(reportData.length, 256);
  assert.deepEqual(basis, [{ name: 'root', value: 'AWS Nitro Enclaves Root G1' }]);
  assert.deepEqual(awsNitroRoot, Uint8Array.from(new X509Certificate(sampleText('nitro/nitro.pem')).raw));

  const later = { ...made, context: { ...context, now: context.now + 4 * 3_600_000 } };
  await refuses(later, 'certificate-dates');
  for (let at = 0; at < document.length; at += 97) {
    const parts = { document: document.with(at, document[at]! ^ 0x40) };
    await assert.rejects(
      verify({ ...made, evidence: { technology: 'nitro', parts } }),
      (error) => isCaissonError(error, 'evidence-untrusted') || isCaissonError(error, 'evidence-invalid'),
    );
  }
});
