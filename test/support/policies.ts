/** A policy, its reference values and the claims that it knows, for tests that need no real technology. */
import { commonClaims } from '../../src/broker/attest/verifier.ts';
import type { ClaimDefinition, ClaimValue, VerifiedEvidence } from '../../src/broker/attest/verifier.ts';
import type { Definitions } from '../../src/broker/policy/policy.ts';

export const policyText = `caisson-policy: 1
name: database
description: a test
profiles:
  production:
    technology: snp
    rules:
      snp.measurement: { reference: images }
      snp.policy: { bits: { mask: 0x80000, equals: 0 } }
      snp.vmpl: { at-most: 0 }
      tcb.date: { at-least: 2025-01-31 }
      tcb.status: [UpToDate]
      tcb.advisories: { only: [A-1], or-absent: true }
    waive:
      snp.image-id: not used
  other:
    technology: tdx
    rules:
      tdx.mr-td: ${'cc'.repeat(48)}
      debug: false

# ----
release:
  not-before: 2026-01-01
  not-after: 2027-01-01T12:00:00Z
  keys: [database, "database-*"]
  may-create-key: true
  session-max: 2h
  anchor-outage: { continue-for: 10min }
`;

export const images = `caisson-reference-values: 1
name: images
values:
  - value: ${'aa'.repeat(48)}
    description: the build of May
    valid-until: 2026-05-01
  - ${'BB'.repeat(48)}
`;

const snp: readonly ClaimDefinition[] = [
  commonClaims.debug,
  claim('snp.measurement', 'bytes', true, 48),
  claim('snp.policy', 'number', true),
  claim('snp.vmpl', 'number', true),
  claim('snp.smt', 'boolean', false),
  claim('snp.image-id', 'bytes', false, 16),
  claim('snp.host-data', 'bytes', false, 32),
  claim('tcb.status', 'text', true),
  claim('tcb.date', 'date', false),
  { ...claim('tcb.advisories', 'list', false), isOptional: true },
];
const tdx: readonly ClaimDefinition[] = [commonClaims.debug, claim('tdx.mr-td', 'bytes', true, 48)];

export const definitions: Definitions = new Map([
  ['snp', snp],
  ['tdx', tdx],
]);

/** What `policyText` allows, at 2026-06-01. */
export function allowedEvidence(changes: Readonly<Record<string, ClaimValue | undefined>> = {}): VerifiedEvidence {
  const claims: Record<string, ClaimValue | undefined> = {
    debug: false,
    'snp.measurement': new Uint8Array(48).fill(0xbb),
    'snp.policy': 0x30000,
    'snp.vmpl': 0,
    'snp.smt': true,
    'snp.image-id': new Uint8Array(16),
    'snp.host-data': new Uint8Array(32).fill(0x11),
    'tcb.status': 'UpToDate',
    'tcb.date': '2025-03-01T00:00:00Z',
    'tcb.advisories': ['A-1'],
    ...changes,
  };
  const present = Object.entries(claims).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return { technology: 'snp', reportData: new Uint8Array(64), claims: new Map(present), basis: [] };
}

function claim(name: string, kind: ClaimDefinition['kind'], mustBeJudged: boolean, bytes?: number): ClaimDefinition {
  return {
    name,
    kind,
    mustBeJudged,
    about: 'A claim of tests.',
    source: 'none',
    ...(bytes === undefined ? {} : { bytes }),
  };
}
