/**
 * Public TDX quotes for which there are no lists of their time: who signed them is checked step by step up to Intel's root, and
 * one change at each step is refused. The debug TD has a platform whose lists are among the samples: it is verified whole.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pckPlatform } from '../../src/broker/attest/intel/pck.ts';
import type { PckPlatform } from '../../src/broker/attest/intel/pck.ts';
import { intelRoots } from '../../src/broker/attest/intel/roots.ts';
import { readQeIdentity } from '../../src/broker/attest/intel/tcb-info.ts';
import { readSigned } from '../../src/broker/attest/intel/signed-json.ts';
import { checkQeIdentity, checkQeReport, checkQuoteSignature } from '../../src/broker/attest/intel/verify.ts';
import { parseTdxQuote } from '../../src/broker/attest/tdx/parse.ts';
import { splitPem, verifyChain } from '../../src/broker/attest/x509/certificates.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { requireSamples, sample } from '../support/evidence-samples.ts';
import { emptyContext } from '../support/fake-tpm-evidence.ts';

const quotes = [
  { name: 'quote_v5_sample.dat', now: Date.UTC(2026, 1, 3), fmspc: '90c06f000000', length: 5006 },
  { name: 'cos-113-tdx-quote.dat', now: Date.UTC(2024, 6, 3), fmspc: '00806f050000', length: 8000 },
] as const;

/** Everything but revocation, TCB and the dates of lists. */
function signedBy(quote: Uint8Array, now: number): PckPlatform {
  const parsed = parseTdxQuote(quote);
  assert.ok(parsed.certification.kind === 'chain');
  const [leaf, ...intermediates] = splitPem(parsed.certification.pem, 'evidence');
  const roots = intelRoots('tdx', emptyContext).map(({ certificate }) => certificate);
  const { path } = verifyChain({ leaf: leaf!, intermediates, roots, now, origin: 'evidence' });
  assert.equal(path.length, 3);
  checkQeReport(parsed, path[0]!.publicKey);
  checkQeIdentity(parsed.qeReport, qeIdentity(), 'tdx');
  checkQuoteSignature(parsed);
  return pckPlatform(path[0]!);
}

/** Of another year, which Intel's signer signed all the same; the enclave's signer, product and attributes have not changed. */
function qeIdentity(): ReturnType<typeof readQeIdentity> {
  const [signer] = splitPem(sample('intel/go-tdx-guest/qeIdentityIssuerChain.pem'), 'collateral');
  const bytes = sample('intel/go-tdx-guest/sample_qeIdentity_response');
  return readSigned(bytes, 'enclaveIdentity', 'qe-identity', signer!.publicKey, readQeIdentity);
}

for (const { name, now, fmspc, length } of quotes) {
  const file = `intel/go-tdx-guest/${name}`;
  test(`${name}: Intel's root vouches for the platform, the platform for the enclave, the enclave for the quote`, (t) => {
    if (!requireSamples(t)) return;
    const quote = sample(file);
    assert.equal(quote.length, length);
    assert.equal(signedBy(quote, now).fmspc, fmspc);
  });

  test(`${name}: a changed byte is refused at the step that signs it`, (t) => {
    if (!requireSamples(t)) return;
    const quote = sample(file);
    const { report, signature, qeReport, qeReportSignature, attestationKey } = parseTdxQuote(quote);
    const at = (piece: Uint8Array): number => Buffer.from(quote).indexOf(piece);
    const steps: readonly (readonly [what: string, place: number, check: string])[] = [
      ['measurement', at(report.mrTd), 'quote-signature'],
      ['report data', at(report.reportData), 'quote-signature'],
      ['signature', at(signature), 'quote-signature'],
      ['attestation key', at(attestationKey), 'attestation-key'],
      // Its size is between: it may be all zeros, which are found elsewhere first.
      ['authentication data', at(qeReportSignature) + qeReportSignature.length + 2, 'attestation-key'],
      ['QE report', at(qeReport.bytes), 'qe-report-signature'],
      ['QE report signature', at(qeReportSignature), 'qe-report-signature'],
    ];
    for (const [what, place, check] of steps) {
      const changed = quote.with(place + 7, quote[place + 7]! ^ 1);
      assert.throws(() => signedBy(changed, now), refusedBy(check), what);
    }
    const long = now + 20 * 365 * 86_400_000;
    assert.throws(() => signedBy(quote, long), refusedBy('certificate-dates'));
  });
}

function refusedBy(check: string): (error: unknown) => boolean {
  return (error) => error instanceof CaissonError && error.details['check'] === check;
}
