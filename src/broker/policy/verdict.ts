/**
 * What a policy says of verified evidence: every rule with its outcome, so that a refusal can be
 * explained, logged and tested. Made by `broker/policy`, read by release, log and command line.
 */
export interface RuleOutcome {
  /** Where the rule stands in the policy, such as `profiles.production.tdx.mr-td`. */
  readonly rule: string;
  readonly outcome: 'pass' | 'fail' | 'waived';
  /** Texts for people; bytes as hex. */
  readonly expected: string;
  readonly actual: string;
}

export interface ProfileVerdict {
  readonly profile: string;
  readonly allowed: boolean;
  readonly rules: readonly RuleOutcome[];
}

export interface Verdict {
  /** One profile allowed it, and every condition of the release holds. */
  readonly allowed: boolean;
  readonly policy: string;
  /** SHA-256 of the policy's text, hex: what exactly was asked. */
  readonly policyDigest: string;
  /** The profile that allowed it; else undefined. */
  readonly profile: string | undefined;
  readonly profiles: readonly ProfileVerdict[];
  readonly conditions: readonly RuleOutcome[];
}

/** The outcomes that refused: of conditions, and of the profile that came closest. */
export function failures(verdict: Verdict): readonly RuleOutcome[] {
  if (verdict.allowed) return [];
  const closest = verdict.profile === undefined ? closestProfile(verdict) : undefined;
  return [...failed(closest?.rules ?? []), ...failed(verdict.conditions)];
}

/**
 * The profile that allowed, or else came closest: of the evidence's own technology if there is one, with the
 * fewest failures, the first of equal ones.
 */
export function closestProfile(verdict: Verdict): ProfileVerdict | undefined {
  const isForeign = ({ profile, rules }: ProfileVerdict): boolean =>
    rules[0]?.rule === `profiles.${profile}.technology`;
  const allowing = verdict.profiles.find(({ profile }) => profile === verdict.profile);
  const own = verdict.profiles.filter((profile) => !isForeign(profile));
  const candidates = own.length > 0 ? own : verdict.profiles;
  return allowing ?? candidates.toSorted((left, right) => failed(left.rules).length - failed(right.rules).length)[0];
}

function failed(rules: readonly RuleOutcome[]): readonly RuleOutcome[] {
  return rules.filter(({ outcome }) => outcome === 'fail');
}
