/** A certified counter is believed only as it was asked for. */
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { fakeTpmSignature, keyPair, sha256 } from '../../../../test/support/fake-tpm-evidence.ts';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import { isCaissonError, type ErrorCode } from '../../../lib/errors.ts';
import { encodeAttest, parseAttest, type NvCertifyInfo, type TpmAttest } from '../../../wire/tpm/attest.ts';
import { verifyNvCertify } from './quote.ts';

const nonce = new Uint8Array(32).fill(3);
const indexName = new Uint8Array(34).fill(4);
const expected = { key: keyPair('ak', 'P-256').publicKey, nonce, indexName };

function certify(info: Partial<NvCertifyInfo> = {}, attest: Partial<TpmAttest> = {}) {
  const bytes = encodeAttest({
    ...{ qualifiedSigner: new Uint8Array(34), extraData: nonce, clock: 1n, resetCount: 5, restartCount: 6 },
    ...{ isClockSafe: true, firmwareVersion: 1n },
    attested: { type: 'nv-certify', indexName, offset: 0, contents: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2), ...info },
    ...attest,
  });
  const options = { akKind: 'P-256', scheme: 'ecdsa', signatureHash: sha256, signer: undefined } as const;
  return { attest: bytes, signature: fakeTpmSignature(bytes, options) };
}

function refuses(made: ReturnType<typeof certify>, check: string, code: ErrorCode = 'evidence-untrusted'): void {
  assert.throws(
    () => verifyNvCertify(made, expected),
    (error) => {
      assert.ok(isCaissonError(error, code), String(error));
      assert.equal(error.details['check'], check);
      return true;
    },
  );
}

test('the number of a counter', () => {
  assert.deepEqual(verifyNvCertify(certify(), expected), { value: 2n ** 32n + 2n, resetCount: 5, restartCount: 6 });
});

test('nv-form', () => {
  const { attest, signature } = certify();
  refuses({ attest: attest.subarray(1), signature }, 'nv-form', 'evidence-invalid');
  refuses({ attest, signature: signature.subarray(1) }, 'nv-form', 'evidence-invalid');
  const other = { type: 'certify', name: indexName, qualifiedName: indexName } as const;
  refuses(certify({}, { attested: other }), 'nv-form', 'evidence-invalid');
});

test('nv-signature', () => {
  const { attest } = certify();
  refuses({ attest: attest.with(attest.length - 1, 9), signature: certify().signature }, 'nv-signature');
});

test('nv-nonce', () => refuses(certify({}, { extraData: nonce.with(0, 9) }), 'nv-nonce'));
test('nv-index', () => refuses(certify({ indexName: indexName.with(33, 9) }), 'nv-index'));
test('nv-contents', () => {
  refuses(certify({ offset: 1 }), 'nv-contents');
  refuses(certify({ contents: new Uint8Array(7) }), 'nv-contents');
  refuses(certify({ contents: new Uint8Array(9) }), 'nv-contents');
});

test('a counter that a software TPM certified', (t) => {
  if (!requireSamples(t)) return;
  const made = { attest: sample('tpm/swtpm/nvc.msg'), signature: sample('tpm/swtpm/nvc.sig') };
  const { attested, extraData } = parseAttest(made.attest);
  assert.equal(attested.type, 'nv-certify');
  if (attested.type !== 'nv-certify') return;
  const key = createPublicKey(sampleText('tpm/swtpm/ak.pem'));
  const counter = verifyNvCertify(made, { key, nonce: extraData, indexName: attested.indexName });
  assert.equal(counter.value, 2n);
});
