/**
 * Evidence of a confidential virtual machine of Azure: the paravisor owns the SEV-SNP or TDX report and the virtual
 * TPM; its report (HCL) names the TPM's attestation key, and that key signs our report data in a quote.
 *
 * The certificate of the chip and the TDX quote come from the platform's own web service, which is the host's: a fetcher
 * is injected, and what it brings is judged by the broker like everything else.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { evidencePartBytesMax } from '../lib/limits.ts';
import { isTpmRefusal } from '../tpm/tpm-errors.ts';
import { nvRead, nvReadPublic } from '../tpm/tpm-nv.ts';
import { readPublic } from '../tpm/tpm-objects.ts';
import { withTpm } from '../tpm/tpm.ts';
import type { Evidence } from '../wire/evidence.ts';
import { carriedReportData } from '../wire/report-data.ts';
import { checkReportDataLength, evidenceMissing } from './evidence-source.ts';
import type { EvidenceSource } from './evidence-source.ts';
import type { PlatformFetch } from './platform-fetch.ts';
import { bankOf, quoteParts } from './tpm-source.ts';
import type { TpmSourceOptions } from './tpm-source.ts';

const reportIndex = 0x0140_0001;
const attestationKeyHandle = 0x8100_0003;
/** A header, the hardware's report, then the runtime data, whose third word says which hardware. */
const hardwareReportAt = 0x20;
const reportTypeAt = 0x4c8;
const reportTypes: Readonly<Record<number, 'az-snp-vtpm' | 'az-tdx-vtpm'>> = { 2: 'az-snp-vtpm', 4: 'az-tdx-vtpm' };
const tdReportBytes = 1024;
const certificateUrl = 'http://169.254.169.254/metadata/THIM/amd/certification';
const quoteUrl = 'http://169.254.169.254/acc/tdquote';

export interface AzureSourceOptions extends TpmSourceOptions {
  readonly fetch?: PlatformFetch;
}

/** Undefined where the TPM is no such paravisor's. */
export async function openAzureSource(options: AzureSourceOptions = {}): Promise<EvidenceSource | undefined> {
  const { device, tpm: tpmOptions = {} } = options;
  const hclReport = await readReport(options);
  if (hclReport === undefined) return undefined;
  const technology = technologyOf(hclReport);
  const bank = bankOf(options);
  return {
    technology,
    describe: `reports of Azure's paravisor (${technology}), registers ${bank.indexes.join(', ')} of ${bank.hash.name}`,
    gather: async (reportData) => {
      checkReportDataLength(reportData);
      const report = (await readReport(options)) ?? hclReport;
      const parts = await withTpm(
        device,
        async (tpm) => {
          const key = await readPublic(tpm, attestationKeyHandle);
          return quoteParts(tpm, key, carriedReportData(technology, reportData), bank);
        },
        tpmOptions,
      );
      return {
        technology,
        parts: { hclReport: report, ...parts, ...(await platformParts(options, technology, report)) },
      };
    },
  };
}

async function readReport({ device, tpm: tpmOptions = {} }: AzureSourceOptions): Promise<Uint8Array | undefined> {
  try {
    return await withTpm(
      device,
      async (tpm) => {
        const index = await nvReadPublic(tpm, reportIndex);
        return index?.isWritten === true ? nvRead(tpm, index) : undefined;
      },
      tpmOptions,
    );
  } catch (error) {
    if (isTpmRefusal(error, 'NV_AUTHORIZATION')) return undefined; // an index of somebody else
    throw error;
  }
}

function technologyOf(report: Uint8Array): 'az-snp-vtpm' | 'az-tdx-vtpm' {
  const magic = new TextDecoder('latin1').decode(report.subarray(0, 4));
  const view = new DataView(report.buffer, report.byteOffset, report.byteLength);
  const type = report.length >= reportTypeAt + 4 ? view.getUint32(reportTypeAt, true) : 0;
  const technology = magic === 'HCLA' ? reportTypes[type] : undefined;
  if (technology !== undefined) return technology;
  throw evidenceMissing(
    `NV index 0x0${reportIndex.toString(16)} holds no report of a paravisor that Caisson knows`,
    'Use evidence=tpm where this TPM has nothing to do with Azure.',
  );
}

/** What only the platform's service has. The certificate may come from the broker's own collateral instead. */
async function platformParts(
  { fetch }: AzureSourceOptions,
  technology: 'az-snp-vtpm' | 'az-tdx-vtpm',
  report: Uint8Array,
): Promise<Evidence['parts']> {
  if (technology === 'az-snp-vtpm') {
    if (fetch === undefined) return {};
    const headers = { Metadata: 'true' };
    const question = { url: certificateUrl, method: 'GET', headers, bytesMax: evidencePartBytesMax } as const;
    const answer = await fetch(question).catch((error: unknown) => {
      if (isCaissonError(error, 'evidence-missing')) return undefined; // the broker may know the certificate
      throw error;
    });
    if (answer === undefined) return {};
    return { vcek: new TextEncoder().encode(textMember(answer, 'vcekCert', certificateUrl)) };
  }
  if (fetch === undefined)
    throw evidenceMissing('TDX on Azure needs the service at 169.254.169.254', 'Let this process reach it.');
  const hardwareReport = report.subarray(hardwareReportAt, hardwareReportAt + tdReportBytes);
  const body = JSON.stringify({ report: Buffer.from(hardwareReport).toString('base64url') });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch({ url: quoteUrl, method: 'POST', headers, body, bytesMax: evidencePartBytesMax });
  const quote = Buffer.from(textMember(answer, 'quote', quoteUrl), 'base64url');
  if (quote.length === 0) throw evidenceMissing(`${quoteUrl} gave no quote`, 'Try again.');
  return { tdQuote: new Uint8Array(quote) };
}

function textMember(answer: Uint8Array, name: string, url: string): string {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(answer));
    const member = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
    if (typeof member === 'string' && member !== '') return member;
  } catch {
    // Not JSON: told like any other answer without the member.
  }
  throw new CaissonError('io', 'evidence-missing', `${url} gave an answer without ${name}`, {
    remedy: 'Check that this is a confidential virtual machine of Azure.',
  });
}
