/** Azure's confidential machines on AMD SEV-SNP (spec/attestation-snp.md, "Azure"): the verifier of `az-snp-vtpm`. */
import { checkEvidence, requiredPart } from '../../../wire/evidence.ts';
import { parseHclReport } from '../azure/hcl-report.ts';
import { checkRuntimeDataDigest, verifyVtpmQuote, vtpmDefinitions } from '../azure/vtpm.ts';
import { snpClaimDefinitions, snpClaims } from '../snp/claims.ts';
import { parseSnpReport } from '../snp/report.ts';
import { verifySnpReport } from '../snp/verify.ts';
import type { Verifier } from '../verifier.ts';

export const azureSnpVerifier: Verifier = {
  technology: 'az-snp-vtpm',
  definitions: [...snpClaimDefinitions, ...vtpmDefinitions],
  async verify(evidence, context) {
    checkEvidence(evidence);
    const hcl = parseHclReport(requiredPart(evidence, 'hclReport'), 'snp');
    const report = parseSnpReport(hcl.hardwareReport);
    checkRuntimeDataDigest(hcl, report.reportData);
    const quote = verifyVtpmQuote(evidence, hcl);
    const { vcek } = evidence.parts;
    const hardware = await verifySnpReport(report, vcek === undefined ? {} : { vcek }, context, 'az-snp-vtpm');
    return {
      technology: 'az-snp-vtpm',
      reportData: quote.reportData,
      claims: new Map([...snpClaims(hardware), ...quote.claims]),
      basis: hardware.basis,
    };
  },
};
