/**
 * Test files of policies (spec/policy.md, section 7): cases with evidence or claims, and what the policy
 * is to say of each. Reading one checks it like a policy; `caseFailure` compares a verdict with it.
 */
import { fromHex } from '../../lib/hex.ts';
import { policyTextCharactersMax } from '../../lib/limits.ts';
import { envelopeSuites } from '../../wire/envelope-suites.ts';
import { technologies } from '../../wire/evidence.ts';
import type { Technology } from '../../wire/evidence.ts';
import type { ClaimDefinition, ClaimValue, VerifiedEvidence } from '../attest/verifier.ts';
import {
  checkVersion,
  mapOf,
  Members,
  parseTree,
  policyBounds,
  PolicyInvalidError,
  Problems,
  shown,
  textOf,
} from './document.ts';
import type { MapTree, Tree } from './document.ts';
import type { Definitions } from './policy.ts';
import type { PolicyRequest } from './release-section.ts';
import { suggestion } from './suggest.ts';
import { isProblem, readDate, readValue } from './values.ts';
import { failures } from './verdict.ts';
import type { Verdict } from './verdict.ts';

const pathCharactersMax = 4096;

export interface PolicyCase {
  readonly name: string;
  readonly line: number;
  readonly request: PolicyRequest;
  readonly expected: { readonly allowedBy: string } | { readonly refusedBy: readonly string[] };
  /** Files to verify, or claims as if they had been. */
  readonly subject:
    | { readonly evidence: string; readonly collateral: string | undefined; readonly roots: readonly string[] }
    | { readonly verified: VerifiedEvidence };
}

export interface PolicyTestFile {
  readonly policy: string;
  readonly references: readonly string[];
  readonly cases: readonly PolicyCase[];
}

const caseMembers = [
  ...['name', 'technology', 'claims', 'without', 'evidence', 'collateral', 'roots', 'now', 'key', 'volume', 'suite'],
  ...['asks', 'allowed-by', 'refused-by'],
];
const baseMembers = caseMembers.filter((name) => !['name', 'without', 'allowed-by', 'refused-by'].includes(name));

/** `policy-invalid` with every problem of the text. */
export function parsePolicyTests(text: Uint8Array | string, file: string, definitions: Definitions): PolicyTestFile {
  const problems = new Problems(file);
  const tree = parseTree(text, policyBounds, problems);
  const map = tree && mapOf(tree, 'a test file', problems);
  if (map === undefined) throw new PolicyInvalidError(problems.list);
  const known = ['caisson-policy-test', 'policy', 'references', 'base', 'cases'];
  const members = new Members(map, known, 'a test file', problems);
  checkVersion(members, 'caisson-policy-test', problems);
  members.required('policy');
  const policy = members.text('policy', pathCharactersMax);
  const references = textsOf(members, 'references', problems);
  const baseMap = members.map('base');
  const base = baseMap && new Members(baseMap, baseMembers, '"base"', problems);
  members.required('cases');
  const items = members.list('cases')?.items ?? [];
  if (members.value('cases') !== undefined && items.length === 0) problems.add(map.place, '"cases" has none');
  const cases = items.flatMap((item) => {
    const one = mapOf(item, 'a case', problems);
    return one === undefined ? [] : (new CaseReader(one, base, definitions, problems).read() ?? []);
  });
  problems.refuse();
  return { policy: policy ?? '', references, cases };
}

function textsOf(members: Members, name: string, problems: Problems): string[] {
  const items = members.list(name)?.items ?? [];
  return items.flatMap((item) => textOf(item, `an item of "${name}"`, pathCharactersMax, problems) ?? []);
}

/** One case over what `base` says. */
class CaseReader {
  readonly #own: Members;
  readonly #base: Members | undefined;
  readonly #definitions: Definitions;
  readonly #problems: Problems;

  constructor(map: MapTree, base: Members | undefined, definitions: Definitions, problems: Problems) {
    this.#own = new Members(map, caseMembers, 'a case', problems);
    this.#base = base;
    this.#definitions = definitions;
    this.#problems = problems;
  }

  read(): PolicyCase | undefined {
    const { place } = this.#own.tree;
    const name = this.#own.required('name') && this.#own.text('name', policyTextCharactersMax);
    const request = this.#request();
    const expected = this.#expected();
    const subject = this.#subject();
    if (name === undefined || request === undefined || expected === undefined || subject === undefined)
      return undefined;
    return { name, line: place.line, request, expected, subject };
  }

  /** Where a member stands: in the case, or else in `base`. */
  #holder(name: string): Members {
    return this.#own.value(name) === undefined && this.#base !== undefined ? this.#base : this.#own;
  }

  #scalar<T>(name: string, read: (text: string) => T | undefined, what: string): T | undefined {
    const value = this.#holder(name).value(name);
    if (value === undefined) return undefined;
    const found = value.kind === 'scalar' ? read(value.text) : undefined;
    return found ?? this.#problems.add(value.place, `"${name}" must be ${what}`);
  }

  #request(): PolicyRequest | undefined {
    const now = this.#scalar('now', readDate, 'a date such as 2026-11-23T12:00:00Z');
    if (this.#holder('now').value('now') === undefined)
      this.#problems.add(this.#own.tree.place, 'the case lacks "now"');
    const keyName = this.#holder('key').text('key', 64);
    const volumeId = this.#scalar('volume', (text) => fromHex(text, 16), 'a volume id of 32 hexadecimal digits');
    const suite = this.#scalar(
      'suite',
      (text) => envelopeSuites.find((one) => one === text),
      envelopeSuites.join(', '),
    );
    const asks = this.#asks();
    return now === undefined ? undefined : { now, keyName, volumeId, suite, asks };
  }

  #asks(): PolicyRequest['asks'] {
    return (this.#holder('asks').list('asks')?.items ?? []).flatMap((item) => {
      const text = item.kind === 'scalar' ? item.text : '';
      if (text === 'create-key' || text === 'advance-anchor') return [text];
      this.#problems.add(item.place, '"asks" takes create-key and advance-anchor');
      return [];
    });
  }

  #expected(): PolicyCase['expected'] | undefined {
    const allowedBy = this.#own.text('allowed-by', policyTextCharactersMax);
    const refusedBy = this.#own.list('refused-by');
    if ((allowedBy === undefined) === (refusedBy === undefined))
      return this.#problems.add(this.#own.tree.place, 'the case needs either "allowed-by" or "refused-by"');
    if (allowedBy !== undefined) return { allowedBy };
    const rules = textsOf(this.#own, 'refused-by', this.#problems);
    return rules.length === 0
      ? this.#problems.add(this.#own.tree.place, '"refused-by" names no rule')
      : { refusedBy: rules };
  }

  #subject(): PolicyCase['subject'] | undefined {
    const evidence = this.#holder('evidence').text('evidence', pathCharactersMax);
    if (evidence !== undefined && (this.#own.value('claims') ?? this.#own.value('without')) === undefined) {
      const collateral = this.#holder('collateral').text('collateral', pathCharactersMax);
      return { evidence, collateral, roots: textsOf(this.#holder('roots'), 'roots', this.#problems) };
    }
    if (this.#own.value('evidence') !== undefined)
      return this.#problems.add(this.#own.tree.place, 'a case has either "evidence" or claims');
    const technology = this.#scalar('technology', technologyOf, `one of ${technologies.join(', ')}`);
    if (technology === undefined)
      return this.#problems.add(this.#own.tree.place, 'the case lacks "evidence", or "technology" and "claims"');
    return { verified: { technology, reportData: new Uint8Array(64), claims: this.#claims(technology), basis: [] } };
  }

  #claims(technology: Technology): ReadonlyMap<string, ClaimValue> {
    const definitions = new Map(
      (this.#definitions.get(technology) ?? []).map((definition) => [definition.name, definition]),
    );
    const claims = new Map<string, ClaimValue>();
    for (const members of [this.#base, this.#own]) {
      for (const [name, { value, place }] of members?.map('claims')?.members ?? []) {
        const definition = definitions.get(name);
        const near = suggestion(name, definitions.keys());
        if (definition === undefined) this.#problems.add(place, `${technology} has no claim "${shown(name)}"${near}`);
        const claim = definition && this.#claim(value, definition);
        if (claim !== undefined) claims.set(name, claim);
      }
    }
    for (const name of textsOf(this.#own, 'without', this.#problems)) {
      if (!claims.delete(name))
        this.#problems.add(this.#own.tree.place, `"without" names ${shown(name)}, which is not there`);
    }
    return claims;
  }

  #claim(tree: Tree, definition: ClaimDefinition): ClaimValue | undefined {
    if (definition.kind === 'list') {
      if (tree.kind !== 'list') return this.#problems.add(tree.place, `${definition.name} is a list`);
      return tree.items.flatMap((item) => textOf(item, 'an item', policyTextCharactersMax, this.#problems) ?? []);
    }
    if (tree.kind !== 'scalar') return this.#problems.add(tree.place, `${definition.name} is one value`);
    const value = readValue(tree, definition.kind, definition.bytes);
    if (isProblem(value)) return this.#problems.add(tree.place, value.problem);
    return definition.kind === 'date' ? tree.text : value;
  }
}

function technologyOf(text: string): Technology | undefined {
  return technologies.find((one) => one === text);
}

/** What differs between the verdict and what the case expects; undefined where nothing does. */
export function caseFailure({ expected }: PolicyCase, verdict: Verdict): string | undefined {
  const failed = failures(verdict).map(({ rule }) => rule);
  if ('allowedBy' in expected) {
    if (!verdict.allowed) return `expected to be allowed by ${expected.allowedBy}; refused by ${failed.join(', ')}`;
    if (verdict.profile === expected.allowedBy) return undefined;
    return `expected to be allowed by ${expected.allowedBy}; allowed by ${verdict.profile ?? 'none'}`;
  }
  const wanted = expected.refusedBy;
  if (verdict.allowed) return `expected to be refused by ${wanted.join(', ')}; allowed by ${verdict.profile ?? 'none'}`;
  const isSame = failed.length === wanted.length && failed.every((rule) => wanted.includes(rule));
  return isSame ? undefined : `expected to be refused by ${wanted.join(', ')}; refused by ${failed.join(', ')}`;
}
