/** AMD SEV-SNP (spec/attestation-snp.md): the verifier of `snp` evidence. */
import { checkEvidence, requiredPart } from '../../../wire/evidence.ts';
import type { Verifier } from '../verifier.ts';
import { parseCertificateTable } from './certificate-table.ts';
import { snpClaimDefinitions, snpClaims } from './claims.ts';
import { parseSnpReport } from './report.ts';
import { verifySnpReport } from './verify.ts';
import type { GivenKeys } from './verify.ts';

export const snpVerifier: Verifier = {
  technology: 'snp',
  definitions: snpClaimDefinitions,
  async verify(evidence, context) {
    checkEvidence(evidence);
    const report = parseSnpReport(requiredPart(evidence, 'report'));
    const table = evidence.parts['certificates'];
    const given: GivenKeys = table === undefined ? {} : Object.fromEntries(parseCertificateTable(table));
    const verified = await verifySnpReport(report, given, context, 'snp');
    return {
      technology: 'snp',
      reportData: report.reportData,
      claims: snpClaims(verified),
      basis: verified.basis,
    };
  },
};
