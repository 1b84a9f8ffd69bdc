/** SGX quotes as Gramine hands them out (its manual, "Attestation and Secret Provisioning"): two pseudo-files. */
import { checkReportDataLength, evidenceMissing } from './evidence-source.ts';
import type { EvidenceSource } from './evidence-source.ts';
import { nodeReportFiles } from './report-files.ts';
import type { ReportFiles } from './report-files.ts';

export const gramineFolder = '/dev/attestation';

export interface GramineOptions {
  readonly folder?: string;
  readonly files?: ReportFiles;
}

/** Undefined outside Gramine on SGX. */
export async function openGramineSource(options: GramineOptions = {}): Promise<EvidenceSource | undefined> {
  const { folder = gramineFolder, files = nodeReportFiles } = options;
  const kind = await files.read(`${folder}/attestation_type`);
  if (kind === undefined) return undefined;
  const text = new TextDecoder().decode(kind).trim();
  if (text !== 'dcap') {
    throw evidenceMissing(
      `Gramine attests by ${JSON.stringify(text)}`,
      'Set sgx.remote_attestation = "dcap" in the manifest.',
    );
  }
  return {
    technology: 'sgx',
    describe: 'SGX quotes of Gramine',
    gather: async (reportData) => {
      checkReportDataLength(reportData);
      await files.write(`${folder}/user_report_data`, reportData);
      const quote = await files.read(`${folder}/quote`);
      if (quote !== undefined && quote.length > 0) return { technology: 'sgx', parts: { quote } };
      throw evidenceMissing('Gramine gave no quote', 'Check that the quoting service (aesmd) runs on the host.');
    },
  };
}
