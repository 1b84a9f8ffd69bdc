/**
 * The error for evidence that a policy refuses: which rules failed, what was found and what was expected,
 * so that whoever runs the workload can tell a wrong machine from a wrong policy.
 */
import { CaissonError } from '../../lib/errors.ts';
import { refusalRulesMax } from '../../lib/broker-limits.ts';
import { failures, type RuleOutcome, type Verdict } from './verdict.ts';

/** Rules whose values the text shows; with `valueCharactersMax` it stays far below what `errorBody` takes. */
const rulesShownMax = 8;
/** A SHA-512 as hexadecimal digits fits. */
const valueCharactersMax = 160;
const detailCharactersMax = 500;

/** `policy-refused` with the rules that failed, the closest profile's first; `verdict` must not be one that allows. */
export function policyRefusal(verdict: Verdict): CaissonError {
  const failed = failures(verdict);
  const [first] = failed;
  const rules = failed
    .map(({ rule }) => rule)
    .toSpliced(refusalRulesMax)
    .join(', ');
  return new CaissonError('denied', 'policy-refused', `the policy ${verdict.policy} refuses: ${rules}`, {
    remedy: remedyFor(failed),
    details: {
      policy: verdict.policy,
      rule: first?.rule ?? '',
      expected: first?.expected.substring(0, detailCharactersMax) ?? '',
      actual: first?.actual.substring(0, detailCharactersMax) ?? '',
      rules,
    },
  });
}

function remedyFor(failed: readonly RuleOutcome[]): string {
  const shown = failed
    .slice(0, rulesShownMax)
    .map(({ rule, expected, actual }) => `${rule}: found ${shortened(actual)}, expected ${shortened(expected)}.`);
  const rest = failed.length > rulesShownMax ? [`${failed.length - rulesShownMax} more.`] : [];
  const advice = 'Correct the machine, or the policy if what was found is right.';
  return [...shown, ...rest, advice].join(' ');
}

function shortened(value: string): string {
  return value.length > valueCharactersMax ? `${value.substring(0, valueCharactersMax)}…` : value;
}
