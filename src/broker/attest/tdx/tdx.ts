/** The verifier of TDX quotes: parse.ts reads, verify.ts proves, claims.ts names (spec/attestation-intel.md). */
import { checkEvidence, requiredPart } from '../../../wire/evidence.ts';
import type { Verifier } from '../verifier.ts';
import { tdxClaims, tdxClaimValues } from './claims.ts';
import { parseTdxQuote } from './parse.ts';
import { verifyTdxQuote } from './verify.ts';

export const tdxVerifier: Verifier = {
  technology: 'tdx',
  definitions: tdxClaims,
  async verify(evidence, context) {
    checkEvidence(evidence);
    const quote = parseTdxQuote(requiredPart(evidence, 'quote'));
    const verification = await verifyTdxQuote(quote, context, 'tdx');
    return {
      technology: 'tdx',
      reportData: quote.report.reportData,
      claims: tdxClaimValues(quote.report, verification),
      basis: verification.basis,
    };
  },
};
