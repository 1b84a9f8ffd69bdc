/** The verifier of SGX quotes: parse.ts reads, intel/verify.ts proves, claims.ts names (spec/attestation-intel.md). */
import { checkEvidence, requiredPart } from '../../../wire/evidence.ts';
import { verifyIntelQuote } from '../intel/verify.ts';
import type { Verifier } from '../verifier.ts';
import { sgxClaims, sgxClaimValues } from './claims.ts';
import { parseSgxQuote } from './parse.ts';

export const sgxVerifier: Verifier = {
  technology: 'sgx',
  definitions: sgxClaims,
  async verify(evidence, context) {
    checkEvidence(evidence);
    const quote = parseSgxQuote(requiredPart(evidence, 'quote'));
    const verification = await verifyIntelQuote(quote, context, { technology: 'sgx', rootsOf: 'sgx' });
    return {
      technology: 'sgx',
      reportData: quote.report.reportData,
      claims: sgxClaimValues(quote.report, verification),
      basis: verification.basis,
    };
  },
};
