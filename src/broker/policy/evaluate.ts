/** What a policy says of verified evidence (spec/policy.md, section 6): the same input, the same verdict. */
import type { VerifiedEvidence } from '../attest/verifier.ts';
import { judge } from './conditions.ts';
import type { Policy, Profile } from './policy.ts';
import { judgeRelease } from './release-section.ts';
import type { PolicyRequest } from './release-section.ts';
import { claimText } from './values.ts';
import type { ProfileVerdict, RuleOutcome, Verdict } from './verdict.ts';

export function evaluatePolicy(policy: Policy, verified: VerifiedEvidence, request: PolicyRequest): Verdict {
  const profiles = policy.profiles.map((profile) => judgeProfile(profile, verified, request.now));
  const conditions = judgeRelease(policy.release, verified, request);
  const profile = profiles.find(({ allowed }) => allowed)?.profile;
  return {
    allowed: profile !== undefined && conditions.every(({ outcome }) => outcome === 'pass'),
    policy: policy.name,
    policyDigest: policy.digest,
    profile,
    profiles,
    conditions,
  };
}

function judgeProfile(profile: Profile, { technology, claims }: VerifiedEvidence, now: number): ProfileVerdict {
  const at = `profiles.${profile.name}`;
  if (profile.technology !== technology) {
    const wrong = {
      rule: `${at}.technology`,
      outcome: 'fail',
      expected: profile.technology,
      actual: technology,
    } as const;
    return { profile: profile.name, allowed: false, rules: [wrong] };
  }
  const rules: RuleOutcome[] = [];
  if (!profile.waived.has('debug')) {
    // Debug evidence says so: where the claim is lacking, nobody has vouched for its being off.
    const debug = claims.get('debug');
    const actual = debug === undefined ? '(absent)' : claimText(debug);
    rules.push({ rule: `${at}.debug`, outcome: debug === false ? 'pass' : 'fail', expected: 'false', actual });
  }
  for (const [claim, condition] of profile.rules) {
    const { holds, expected, actual } = judge(condition, claims.get(claim), now);
    rules.push({ rule: `${at}.${claim}`, outcome: holds ? 'pass' : 'fail', expected, actual });
  }
  for (const [claim, reason] of profile.waived) {
    const value = claims.get(claim);
    const actual = value === undefined ? '(absent)' : claimText(value);
    rules.push({ rule: `${at}.${claim}`, outcome: 'waived', expected: `(anything: ${reason})`, actual });
  }
  return { profile: profile.name, allowed: rules.every(({ outcome }) => outcome !== 'fail'), rules };
}
