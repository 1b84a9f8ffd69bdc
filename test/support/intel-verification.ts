/** Evidence of a fake Intel with some of its collateral changed, given to the verifiers. */
import type { Collateral } from '../../src/broker/attest/collateral.ts';
import { sgxVerifier } from '../../src/broker/attest/sgx/sgx.ts';
import { tdxVerifier } from '../../src/broker/attest/tdx/tdx.ts';
import type { VerifiedEvidence, VerifyContext } from '../../src/broker/attest/verifier.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import {
  fakePlatform,
  intelCollateral,
  intelContext,
  qeIdentity,
  signedDocument,
  tcbInfo,
  tcbLevel,
} from './fake-intel.ts';

export type Technology = 'sgx' | 'tdx';
/** Pieces of collateral by name, and what of them is changed. */
export type Changes = Record<string, Partial<Collateral>>;
export const day = 86_400_000;

export const tcbName = (technology: Technology): string => `intel/${technology}/tcb/${fakePlatform.fmspc}`;
export const info = (technology: Technology, changes: object): Changes => ({
  [tcbName(technology)]: { bytes: signedDocument('tcbInfo', tcbInfo(technology, { ...changes })) },
});
export const identity = (changes: object, technology: Technology = 'sgx'): Changes => ({
  [`intel/${technology}/qe-identity`]: {
    bytes: signedDocument('enclaveIdentity', qeIdentity(technology, { ...changes })),
  },
});
export const lists = (bytes: Uint8Array): Changes => ({ 'intel/pck-crl/platform': { bytes } });
export const levelOf = (status: string): object => tcbLevel({ status });

export async function verify(
  technology: Technology,
  evidence: Evidence,
  changes: Changes = {},
  context: Partial<VerifyContext> = {},
): Promise<VerifiedEvidence> {
  const collateral = intelCollateral();
  for (const [name, change] of Object.entries(changes)) collateral.set(name, { ...collateral.get(name)!, ...change });
  const verifier = technology === 'sgx' ? sgxVerifier : tdxVerifier;
  return await verifier.verify(evidence, { ...intelContext(collateral), ...context });
}
