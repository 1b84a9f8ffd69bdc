/**
 * What a verified SEV-SNP report says, under the names that policies use (spec/attestation-snp.md,
 * "Claims"). Definitions and values stand side by side in one table, so that neither lacks the other.
 */
import type { ClaimDefinition, ClaimValue } from '../verifier.ts';
import { commonClaims } from '../verifier.ts';
import type { TcbComponent } from './products.ts';
import { hasBit, platformBits, policyBits, tcbKinds } from './report.ts';
import type { SnpReport, TcbKind } from './report.ts';
import type { VerifiedReport } from './verify.ts';

interface Claim {
  readonly definition: ClaimDefinition;
  /** Undefined where this evidence lacks it. */
  readonly value: (verified: VerifiedReport) => ClaimValue | undefined;
}

const abi = (clause: string): string => `AMD 56860, ${clause}`;
const reportTable = abi('ATTESTATION_REPORT');

/** What a guest is and what may be done with it: a policy without a word on these has not looked. */
const judged = new Set(['snp.measurement', 'snp.vmpl', 'snp.policy.migrate-ma']);
const judgedComponents: readonly TcbComponent[] = ['bootloader', 'tee', 'snp', 'microcode'];

function bytesClaim(name: string, bytes: number, about: string, read: (report: SnpReport) => Uint8Array): Claim {
  return {
    definition: { name, kind: 'bytes', bytes, mustBeJudged: judged.has(name), about, source: reportTable },
    value: ({ report }) => read(report),
  };
}

function claim(
  name: string,
  kind: ClaimDefinition['kind'],
  about: string,
  value: Claim['value'],
  more: Partial<ClaimDefinition> = {},
): Claim {
  return { definition: { name, kind, mustBeJudged: judged.has(name), about, source: reportTable, ...more }, value };
}

const identity: readonly Claim[] = [
  bytesClaim(
    'snp.measurement',
    48,
    'Digest of the memory and registers the guest was launched with.',
    (r) => r.measurement,
  ),
  bytesClaim('snp.host-data', 32, 'What the host gave at launch, such as a digest of initdata.', (r) => r.hostData),
  bytesClaim(
    'snp.id-key-digest',
    48,
    'Digest of the key that signed the ID block; zeros where there was none.',
    (r) => r.idKeyDigest,
  ),
  claim(
    'snp.author-key-digest',
    'bytes',
    'Digest of the key that certified the ID key.',
    ({ report }) => (report.hasAuthorKey ? report.authorKeyDigest : undefined),
    { bytes: 48, isOptional: true },
  ),
  bytesClaim('snp.family-id', 16, 'Family of the guest, as its ID block says.', (r) => r.familyId),
  bytesClaim('snp.image-id', 16, 'Image of the guest, as its ID block says.', (r) => r.imageId),
  bytesClaim('snp.report-id', 32, 'This one guest, from launch until its end.', (r) => r.reportId),
  bytesClaim(
    'snp.report-id-ma',
    32,
    'The migration agent of the guest; ff everywhere where there is none.',
    (r) => r.reportIdMa,
  ),
  claim(
    'snp.guest-svn',
    'number',
    'Security version of the guest, as its ID block says.',
    ({ report }) => report.guestSvn,
  ),
  claim(
    'snp.vmpl',
    'number',
    'Privilege level that asked for the report; 0 is the highest.',
    ({ report }) => report.vmpl,
  ),
];

const platform: readonly Claim[] = [
  claim('snp.version', 'number', 'Version of the report.', ({ report }) => report.version),
  claim('snp.product', 'text', 'milan, genoa or turin.', ({ product }) => product),
  claim('snp.signing-key', 'text', 'vcek, of a chip, or vlek, of a provider.', ({ signingKey }) => signingKey),
  claim('snp.chip-id', 'bytes', 'The chip, unless its platform masks it.', ({ chipId }) => chipId, {
    bytes: 64,
    isOptional: true,
  }),
  claim('snp.csp-id', 'text', 'The provider that a VLEK is of.', ({ cspId }) => cspId, {
    isOptional: true,
    source: 'AMD 57230, VLEK certificate',
  }),
  claim(
    'snp.firmware.current',
    'text',
    'The firmware that runs: major.minor.build.',
    ({ report }) => report.firmware.current,
  ),
  claim(
    'snp.firmware.committed',
    'text',
    'The firmware below which the platform cannot go back: major.minor.build.',
    ({ report }) => report.firmware.committed,
  ),
  ...(['launch', 'current'] as const).map((when) =>
    claim(
      `snp.mit-vector.${when}`,
      'bytes',
      `Mitigations of the firmware that were verified ${when === 'launch' ? 'at launch' : 'by now'}; little-endian.`,
      ({ report }) => report.mitigations?.[when],
      { bytes: 8, isOptional: true },
    ),
  ),
];

const policy: readonly Claim[] = [
  claim('snp.policy.abi-major', 'number', 'Oldest ABI that may run the guest.', ({ report }) =>
    Number((report.policy >> 8n) & 0xffn),
  ),
  claim('snp.policy.abi-minor', 'number', 'Oldest ABI that may run the guest.', ({ report }) =>
    Number(report.policy & 0xffn),
  ),
  ...Object.entries({
    smt: 'Threads of one core may run side by side with the guest.',
    'migrate-ma': 'A migration agent may be given the guest, to move it elsewhere.',
    'single-socket': 'The guest stays on one socket.',
    cxl: 'Memory and devices on CXL may be there.',
    'aes-256-xts': 'Memory must be encrypted with AES-256 XTS.',
    'rapl-dis': 'Measuring of power must be off.',
    'ciphertext-hiding': 'The host must not see the ciphertext of the memory.',
    'page-swap-disable': 'Pages of the guest may not be moved or swapped.',
  }).map(([name, about]) =>
    claim(
      `snp.policy.${name}`,
      'boolean',
      about,
      ({ report }) => hasBit(report.policy, policyBits[name as keyof typeof policyBits]),
      { source: abi('GUEST_POLICY') },
    ),
  ),
  { definition: commonClaims.debug, value: ({ report }) => hasBit(report.policy, policyBits.debug) },
];

const platformInfo: readonly Claim[] = [
  ...Object.entries({
    smt: 'Simultaneous multithreading is on.',
    tsme: 'All memory of the machine is encrypted.',
    ecc: 'The memory corrects errors.',
    'rapl-dis': 'Measuring of power is off.',
    'ciphertext-hiding': 'The host does not see the ciphertext of the memory.',
    'alias-check': 'No two addresses lead to one memory, as the machine saw when it started.',
    tio: 'Trusted devices are on.',
  }).map(([name, about]) =>
    claim(
      `snp.platform.${name}`,
      'boolean',
      about,
      ({ report }) => hasBit(report.platformInfo, platformBits[name as keyof typeof platformBits]),
      { source: abi('PLATFORM_INFO') },
    ),
  ),
  claim(
    'snp.platform.other',
    'boolean',
    'The platform has a property that this version of the broker does not know.',
    ({ report }) => (report.platformInfo & ~knownPlatformBits) !== 0n,
    { source: abi('PLATFORM_INFO') },
  ),
];

const knownPlatformBits = Object.values(platformBits).reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);

const tcbAbout: Readonly<Record<TcbKind, string>> = {
  reported: 'The version that the endorsement key vouches for',
  committed: 'The version below which the platform cannot go back',
  current: 'The version that runs',
  launch: 'The version that ran when the guest was launched',
};
const components: readonly TcbComponent[] = [...judgedComponents, 'fmc'];

const tcb: readonly Claim[] = tcbKinds.flatMap((kind) =>
  components.map((component) =>
    claim(
      `snp.tcb.${kind}.${component}`,
      'number',
      `${tcbAbout[kind]}: ${component}.`,
      (verified) => verified.tcb[kind].get(component),
      {
        mustBeJudged: kind === 'reported' && judgedComponents.includes(component),
        source: abi('TCB_VERSION'),
        ...(component === 'fmc' ? { isOptional: true } : {}),
      },
    ),
  ),
);

const all: readonly Claim[] = [...identity, ...platform, ...policy, ...platformInfo, ...tcb];

export const snpClaimDefinitions: readonly ClaimDefinition[] = all.map(({ definition }) => definition);

export function snpClaims(verified: VerifiedReport): ReadonlyMap<string, ClaimValue> {
  return new Map(
    all.flatMap(({ definition, value }): [string, ClaimValue][] => {
      const found = value(verified);
      return found === undefined ? [] : [[definition.name, found]];
    }),
  );
}
