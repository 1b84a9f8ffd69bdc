/**
 * The TPM that Azure's paravisor emulates: its quote, by the key that the hardware vouches for
 * (spec/attestation-snp.md, "Azure"). What the hardware's report is worth is for the two verifiers that use this.
 */
import { hash } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { requiredPart } from '../../../wire/evidence.ts';
import type { Evidence } from '../../../wire/evidence.ts';
import { quoteClaims, registerClaims, tpmDefinitions } from '../tpm/claims.ts';
import { parseQuote, verifyQuote } from '../tpm/quote.ts';
import type { ParsedQuote } from '../tpm/quote.ts';
import type { ClaimDefinition, ClaimValue } from '../verifier.ts';
import { untrusted } from '../x509/certificates.ts';
import type { HclReport } from './hcl-report.ts';

/** Of the quote: registers, and what else every quote says. */
const quoteClaimNames = /^tpm\.(?:pcr\..*|firmware-version|reset-count|restart-count|clock-safe)$/;

const machineDefinitions: readonly ClaimDefinition[] = [
  machineClaim('azure.secure-boot', 'boolean', 'Secure boot is on.'),
  machineClaim('azure.tpm-enabled', 'boolean', 'The guest has the TPM that this quote is of.'),
  machineClaim('azure.console-enabled', 'boolean', 'The guest has a console that the host serves.'),
  machineClaim('azure.vm-id', 'text', 'The id that Azure gives to the machine.'),
  {
    ...machineClaim('azure.user-data', 'bytes', 'What the guest last asked the paravisor to put in its report.'),
    bytes: 64,
  },
];

export const vtpmDefinitions: readonly ClaimDefinition[] = [
  ...tpmDefinitions.filter(({ name }) => quoteClaimNames.test(name)),
  ...machineDefinitions,
];

export interface VerifiedQuote {
  /** What the workload had the TPM sign. */
  readonly reportData: Uint8Array;
  readonly claims: readonly (readonly [string, ClaimValue])[];
}

/** Refuses unless the key that `hcl` names signed the quote of the evidence. Nobody vouches for `hcl` by that. */
export function verifyVtpmQuote(evidence: Evidence, hcl: HclReport): VerifiedQuote {
  const parts = {
    quote: requiredPart(evidence, 'quote'),
    signature: requiredPart(evidence, 'signature'),
    pcrs: requiredPart(evidence, 'pcrs'),
  };
  const parsed = parseQuote(parts);
  verifyQuote(parsed, parts, hcl.attestationKey);
  return { reportData: parsed.attest.extraData, claims: claimsOf(parsed, hcl) };
}

/** Refuses unless `reportData`, which the hardware signed, is the digest of the runtime data, and zeros. */
export function checkRuntimeDataDigest({ hash: name, runtimeData }: HclReport, reportData: Uint8Array): void {
  const expected = new Uint8Array(reportData.length);
  expected.set(hash(name, runtimeData, 'buffer'));
  if (!equalBytes(expected, reportData))
    throw untrusted('evidence', 'runtime-data-digest', 'the hardware signed other runtime data than these');
}

function claimsOf({ values, attest }: ParsedQuote, { machine }: HclReport): VerifiedQuote['claims'] {
  const facts: readonly (readonly [string, ClaimValue | undefined])[] = [
    ['azure.secure-boot', machine.isSecureBootOn],
    ['azure.tpm-enabled', machine.isTpmOn],
    ['azure.console-enabled', machine.isConsoleOn],
    ['azure.vm-id', machine.id],
    ['azure.user-data', machine.userData],
  ];
  return [
    ...registerClaims(values),
    ...quoteClaims(attest),
    ...facts.flatMap(([name, value]): [string, ClaimValue][] => (value === undefined ? [] : [[name, value]])),
  ];
}

function machineClaim(name: string, kind: ClaimDefinition['kind'], about: string): ClaimDefinition {
  const source = 'Azure, guest attestation report, runtime claims';
  return { name, kind, about, source, mustBeJudged: false, isOptional: true };
}
