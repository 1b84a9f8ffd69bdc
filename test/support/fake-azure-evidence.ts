/** Whole evidence of machines of Azure that do not exist, over SNP and over TDX, and the context in which it verifies. */
import { createHash } from 'node:crypto';
import type { VerifyContext } from '../../src/broker/attest/verifier.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { amdContext, authorityCertificate, endorsementCertificate } from './fake-amd.ts';
import type { FakeReport } from './fake-amd.ts';
import { hclReport, runtimeData, vtpmQuote } from './fake-azure.ts';
import { fakeQuote, intelContext, rootCertificateOnce, tdReport } from './fake-intel.ts';

type Parts = Readonly<Record<string, Uint8Array>>;

export function azureSnpEvidence(parts: Parts = {}, snp: FakeReport = {}): Evidence {
  const vcek = endorsementCertificate('vcek', snp.product ?? 'milan');
  return { technology: 'az-snp-vtpm', parts: { hclReport: hclReport({}, snp), ...vtpmQuote(), vcek, ...parts } };
}

export function azureSnpContext(changes: Partial<VerifyContext> = {}): VerifyContext {
  const der = authorityCertificate('ark', 'milan');
  return amdContext('milan', { extraRoots: [{ technology: 'az-snp-vtpm', name: 'fake', der }], ...changes });
}

/** A TD report of the paravisor with these report data. */
export function paravisorReport(reportData: Uint8Array, attributes?: readonly number[]): Uint8Array {
  const report = tdReport(attributes === undefined ? {} : { attributes });
  report.set(reportData, 520);
  return report;
}

/** What report data say of the runtime data: their digest, and zeros. */
export function runtimeDigest(json: Uint8Array, hash = 'sha256'): Uint8Array {
  const data = new Uint8Array(64);
  data.set(createHash(hash).update(json).digest());
  return data;
}

/** The TD report in the TPM is not read: here it is not even one. */
export function azureTdxHcl(json = runtimeData(), reportType = 4): Uint8Array {
  return hclReport({ json, reportType, hardware: () => new Uint8Array(1024).fill(0x81) });
}

export function azureTdxEvidence(parts: Parts = {}): Evidence {
  const tdQuote = fakeQuote('tdx', { body: paravisorReport(runtimeDigest(runtimeData())) });
  return { technology: 'az-tdx-vtpm', parts: { hclReport: azureTdxHcl(), tdQuote, ...vtpmQuote(), ...parts } };
}

export function azureTdxContext(): VerifyContext {
  const root = { technology: 'az-tdx-vtpm', name: 'fake', der: rootCertificateOnce() } as const;
  return { ...intelContext(), extraRoots: [root] };
}
