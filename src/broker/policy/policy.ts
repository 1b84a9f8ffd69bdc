/**
 * Policy: which verified evidence gets a key (spec/policy.md). Reading one understands all of it or
 * refuses it with every problem at once; `evaluatePolicy` then cannot meet anything unforeseen.
 */
import { sha256 } from '../../crypto/digest.ts';
import { toHex } from '../../lib/hex.ts';
import { policyProfilesMax, policyTextCharactersMax } from '../../lib/limits.ts';
import { technologies } from '../../wire/evidence.ts';
import type { Technology } from '../../wire/evidence.ts';
import type { ClaimDefinition } from '../attest/verifier.ts';
import { readCondition } from './conditions.ts';
import type { Condition } from './conditions.ts';
import {
  checkVersion,
  mapOf,
  Members,
  nameOf,
  parseTree,
  policyBounds,
  PolicyInvalidError,
  Problems,
  shown,
  textOf,
} from './document.ts';
import type { MapTree, Tree } from './document.ts';
import type { References } from './references.ts';
import { readRelease, releaseDefaults } from './release-section.ts';
import type { ReleaseSection } from './release-section.ts';
import { suggestion } from './suggest.ts';

/** The claims of each technology: `definitions` of its verifier. */
export type Definitions = ReadonlyMap<Technology, readonly ClaimDefinition[]>;

export interface Profile {
  readonly name: string;
  readonly technology: Technology;
  /** Claim to condition, in the order of the text. */
  readonly rules: ReadonlyMap<string, Condition>;
  /** Claim to reason. */
  readonly waived: ReadonlyMap<string, string>;
}

export interface Policy {
  readonly name: string;
  readonly description: string;
  /** SHA-256 of the text, hex. */
  readonly digest: string;
  /** Of the reference values that it refers to, for the log: name and SHA-256 of the text. */
  readonly references: readonly { readonly name: string; readonly digest: string }[];
  readonly profiles: readonly Profile[];
  readonly release: ReleaseSection;
}

/** `policy-invalid` with every problem of the text. `file` names it in messages. */
export function parsePolicy(
  text: Uint8Array | string,
  file: string,
  definitions: Definitions,
  references: References,
): Policy {
  const problems = new Problems(file);
  const tree = parseTree(text, policyBounds, problems);
  const map = tree && mapOf(tree, 'a policy', problems);
  if (map === undefined) throw new PolicyInvalidError(problems.list);
  const known = ['caisson-policy', 'name', 'description', 'profiles', 'release'];
  const members = new Members(map, known, 'a policy', problems);
  checkVersion(members, 'caisson-policy', problems);
  const name = nameOf(members.required('name'), '"name"', problems);
  const description = members.text('description', policyTextCharactersMax);
  members.required('profiles');
  const profiles = readProfiles(members.map('profiles'), definitions, references, problems);
  const releaseMap = members.map('release');
  const release = releaseMap === undefined ? releaseDefaults : readRelease(releaseMap, references, problems);
  problems.refuse();
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  return {
    name: name ?? '',
    description: description ?? '',
    digest: toHex(sha256(bytes)),
    references: referencesOf(profiles, release, references),
    profiles,
    release,
  };
}

function readProfiles(
  map: MapTree | undefined,
  definitions: Definitions,
  references: References,
  problems: Problems,
): readonly Profile[] {
  if (map === undefined) return [];
  const count = map.members.size;
  if (count === 0) problems.add(map.place, '"profiles" has none, so that the policy could never allow');
  if (count > policyProfilesMax) problems.add(map.place, `${count} profiles, at most ${policyProfilesMax}`);
  return [...map.members].flatMap(([name, { value, place }]) => {
    nameOf({ kind: 'scalar', text: name, isPlain: true, place }, 'the name of a profile', problems);
    return readProfile(name, value, definitions, references, problems) ?? [];
  });
}

function readProfile(
  name: string,
  tree: Tree,
  definitions: Definitions,
  references: References,
  problems: Problems,
): Profile | undefined {
  const map = mapOf(tree, `profile "${shown(name)}"`, problems);
  if (map === undefined) return undefined;
  const members = new Members(
    map,
    ['technology', 'description', 'rules', 'waive'],
    `profile "${shown(name)}"`,
    problems,
  );
  members.text('description', policyTextCharactersMax);
  const technology = readTechnology(members.required('technology'), definitions, problems);
  members.required('rules');
  const rulesMap = members.map('rules');
  const waiveMap = members.map('waive');
  if (technology === undefined) return undefined;
  const claims = new Map((definitions.get(technology) ?? []).map((definition) => [definition.name, definition]));
  const rules = readRules(rulesMap, technology, claims, references, problems);
  const waived = readWaivers(waiveMap, rulesMap, technology, claims, problems);
  for (const { name: claim, mustBeJudged } of claims.values()) {
    if (!mustBeJudged || rulesMap?.members.has(claim) === true || waiveMap?.members.has(claim) === true) continue;
    problems.add(
      map.place,
      `profile "${shown(name)}" says nothing about ${claim}: add a rule, or waive it with a reason`,
    );
  }
  return { name, technology, rules, waived };
}

function readTechnology(tree: Tree | undefined, definitions: Definitions, problems: Problems): Technology | undefined {
  if (tree === undefined) return undefined;
  const text = tree.kind === 'scalar' ? tree.text : '';
  const technology = technologies.find((one) => one === text);
  if (technology !== undefined && definitions.has(technology)) return technology;
  const near = suggestion(text, technologies);
  return problems.add(tree.place, `"technology" must be one of ${[...definitions.keys()].join(', ')}${near}`);
}

function readRules(
  map: MapTree | undefined,
  technology: Technology,
  claims: ReadonlyMap<string, ClaimDefinition>,
  references: References,
  problems: Problems,
): ReadonlyMap<string, Condition> {
  const rules = new Map<string, Condition>();
  for (const [claim, { value, place }] of map?.members ?? []) {
    const definition = claims.get(claim);
    if (definition === undefined) {
      problems.add(place, `${technology} has no claim "${shown(claim)}"${suggestion(claim, claims.keys())}`);
    } else if (claim === 'debug') {
      if (!(value.kind === 'scalar' && value.isPlain && value.text === 'false'))
        problems.add(value.place, 'the only rule about debug is false; to let debug evidence pass, waive it by name');
    } else {
      const condition = readCondition(value, definition, references, problems);
      if (condition !== undefined) rules.set(claim, condition);
    }
  }
  return rules;
}

function readWaivers(
  map: MapTree | undefined,
  rules: MapTree | undefined,
  technology: Technology,
  claims: ReadonlyMap<string, ClaimDefinition>,
  problems: Problems,
): ReadonlyMap<string, string> {
  const waived = new Map<string, string>();
  for (const [claim, { value, place }] of map?.members ?? []) {
    if (!claims.has(claim))
      problems.add(place, `${technology} has no claim "${shown(claim)}"${suggestion(claim, claims.keys())}`);
    if (rules?.members.has(claim) === true) problems.add(place, `${shown(claim)} has a rule and a waiver`);
    const reason = textOf(value, `the reason for waiving ${shown(claim)}`, policyTextCharactersMax, problems);
    if (reason !== undefined) waived.set(claim, reason);
  }
  return waived;
}

function referencesOf(
  profiles: readonly Profile[],
  release: ReleaseSection,
  references: References,
): { name: string; digest: string }[] {
  const tests = profiles.flatMap(({ rules }) => [...rules.values()].flatMap((condition) => condition.tests));
  const lists = tests.flatMap((test) => ('allowed' in test ? [test.allowed] : []));
  if (release.initdata !== undefined) lists.push(release.initdata);
  const names = new Set(lists.flatMap((list) => list.references));
  return [...names].toSorted().map((name) => ({ name, digest: references.get(name)?.digest ?? '' }));
}
