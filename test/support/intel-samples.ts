/** Public samples of Intel evidence whose collateral is in one JSON file, as it was served piece by piece. */
import type { Collateral } from '../../src/broker/attest/collateral.ts';
import { sample, sampleText } from './evidence-samples.ts';

/** The members of the file, as texts: lists and signatures in hexadecimal, chains in PEM, documents as they were signed. */
export type SampleCollateral = Readonly<Record<string, string>>;

/** When the collateral of these samples holds. */
export const sampleTime = Date.UTC(2025, 6, 4);

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

export function sampleQuote(technology: 'sgx' | 'tdx'): Uint8Array {
  return sample(`intel/${technology}_quote`);
}

export function sampleCollateral(technology: 'sgx' | 'tdx'): SampleCollateral {
  return JSON.parse(sampleText(`intel/${technology}_quote_collateral.json`)) as SampleCollateral;
}

/** By the names under which a verifier asks for them. */
export function piecesOf(technology: 'sgx' | 'tdx', parts: SampleCollateral, fmspc: string): Map<string, Collateral> {
  const part = (name: string): string => parts[name]!;
  const document = (member: string, name: string): Collateral => ({
    bytes: bytesOf(`{"${member}":${part(name)},"signature":"${part(`${name}_signature`)}"}`),
    issuerChain: bytesOf(part(`${name}_issuer_chain`)),
    obtainedAt: sampleTime,
  });
  const list = (name: string): Collateral => ({ bytes: Buffer.from(part(name), 'hex'), obtainedAt: sampleTime });
  return new Map([
    [`intel/${technology}/tcb/${fmspc}`, document('tcbInfo', 'tcb_info')],
    [`intel/${technology}/qe-identity`, document('enclaveIdentity', 'qe_identity')],
    ['intel/root-crl', list('root_ca_crl')],
    ['intel/pck-crl/processor', list('pck_crl')],
    ['intel/pck-crl/platform', list('pck_crl')],
  ]);
}

export const sampleFmspc = { sgx: '00a067110000', tdx: 'b0c06f000000' } as const;
