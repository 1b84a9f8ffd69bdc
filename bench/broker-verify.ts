/**
 * The time to verify evidence of each technology with its collateral at hand: evidence that tests make up, with every signature,
 * chain, list and level that genuine evidence has. Each verification is of evidence that nobody has shown before.
 */
import { verifiers } from '../src/broker/attest/verifiers.ts';
import type { VerifyContext } from '../src/broker/attest/verifier.ts';
import { technologies, type Evidence, type Technology } from '../src/wire/evidence.ts';
import {
  amdContext,
  certificateTable,
  endorsementCertificate,
  snpEvidence,
  snpReport,
} from '../test/support/fake-amd.ts';
import {
  azureSnpContext,
  azureSnpEvidence,
  azureTdxContext,
  azureTdxEvidence,
} from '../test/support/fake-azure-evidence.ts';
import { fakeCcaEvidence } from '../test/support/fake-cca.ts';
import { intelContext, intelEvidence } from '../test/support/fake-intel.ts';
import { fakeNitroEvidence } from '../test/support/fake-nitro.ts';
import { fakeTpmEvidence } from '../test/support/fake-tpm-evidence.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';
import { median } from './statistics.ts';

interface Case {
  readonly evidence: Evidence;
  readonly context: VerifyContext;
}

const snpTable = (): Uint8Array => certificateTable({ vcek: endorsementCertificate('vcek', 'milan') });

/** What the broker has ready is made once; what a workload brings anew each time. */
const makers: Readonly<Record<Technology, () => () => Case>> = {
  sgx: () => intelCases('sgx'),
  tdx: () => intelCases('tdx'),
  snp: () => {
    const context = amdContext('milan');
    return () => ({ evidence: snpEvidence(snpReport(), snpTable()), context });
  },
  tpm: () => fakeTpmEvidence,
  nitro: () => fakeNitroEvidence,
  'az-snp-vtpm': () => {
    const context = azureSnpContext();
    return () => ({ evidence: azureSnpEvidence(), context });
  },
  'az-tdx-vtpm': () => {
    const context = azureTdxContext();
    return () => ({ evidence: azureTdxEvidence(), context });
  },
  cca: () => fakeCcaEvidence,
};

function intelCases(technology: 'sgx' | 'tdx'): () => Case {
  const context = intelContext();
  return () => ({ evidence: intelEvidence(technology), context });
}

const verifications = 100;

export async function brokerVerifyFigures(context: PartContext): Promise<void> {
  await part(context, 'broker-verify', async () => {
    for (const technology of technologies) {
      const times = await timesOf(technology);
      context.add({
        id: `broker-verify-${technology}`,
        title: `verification of ${technology} evidence, its collateral at hand`,
        value: median(times),
        unit: 'ms',
        note: `the first ${times[0]?.toFixed(1)} ms, the slowest of the others ${Math.max(...times.slice(1)).toFixed(1)} ms`,
      });
    }
  });
}

async function timesOf(technology: Technology): Promise<number[]> {
  const verifier = verifiers.get(technology);
  if (verifier === undefined) throw new Error(`there is no verifier of ${technology}`);
  const make = makers[technology]();
  const times: number[] = [];
  for (let index = 0; index < verifications; index++) {
    const { evidence, context } = make();
    const begun = performance.now();
    await verifier.verify(evidence, context);
    times.push(performance.now() - begun);
  }
  return times;
}
