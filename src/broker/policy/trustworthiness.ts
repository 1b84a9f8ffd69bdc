/**
 * A verdict as a trustworthiness vector of AR4SI (draft-ietf-rats-ar4si), for attestation results in the form that others read
 * (spec/policy.md, section 8). Nothing of Caisson decides by it: the verdict itself does.
 */
import type { VerifiedEvidence } from '../attest/verifier.ts';
import { closestProfile } from './verdict.ts';
import type { RuleOutcome, Verdict } from './verdict.ts';

export type TrustTier = 'none' | 'affirming' | 'warning' | 'contraindicated';

/** 0: no claim; 2 to 31 affirm, 32 to 95 warn, 96 to 127 contraindicate. */
export interface TrustworthinessVector {
  readonly 'instance-identity': number;
  readonly configuration: number;
  readonly executables: number;
  readonly 'file-system': number;
  readonly hardware: number;
  readonly 'runtime-opaque': number;
  readonly 'storage-opaque': number;
  readonly 'sourced-data': number;
}

export interface Trustworthiness {
  readonly status: TrustTier;
  readonly vector: TrustworthinessVector;
}

type Judged = 'instance-identity' | 'configuration' | 'executables' | 'hardware';

/** The first that matches; a claim that none matches is about the configuration. */
const groups: readonly (readonly [Judged, RegExp])[] = [
  ['instance-identity', /\.(chip-id|ppid|instance-id|ek-digest|ak-name|module-id|vm-id|report-id)$/],
  [
    'executables',
    /^(sgx\.(mr-|isv-)|tdx\.(mr-td|rtmr|mr-service-td)|snp\.(measurement|guest-svn)|(tpm|nitro)\.pcr\.|cca\.(rim|rem))/,
  ],
  [
    'hardware',
    /^(tcb|qe|platform|snp\.(tcb|platform|firmware|mit-vector|product|signing-key)|cca\.platform|tpm\.(manufacturer|ek-|firmware))/,
  ],
];
/** Genuine hardware with holes that are known, where another failure says that it is not known at all. */
const versions = /^(tcb|qe|snp\.(tcb|firmware|mit-vector))\./;

const affirming: Readonly<Record<Judged, number>> = {
  'instance-identity': 2,
  configuration: 2,
  executables: 3,
  hardware: 2,
};
const refuting: Readonly<Record<Judged, number>> = {
  'instance-identity': 97,
  configuration: 32,
  executables: 33,
  hardware: 97,
};
const knownVulnerabilities = 32;
const encryptedMemory = 2;
const visibleMemory = 96;

export function trustworthinessVector(verdict: Verdict, verified: VerifiedEvidence): Trustworthiness {
  const profile = closestProfile(verdict);
  const rules = (profile?.rules ?? []).map((outcome) => ({
    ...outcome,
    claim: claimOf(outcome, profile?.profile ?? ''),
  }));
  const judged = (group: Judged): number => {
    const own = rules.filter(({ claim }) => groupOf(claim) === group && claim !== 'debug');
    const failed = own.filter(({ outcome }) => outcome === 'fail');
    if (failed.length > 0)
      return failed.every(({ claim }) => versions.test(claim)) ? knownVulnerabilities : refuting[group];
    return own.some(({ outcome }) => outcome === 'pass') ? affirming[group] : 0;
  };
  const vector: TrustworthinessVector = {
    'instance-identity': judged('instance-identity'),
    configuration: judged('configuration'),
    executables: judged('executables'),
    'file-system': 0,
    hardware: judged('hardware'),
    'runtime-opaque': runtimeOpaque(verified),
    'storage-opaque': 0,
    'sourced-data': 0,
  };
  const tier = tierOf(Math.max(...Object.values(vector)));
  // What a condition of the release refuses stands in no entry of the vector.
  return { status: verdict.allowed || tier === 'warning' ? tier : 'contraindicated', vector };
}

/** A TPM says nothing of the memory; every other technology encrypts it, or keeps it from the host, unless it is debugged. */
function runtimeOpaque({ technology, claims }: VerifiedEvidence): number {
  if (claims.get('debug') !== false) return visibleMemory;
  return technology === 'tpm' ? 0 : encryptedMemory;
}

function claimOf({ rule }: RuleOutcome, profile: string): string {
  return rule.substring(`profiles.${profile}.`.length);
}

function groupOf(claim: string): Judged {
  return groups.find(([, pattern]) => pattern.test(claim))?.[0] ?? 'configuration';
}

function tierOf(value: number): TrustTier {
  if (value >= 96) return 'contraindicated';
  if (value >= 32) return 'warning';
  return value >= 2 ? 'affirming' : 'none';
}
