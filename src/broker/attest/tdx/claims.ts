/** The fields of a TD report as claims (spec/attestation-intel.md, "Claims"). */
import { intelClaims, intelClaimValues } from '../intel/claims.ts';
import type { IntelVerification } from '../intel/verify.ts';
import { commonClaims, type ClaimDefinition, type ClaimValue } from '../verifier.ts';
import type { TdReport } from './parse.ts';

const source = 'Intel TDX Module Base Architecture Specification, TD_INFO and TEE_TCB_INFO';

function bytes(
  name: string,
  length: number,
  mustBeJudged: boolean,
  about: string,
  isOptional = false,
): ClaimDefinition {
  return { name, kind: 'bytes', bytes: length, mustBeJudged, about, source, ...(isOptional ? { isOptional } : {}) };
}

function flag(name: string, about: string): ClaimDefinition {
  return { name, kind: 'boolean', mustBeJudged: false, about, source };
}

/** Bits of the TD's attributes that policies ask for by name. */
const attributeBits: readonly (readonly [name: string, bit: number, about: string])[] = [
  [
    'tdx.sept-ve-disable',
    28,
    'A page that the host takes away stops the TD, where otherwise the guest would have to notice.',
  ],
  ['tdx.migratable', 29, 'The TD may be moved to another machine by a service TD.'],
  ['tdx.pks', 30, 'The guest may use protection keys for its own pages.'],
  ['tdx.kl', 31, 'The guest may use Key Locker.'],
  ['tdx.perfmon', 63, 'The guest may use performance counters.'],
];

export const tdxClaims: readonly ClaimDefinition[] = [
  commonClaims.debug,
  bytes('tdx.mr-td', 48, true, 'Measures the memory that the TD was built from: its firmware.'),
  bytes('tdx.rtmr0', 48, true, 'Measured while starting: configuration of the firmware, by convention.'),
  bytes('tdx.rtmr1', 48, true, 'Measured while starting: boot loader and kernel, by convention.'),
  bytes('tdx.rtmr2', 48, true, 'Measured while starting: kernel command line and first file system, by convention.'),
  bytes('tdx.rtmr3', 48, true, 'Measured by what runs inside, by convention.'),
  bytes('tdx.mr-config-id', 48, true, 'What whoever started the TD configured, such as the digest of a manifest.'),
  bytes('tdx.mr-owner', 48, true, 'The owner that whoever started the TD named.'),
  bytes('tdx.mr-owner-config', 48, true, 'The configuration of that owner.'),
  bytes('tdx.attributes', 8, true, 'Attributes as they stand in the report, least significant byte first.'),
  bytes('tdx.xfam', 8, false, 'Processor features that the TD may use, least significant byte first.'),
  ...attributeBits.map(([name, , about]) => flag(name, about)),
  bytes('tdx.tee-tcb-svn', 16, false, 'Security versions when the TD was built; tcb.status judges them.'),
  bytes('tdx.tee-tcb-svn-2', 16, false, 'Security versions now, of TDX 1.5; tcb.status judges them.', true),
  bytes('tdx.mr-seam', 48, false, 'Measures the TDX module; its signer and version are checked already.'),
  bytes('tdx.mr-signer-seam', 48, false, 'Digest of the key that signed the TDX module; zeros are Intel.'),
  bytes('tdx.seam-attributes', 8, false, 'Attributes of the TDX module; zeros always.'),
  bytes(
    'tdx.mr-service-td',
    48,
    false,
    'Measures the service TDs that are bound to this one, of TDX 1.5; zeros where there is none. Without tdx.migratable they can do nothing.',
    true,
  ),
  {
    name: 'tdx.module-status',
    kind: 'text',
    isOptional: true,
    mustBeJudged: false,
    about: 'Of the TDX module alone, from version 1 on; tcb.status has it in already.',
    source: 'Intel PCS API v4, "Get TDX TCB Info", tdxModuleIdentities',
  },
  ...intelClaims,
];

/** The bits of the group TUD: with any of them the host may look inside. Bit 0 is DEBUG, the others are reserved. */
const attributesUnderDebug = 0xff;

export function tdxClaimValues(report: TdReport, verification: IntelVerification): ReadonlyMap<string, ClaimValue> {
  const { tdAttributes, extension } = report;
  const values: readonly (readonly [string, ClaimValue | undefined])[] = [
    ['debug', (tdAttributes[0]! & attributesUnderDebug) !== 0],
    ['tdx.mr-td', report.mrTd],
    ...report.rtmrs.map((value, index) => [`tdx.rtmr${index}`, value] as const),
    ['tdx.mr-config-id', report.mrConfigId],
    ['tdx.mr-owner', report.mrOwner],
    ['tdx.mr-owner-config', report.mrOwnerConfig],
    ['tdx.attributes', tdAttributes],
    ['tdx.xfam', report.xfam],
    ...attributeBits.map(([name, bit]) => [name, ((tdAttributes[bit >> 3]! >> (bit & 7)) & 1) === 1] as const),
    ['tdx.tee-tcb-svn', report.teeTcbSvn],
    ['tdx.tee-tcb-svn-2', extension?.teeTcbSvn2],
    ['tdx.mr-seam', report.mrSeam],
    ['tdx.mr-signer-seam', report.mrSignerSeam],
    ['tdx.seam-attributes', report.seamAttributes],
    ['tdx.mr-service-td', extension?.mrServiceTd],
    ['tdx.module-status', verification.tcb.moduleStatus],
    ...intelClaimValues(verification),
  ];
  return new Map(values.filter((entry): entry is [string, ClaimValue] => entry[1] !== undefined));
}
