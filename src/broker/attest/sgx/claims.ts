/** The fields of an SGX report as claims (spec/attestation-intel.md, "Claims"). */
import { intelClaims, intelClaimValues } from '../intel/claims.ts';
import type { EnclaveReport } from '../intel/quote.ts';
import type { IntelVerification } from '../intel/verify.ts';
import { commonClaims, type ClaimDefinition, type ClaimValue } from '../verifier.ts';

const source = 'Intel SDM volume 3D, "REPORT", table 40-21';

function bytes(name: string, length: number, mustBeJudged: boolean, about: string): ClaimDefinition {
  return { name, kind: 'bytes', bytes: length, mustBeJudged, about, source };
}

function number(name: string, mustBeJudged: boolean, about: string): ClaimDefinition {
  return { name, kind: 'number', mustBeJudged, about, source };
}

export const sgxClaims: readonly ClaimDefinition[] = [
  commonClaims.debug,
  bytes('sgx.mr-enclave', 32, true, 'Measures code and data that the enclave was built from.'),
  bytes('sgx.mr-signer', 32, true, 'Digest of the key that signed the enclave.'),
  number('sgx.isv-prod-id', true, 'The number that the signer gave this product.'),
  number('sgx.isv-svn', true, 'The security version that the signer gave it.'),
  bytes('sgx.attributes', 16, false, 'Flags and XFRM; debug is a claim of its own.'),
  number('sgx.misc-select', false, 'What is saved where the enclave is left by an exception.'),
  bytes('sgx.cpu-svn', 16, false, 'The raw security version of the processor; tcb.status judges it.'),
  bytes(
    'sgx.config-id',
    64,
    true,
    'What whoever started the enclave configured, such as the digest of a manifest; zeros where nothing was.',
  ),
  number('sgx.config-svn', false, 'The security version of that configuration.'),
  bytes('sgx.isv-family-id', 16, false, 'The family of products that the signer named.'),
  bytes('sgx.isv-ext-prod-id', 16, false, 'The longer product number that the signer named.'),
  ...intelClaims,
];

const attributesDebug = 0x02;

export function sgxClaimValues(
  report: EnclaveReport,
  verification: IntelVerification,
): ReadonlyMap<string, ClaimValue> {
  return new Map<string, ClaimValue>([
    ['debug', (report.attributes[0]! & attributesDebug) !== 0],
    ['sgx.mr-enclave', report.mrEnclave],
    ['sgx.mr-signer', report.mrSigner],
    ['sgx.isv-prod-id', report.isvProductId],
    ['sgx.isv-svn', report.isvSvn],
    ['sgx.attributes', report.attributes],
    ['sgx.misc-select', report.miscSelect],
    ['sgx.cpu-svn', report.cpuSvn],
    ['sgx.config-id', report.configId],
    ['sgx.config-svn', report.configSvn],
    ['sgx.isv-family-id', report.isvFamilyId],
    ['sgx.isv-ext-prod-id', report.isvExtendedProductId],
    ...intelClaimValues(verification),
  ]);
}
