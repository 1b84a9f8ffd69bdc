/** The verifiers, by technology: the one list that broker and policies look at. */
import type { Technology } from '../../wire/evidence.ts';
import { azureSnpVerifier } from './azure-snp/azure-snp.ts';
import { azureTdxVerifier } from './azure-tdx/azure-tdx.ts';
import { verifier as ccaVerifier } from './cca/verifier.ts';
import { verifier as nitroVerifier } from './nitro/verifier.ts';
import { sgxVerifier } from './sgx/sgx.ts';
import { snpVerifier } from './snp/snp.ts';
import { tdxVerifier } from './tdx/tdx.ts';
import { verifier as tpmVerifier } from './tpm/verifier.ts';
import type { Verifier } from './verifier.ts';

const all: readonly Verifier[] = [
  sgxVerifier,
  tdxVerifier,
  snpVerifier,
  tpmVerifier,
  nitroVerifier,
  azureSnpVerifier,
  azureTdxVerifier,
  ccaVerifier,
];

export const verifiers: ReadonlyMap<Technology, Verifier> = new Map(
  all.map((verifier) => [verifier.technology, verifier]),
);
