/** The claims of TPM evidence (spec/attestation-tpm.md, "Claims"), and their values once it is verified. */
import { sha256 } from '../../../crypto/digest.ts';
import { TpmWriter } from '../../../wire/tpm/codec.ts';
import type { PcrValue } from '../../../wire/tpm/pcr-selection.ts';
import type { TpmAttest } from '../../../wire/tpm/attest.ts';
import { spkiOf } from '../trusted-roots.ts';
import { commonClaims, type ClaimDefinition, type ClaimValue } from '../verifier.ts';
import type { AkParent } from './attestation-key.ts';
import type { Binding } from './binding.ts';

const registerCount = 24;
/** Firmware, what it booted, secure boot. */
const registersThatMustBeJudged: readonly number[] = [0, 4, 7];
const library = 'TPM 2.0 Library, Part 2';

export const tpmDefinitions: readonly ClaimDefinition[] = [
  commonClaims.debug,
  ...registers('sha256', 32),
  ...registers('sha384', 48),
  claim('tpm.binding', 'text', 'How the attestation key is tied to a TPM: activation or ak-certificate.', 'Part 1'),
  {
    ...claim('tpm.manufacturer', 'text', 'The name of the configured root that vouches for the TPM.', 'EK profile'),
    mustBeJudged: true,
  },
  {
    ...claim('tpm.ek-digest', 'bytes', 'SHA-256 of the endorsement key (SPKI): which TPM it is.', 'EK profile'),
    ...{ bytes: 32, isOptional: true },
  },
  ...(['manufacturer', 'model', 'version'] as const).map((field) => ({
    ...claim(`tpm.ek-${field}`, 'text', `The TPM's ${field}, as its endorsement certificate says.`, 'EK profile'),
    isOptional: true,
  })),
  {
    ...claim('tpm.ak-name', 'bytes', 'The name of the attestation key: its hash and attributes.', 'Part 1, "Names"'),
    isOptional: true,
  },
  claim('tpm.ak-parent', 'text', 'Where the attestation key lies in its TPM, if that can be told.', 'Part 1, "Names"'),
  { ...claim('tpm.firmware-version', 'bytes', 'As the maker of the TPM counts.', `${library}, 10.12.12`), bytes: 8 },
  claim('tpm.reset-count', 'number', 'How often the TPM was reset.', `${library}, 10.11.1`),
  claim('tpm.restart-count', 'number', 'Restarts and resumes since the last reset.', `${library}, 10.11.1`),
  claim('tpm.clock-safe', 'boolean', 'The clock never showed a later time before.', `${library}, 10.11.1`),
  {
    ...claim('tpm.event-log-pcrs', 'list', 'Registers that the event log accounts for, such as sha256:7.', 'PFP'),
    isOptional: true,
  },
  {
    ...claim('tpm.secure-boot', 'boolean', 'Secure boot was on, as register 7 and the log say.', 'PFP, 3.3.4.8'),
    isOptional: true,
  },
];

/** The values of the selected registers of banks that have claims. */
export function registerClaims(values: readonly PcrValue[]): Map<string, ClaimValue> {
  const claims = new Map<string, ClaimValue>();
  for (const { hash, index, value } of values)
    if ((hash.name === 'sha256' || hash.name === 'sha384') && index < registerCount)
      claims.set(`tpm.pcr.${hash.name}.${index}`, value);
  return claims;
}

/** What every quote says beside its registers. */
export function quoteClaims(attest: TpmAttest): readonly (readonly [string, ClaimValue])[] {
  return [
    ['tpm.firmware-version', new TpmWriter().u64(attest.firmwareVersion).finish()],
    ['tpm.reset-count', attest.resetCount],
    ['tpm.restart-count', attest.restartCount],
    ['tpm.clock-safe', attest.isClockSafe],
  ];
}

export function bindingClaims(
  { kind, rootName, endorsementKey, hardware }: Binding,
  akName: Uint8Array,
  akParent: AkParent,
): readonly (readonly [string, ClaimValue])[] {
  const claims: [string, ClaimValue][] = [
    ['debug', false],
    ['tpm.binding', kind],
    ['tpm.manufacturer', rootName],
    ['tpm.ak-parent', akParent],
  ];
  // A certificate covers the key and not its name; then the name is authentic where the TPM's own qualified name covers it.
  if (kind === 'activation' || akParent !== 'unknown') claims.push(['tpm.ak-name', akName]);
  if (endorsementKey !== undefined) claims.push(['tpm.ek-digest', sha256(spkiOf(endorsementKey))]);
  for (const [oid, field] of hardwareFields) {
    const value = hardware[oid];
    if (value !== undefined && value !== '') claims.push([`tpm.ek-${field}`, value]);
  }
  return claims;
}

const hardwareFields = [
  ['2.23.133.2.1', 'manufacturer'],
  ['2.23.133.2.2', 'model'],
  ['2.23.133.2.3', 'version'],
] as const;

function registers(bank: string, bytes: number): readonly ClaimDefinition[] {
  return Array.from({ length: registerCount }, (_, index) => ({
    ...claim(`tpm.pcr.${bank}.${index}`, 'bytes', `Register ${index} of the bank ${bank}.`, `${library}, 10.12.1`),
    ...{ bytes, isOptional: true },
    mustBeJudged: bank === 'sha256' && registersThatMustBeJudged.includes(index),
  }));
}

function claim(name: string, kind: ClaimDefinition['kind'], about: string, source: string): ClaimDefinition {
  return { name, kind, about, source, mustBeJudged: false };
}
