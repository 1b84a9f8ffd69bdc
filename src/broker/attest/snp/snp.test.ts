import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import type { VerifierInput } from '../../../../test/conformance/verifier.ts';
import {
  amdContext,
  certificateTable,
  endorsementCertificate,
  snpEvidence,
  snpReport,
} from '../../../../test/support/fake-amd.ts';
import type { FakeReport } from '../../../../test/support/fake-amd.ts';
import { snpVerifier } from './snp.ts';

function input(options: FakeReport): VerifierInput {
  const { kind = 'vcek', product = 'milan' } = options;
  const table = certificateTable({ [kind]: endorsementCertificate(kind, product) });
  return { evidence: snpEvidence(snpReport(options), table), context: amdContext(product) };
}

const debugPolicy = { patches: [[0xa, [0xb]]] } as const;

verifierConformance('snp with a VCEK in its table', {
  verifier: snpVerifier,
  make: () => input({}),
  makeDebug: () => input(debugPolicy),
});

verifierConformance('snp of Turin with a VLEK', {
  verifier: snpVerifier,
  make: () => input({ version: 5, product: 'turin', kind: 'vlek' }),
  makeDebug: () => input({ ...debugPolicy, version: 5, product: 'turin', kind: 'vlek' }),
});

verifierConformance('snp with a VCEK from collateral', {
  verifier: snpVerifier,
  make: () => ({ evidence: snpEvidence(snpReport({ product: 'genoa' })), context: amdContext('genoa') }),
  makeDebug: undefined,
});
