/** The claims of Nitro documents (spec/attestation-nitro.md, "Claims"), and their values once a document is verified. */
import { commonClaims, type ClaimDefinition, type ClaimValue } from '../verifier.ts';
import type { NitroDocument } from './document.ts';

const enclaveRegisters = 16;
const tpmRegisters = 24;
const registerBytes = 48;
const guide = 'AWS Nitro Enclaves user guide';

export const nitroDefinitions: readonly ClaimDefinition[] = [
  commonClaims.debug,
  ...registers('nitro.pcr', enclaveRegisters, 'of the enclave'),
  ...registers('nitro-tpm.pcr', tpmRegisters, 'of the NitroTPM'),
  claim('nitro.module-id', 'text', 'The instance, and the enclave on it.'),
  claim('nitro.timestamp', 'date', 'When the security module made the document.'),
  { ...claim('nitro.public-key', 'bytes', 'A key that the workload put in.'), isOptional: true },
  { ...claim('nitro.user-data', 'bytes', 'Bytes that the workload put in.'), isOptional: true },
  { ...claim('nitro.nonce', 'bytes', 'A nonce that the workload put in.'), isOptional: true },
];

export function nitroClaims(document: NitroDocument): ReadonlyMap<string, ClaimValue> {
  const isTpm = document.kind === 'nitro-tpm';
  const claims = new Map<string, ClaimValue>([
    ['debug', isDebug(document)],
    ['nitro.module-id', document.moduleId],
    ['nitro.timestamp', new Date(document.timestamp).toISOString().replace(/\.\d+Z$/, 'Z')],
  ]);
  for (const [index, value] of document.registers)
    if (index < (isTpm ? tpmRegisters : enclaveRegisters))
      claims.set(`${isTpm ? 'nitro-tpm' : 'nitro'}.pcr.${index}`, value);
  const optional = [
    ['nitro.public-key', document.publicKey],
    ['nitro.user-data', document.userData],
    ['nitro.nonce', document.nonce],
  ] as const;
  for (const [name, value] of optional) if (value !== undefined) claims.set(name, value);
  return claims;
}

/** Registers 0 to 2 of an enclave are zeros, or not there: whoever runs the instance sees into it. */
function isDebug({ kind, registers: values }: NitroDocument): boolean {
  if (kind === 'nitro-tpm') return false;
  const measured = [0, 1, 2].map((index) => values.get(index));
  const isComplete = measured.every((value) => value !== undefined);
  return !isComplete || measured.every((value) => value?.every((byte) => byte === 0));
}

function registers(prefix: string, count: number, whose: string): readonly ClaimDefinition[] {
  return Array.from({ length: count }, (_, index) => ({
    ...claim(`${prefix}.${index}`, 'bytes', `Register ${index} ${whose}.`),
    ...{ bytes: registerBytes, isOptional: true },
    mustBeJudged: prefix === 'nitro.pcr' && index === 0,
  }));
}

function claim(name: string, kind: ClaimDefinition['kind'], about: string): ClaimDefinition {
  return { name, kind, about, source: guide, mustBeJudged: false };
}
