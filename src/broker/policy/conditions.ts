/** Conditions about one claim: read from a policy, and judged (spec/policy.md, section 3). */
import { assert } from '../../lib/assert.ts';
import type { ClaimDefinition, ClaimValue } from '../attest/verifier.ts';
import { mapOf, Members, shown } from './document.ts';
import type { MapTree, Problems, ScalarTree, Tree } from './document.ts';
import type { References } from './references.ts';
import { suggestion } from './suggest.ts';
import {
  claimText,
  dateText,
  durationText,
  isProblem,
  isSame,
  matchesBits,
  readDate,
  readDuration,
  readValue,
  ruleValueText,
} from './values.ts';
import type { RuleKind, RuleValue } from './values.ts';

interface AllowedValue {
  readonly value: RuleValue;
  readonly validUntil: number | undefined;
}

export interface AllowedValues {
  readonly values: readonly AllowedValue[];
  /** Of the reference values among them. */
  readonly references: readonly string[];
}

type Test =
  | { readonly kind: 'one-of' | 'only' | 'includes'; readonly allowed: AllowedValues }
  | { readonly kind: 'at-least' | 'at-most'; readonly limit: number }
  | { readonly kind: 'age-at-most'; readonly milliseconds: number }
  | { readonly kind: 'bits'; readonly mask: RuleValue; readonly wanted: RuleValue };

export interface Condition {
  readonly kind: RuleKind;
  readonly tests: readonly Test[];
  readonly mayBeAbsent: boolean;
}

export interface Judgement {
  readonly holds: boolean;
  readonly expected: string;
  readonly actual: string;
}

const testNames: Readonly<Record<RuleKind, readonly string[]>> = {
  bytes: ['equals', 'one-of', 'bits'],
  number: ['equals', 'one-of', 'at-least', 'at-most', 'bits'],
  boolean: ['equals'],
  text: ['equals', 'one-of'],
  date: ['at-least', 'at-most', 'age-at-most'],
  list: ['only', 'includes'],
};
const shorthandOfScalar: Partial<Readonly<Record<RuleKind, string>>> = { date: 'at-least' };
const shorthandOfList: Partial<Readonly<Record<RuleKind, string>>> = { list: 'only', date: 'at-least' };

/** The condition that stands there, or undefined where `problems` has been told. */
export function readCondition(
  tree: Tree,
  definition: ClaimDefinition,
  references: References,
  problems: Problems,
): Condition | undefined {
  const reader = new ConditionReader(definition, references, problems);
  const { kind } = definition;
  if (tree.kind === 'map' && !tree.members.has('reference')) return reader.mapping(tree);
  const name = tree.kind === 'scalar' ? (shorthandOfScalar[kind] ?? 'equals') : (shorthandOfList[kind] ?? 'one-of');
  if (!testNames[kind].includes(name))
    return problems.add(tree.place, `${definition.name} is a ${kind}: write one of ${testNames[kind].join(', ')}`);
  const test = reader.test(name, tree);
  return test && { kind, tests: [test], mayBeAbsent: false };
}

class ConditionReader {
  readonly #definition: ClaimDefinition;
  readonly #references: References;
  readonly #problems: Problems;

  constructor(definition: ClaimDefinition, references: References, problems: Problems) {
    this.#definition = definition;
    this.#references = references;
    this.#problems = problems;
  }

  mapping(map: MapTree): Condition | undefined {
    const { kind, name } = this.#definition;
    const names = testNames[kind];
    const members = new Members(map, [...names, 'or-absent'], `a condition of ${name}, a ${kind},`, this.#problems);
    const present = names.filter((test) => map.members.has(test));
    const mayBeAbsent = this.#orAbsent(members);
    if (present.length === 0)
      return this.#problems.add(map.place, `the condition of ${name} says none of ${names.join(', ')}`);
    const tests = present.map((test) => this.test(test, members.required(test)!)).filter((test) => test !== undefined);
    return { kind, tests, mayBeAbsent };
  }

  test(name: string, tree: Tree): Test | undefined {
    switch (name) {
      case 'equals':
      case 'one-of':
        return this.#allowedTest('one-of', tree, name === 'equals');
      case 'only':
      case 'includes':
        return this.#allowedTest(name, tree, false);
      case 'at-least':
      case 'at-most': {
        const limit = this.#value(tree);
        return typeof limit === 'number' ? { kind: name, limit } : undefined;
      }
      case 'age-at-most': {
        const milliseconds = tree.kind === 'scalar' ? readDuration(tree.text) : undefined;
        if (milliseconds !== undefined) return { kind: name, milliseconds };
        return this.#problems.add(tree.place, `"${name}" must be a duration such as 400d or 12h`);
      }
      default:
        return this.#bits(tree);
    }
  }

  #allowedTest(kind: 'one-of' | 'only' | 'includes', tree: Tree, isSingle: boolean): Test | undefined {
    if (tree.kind === 'scalar' && !isSingle)
      return this.#problems.add(tree.place, `"${kind}" must be a list, or {reference: NAME}`);
    if (tree.kind === 'list' && isSingle)
      return this.#problems.add(tree.place, '"equals" takes one value; write one-of for several');
    // Nothing but nothing is a rule; one of nothing, or with nothing, is none.
    if (tree.kind === 'list' && tree.items.length === 0 && kind !== 'only')
      return this.#problems.add(tree.place, `the list of "${kind}" is empty, so that it would mean nothing`);
    return { kind, allowed: readAllowedValues(tree, this.#definition, this.#references, this.#problems) };
  }

  #bits(tree: Tree): Test | undefined {
    const map = mapOf(tree, '"bits"', this.#problems);
    if (map === undefined) return undefined;
    const members = new Members(map, ['mask', 'equals'], '"bits"', this.#problems);
    const [maskTree, wantedTree] = [members.required('mask'), members.required('equals')];
    const mask = maskTree && this.#value(maskTree);
    const wanted = wantedTree && this.#value(wantedTree);
    if (mask === undefined || wanted === undefined) return undefined;
    const isSameLength = mask instanceof Uint8Array ? (wanted as Uint8Array).length === mask.length : true;
    if (!isSameLength || !matchesBits(wanted, mask, wanted))
      return this.#problems.add(map.place, '"equals" has bits that "mask" leaves out, so that it could never hold');
    return { kind: 'bits', mask, wanted };
  }

  #orAbsent(members: Members): boolean {
    const value = members.value('or-absent');
    if (value === undefined) return false;
    if (this.#definition.isOptional !== true)
      this.#problems.add(value.place, `${this.#definition.name} is never absent, so "or-absent" says nothing`);
    else if (value.kind !== 'scalar' || !value.isPlain || value.text !== 'true')
      this.#problems.add(value.place, '"or-absent" must be true, or be left out');
    return true;
  }

  #value(tree: Tree): RuleValue | undefined {
    if (tree.kind === 'scalar') return valueOf(tree, this.#definition, this.#problems);
    return this.#problems.add(tree.place, 'one value must stand here');
  }
}

/** A list of values and references, one reference, or one value. */
export function readAllowedValues(
  tree: Tree,
  definition: Pick<ClaimDefinition, 'name' | 'kind' | 'bytes'>,
  references: References,
  problems: Problems,
): AllowedValues {
  const items = tree.kind === 'list' ? tree.items : [tree];
  const values: AllowedValue[] = [];
  const names: string[] = [];
  for (const item of items) {
    if (item.kind === 'scalar') {
      const value = valueOf(item, definition, problems);
      if (value !== undefined) values.push({ value, validUntil: undefined });
    } else {
      const map = mapOf(item, 'an item', problems);
      const members = map && new Members(map, ['reference'], 'an item that is a mapping', problems);
      const name = members?.required('reference');
      if (name !== undefined) names.push(...referred(name, definition, references, problems, values));
    }
  }
  return { values, references: names };
}

/** Adds the values of a set and gives its name. */
function referred(
  tree: Tree,
  definition: Pick<ClaimDefinition, 'name' | 'kind' | 'bytes'>,
  references: References,
  problems: Problems,
  values: AllowedValue[],
): string[] {
  const set = tree.kind === 'scalar' ? references.get(tree.text) : undefined;
  if (tree.kind !== 'scalar' || set === undefined) {
    const name = tree.kind === 'scalar' ? tree.text : '';
    const others = references.size === 0 ? '; none are given' : suggestion(name, references.keys());
    problems.add(tree.place, `there are no reference values "${shown(name)}"${others}`);
    return [];
  }
  for (const { scalar, validUntil } of set.values) {
    const value = readValue(scalar, definition.kind, definition.bytes);
    if (!isProblem(value)) values.push({ value, validUntil });
    else {
      const where = `${set.file}:${scalar.place.line}`;
      problems.add(
        tree.place,
        `reference values "${set.name}" do not fit ${definition.name}: ${where}: ${value.problem}`,
      );
      break;
    }
  }
  return [set.name];
}

function valueOf(
  scalar: ScalarTree,
  definition: Pick<ClaimDefinition, 'kind' | 'bytes'>,
  problems: Problems,
): RuleValue | undefined {
  const value = readValue(scalar, definition.kind, definition.bytes);
  return isProblem(value) ? problems.add(scalar.place, value.problem) : value;
}

/** `claim` is undefined where the evidence lacks it. */
export function judge(condition: Condition, claim: ClaimValue | undefined, now: number): Judgement {
  const { kind, tests, mayBeAbsent } = condition;
  const expected = tests.map((test) => expectation(test, kind, now)).join(' and ') + (mayBeAbsent ? ', or absent' : '');
  if (claim === undefined) return { holds: mayBeAbsent, expected, actual: '(absent)' };
  return { holds: tests.every((test) => passes(test, claim, now)), expected, actual: claimText(claim) };
}

function passes(test: Test, claim: ClaimValue, now: number): boolean {
  const measure = typeof claim === 'string' ? readDate(claim) : claim;
  switch (test.kind) {
    case 'one-of':
      return inForce(test.allowed, now).some((value) => isSame(claim, value));
    case 'only':
      return isList(claim) && claim.every((item) => inForce(test.allowed, now).includes(item));
    case 'includes': {
      // With every reference value expired nothing would be asked for, and anything would hold.
      const wanted = inForce(test.allowed, now);
      return isList(claim) && wanted.length > 0 && wanted.every((value) => claim.includes(String(value)));
    }
    case 'at-least':
      return typeof measure === 'number' && measure >= test.limit;
    case 'at-most':
      return typeof measure === 'number' && measure <= test.limit;
    case 'age-at-most':
      return typeof measure === 'number' && measure >= now - test.milliseconds;
    case 'bits':
      return (claim instanceof Uint8Array || typeof claim === 'number') && matchesBits(claim, test.mask, test.wanted);
  }
}

function isList(claim: ClaimValue): claim is readonly string[] {
  return typeof claim === 'object' && !(claim instanceof Uint8Array);
}

export function inForce({ values }: AllowedValues, now: number): readonly RuleValue[] {
  const current = values.filter(({ validUntil }) => validUntil === undefined || now < validUntil);
  return current.map(({ value }) => value);
}

function expectation(test: Test, kind: RuleKind, now: number): string {
  switch (test.kind) {
    case 'one-of':
      return allowedText(test.allowed, kind, now, 'one of ');
    case 'only':
      return `only ${allowedText(test.allowed, kind, now, '')}`;
    case 'includes':
      return `with ${allowedText(test.allowed, kind, now, '')}`;
    case 'at-least':
    case 'at-most':
      return `${test.kind.replace('-', ' ')} ${ruleValueText(test.limit, kind)}`;
    case 'age-at-most':
      return `at least ${dateText(now - test.milliseconds)} (${durationText(test.milliseconds)} ago)`;
    case 'bits':
      return `bits ${hexText(test.mask)} are ${hexText(test.wanted)}`;
  }
}

function hexText(value: RuleValue): string {
  assert(value instanceof Uint8Array || typeof value === 'number', 'bits are of bytes or of a number');
  return typeof value === 'number' ? `0x${value.toString(16)}` : ruleValueText(value, 'bytes');
}

const valuesShownMax = 3;

export function allowedText(allowed: AllowedValues, kind: RuleKind, now: number, before: string): string {
  const current = inForce(allowed, now);
  const expired = allowed.values.length - current.length;
  const told = current.toSpliced(valuesShownMax).map((value) => ruleValueText(value, kind));
  if (current.length > told.length) told.push(`${current.length - told.length} more`);
  const values = told.length === 0 ? 'nothing' : told.join(', ');
  const notes = [
    ...(allowed.references.length === 0 ? [] : [`of ${allowed.references.join(', ')}`]),
    ...(expired === 0 ? [] : [`${expired} expired`]),
  ];
  const isOne = allowed.values.length === 1 && notes.length === 0;
  return `${isOne ? '' : before}${values}${notes.length === 0 ? '' : ` (${notes.join('; ')})`}`;
}
