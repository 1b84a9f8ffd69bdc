/**
 * Azure's confidential machines on Intel TDX (spec/attestation-snp.md, "Azure"): the verifier of
 * `az-tdx-vtpm`. The TD report that the paravisor left in the TPM is not read: only the quote over it is
 * signed by what others can check, and that must be over the same runtime data.
 */
import { checkEvidence, requiredPart } from '../../../wire/evidence.ts';
import { parseHclReport } from '../azure/hcl-report.ts';
import { checkRuntimeDataDigest, verifyVtpmQuote, vtpmDefinitions } from '../azure/vtpm.ts';
import { tdxClaims, tdxClaimValues } from '../tdx/claims.ts';
import { parseTdxQuote } from '../tdx/parse.ts';
import { verifyTdxQuote } from '../tdx/verify.ts';
import type { Verifier } from '../verifier.ts';

export const azureTdxVerifier: Verifier = {
  technology: 'az-tdx-vtpm',
  definitions: [...tdxClaims, ...vtpmDefinitions],
  async verify(evidence, context) {
    checkEvidence(evidence);
    const hcl = parseHclReport(requiredPart(evidence, 'hclReport'), 'tdx');
    const tdQuote = parseTdxQuote(requiredPart(evidence, 'tdQuote'));
    checkRuntimeDataDigest(hcl, tdQuote.report.reportData);
    const quote = verifyVtpmQuote(evidence, hcl);
    const hardware = await verifyTdxQuote(tdQuote, context, 'az-tdx-vtpm');
    return {
      technology: 'az-tdx-vtpm',
      reportData: quote.reportData,
      claims: new Map([...tdxClaimValues(tdQuote.report, hardware), ...quote.claims]),
      basis: hardware.basis,
    };
  },
};
