/**
 * Texts of policies, reference values and their tests as trees with positions (spec/policy.md, section 1).
 *
 * Invariants: every scalar is the text that stands there; no member occurs twice; no tag, anchor or
 * alias is left; depth and counts are bounded. Whatever is wrong is a `Problem`, and all of them are
 * told at once by `Problems.refuse`.
 */
import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { ParsedNode, YAMLMap, YAMLSeq } from 'yaml';
import { CaissonError } from '../../lib/errors.ts';
import {
  policyBytesMax,
  policyDepthMax,
  policyItemsMax,
  policyPiecesMax,
  policyProblemsMax,
  referenceBytesMax,
  referencePiecesMax,
} from '../../lib/limits.ts';
import { prescan } from './prescan.ts';
import type { TextBounds } from './prescan.ts';
import { suggestion } from './suggest.ts';

export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface ScalarTree {
  readonly kind: 'scalar';
  readonly text: string;
  /** Without quotation marks: only so can it be a number or a boolean. */
  readonly isPlain: boolean;
  readonly place: Place;
}

export interface ListTree {
  readonly kind: 'list';
  readonly items: readonly Tree[];
  readonly place: Place;
}

export interface MapTree {
  readonly kind: 'map';
  readonly members: ReadonlyMap<string, { readonly value: Tree; readonly place: Place }>;
  readonly place: Place;
}

export type Tree = ScalarTree | ListTree | MapTree;

export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** Problems of one text, in the order of their places. */
export class Problems {
  readonly file: string;
  readonly #found: Problem[] = [];

  constructor(file: string) {
    this.file = file;
  }

  add(place: Place, message: string): undefined {
    this.#found.push({ file: this.file, line: place.line, column: place.column, message });
  }

  get list(): readonly Problem[] {
    return this.#found.toSorted((left, right) => left.line - right.line || left.column - right.column);
  }

  get areNone(): boolean {
    return this.#found.length === 0;
  }

  /** Throws `policy-invalid` with every problem, unless there is none. */
  refuse(): void {
    if (!this.areNone) throw new PolicyInvalidError(this.list);
  }
}

/** `policy-invalid` with all that is wrong. */
export class PolicyInvalidError extends CaissonError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const [first] = problems;
    const told = problems.toSpliced(policyProblemsMax).map(problemText);
    if (problems.length > told.length) told.push(`and ${problems.length - told.length} more`);
    super('invalid', 'policy-invalid', told.join('\n'), {
      remedy: 'Correct the text; "caisson policy claims" lists the claims, and "caisson policy check" tries it.',
      details: { problems: problems.length, ...(first && { line: first.line, column: first.column }) },
    });
    this.problems = problems;
  }
}

function problemText({ file, line, column, message }: Problem): string {
  return `${file}:${line}:${column}: ${message}`;
}

const start: Place = { line: 1, column: 1 };

/** Of policies and test files. */
export const policyBounds: TextBounds = { bytesMax: policyBytesMax, piecesMax: policyPiecesMax };
export const referenceBounds: TextBounds = { bytesMax: referenceBytesMax, piecesMax: referencePiecesMax };

/** The tree of a text, or undefined where it is not one; `problems` says why. */
export function parseTree(bytes: Uint8Array | string, bounds: TextBounds, problems: Problems): Tree | undefined {
  const text = decoded(bytes, bounds.bytesMax, problems);
  if (text === undefined) return undefined;
  const objection = prescan(text, bounds);
  if (objection !== undefined) return problems.add(placeIn(text, objection.offset), objection.message);
  const lines = new LineCounter();
  const placeOf = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return line === 0 ? start : { line, column: col };
  };
  // `uniqueKeys` is off because it compares every pair; the walk below finds doubles by name.
  const options = { schema: 'failsafe', uniqueKeys: false, prettyErrors: false, lineCounter: lines } as const;
  const document = parseDocument<ParsedNode>(text, options);
  for (const error of document.errors) problems.add(placeOf(error.pos[0]), error.message.split('\n')[0] ?? 'no YAML');
  if (document.errors.length > 0) return undefined;
  if (document.contents === null) return problems.add(start, 'the text is empty');
  return new Walk(problems, placeOf).tree(document.contents, 0);
}

function placeIn(text: string, offset: number): Place {
  const before = text.substring(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

function decoded(bytes: Uint8Array | string, bytesMax: number, problems: Problems): string | undefined {
  const raw = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes;
  if (raw.length > bytesMax) return problems.add(start, `the text has ${raw.length} bytes, at most ${bytesMax}`);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
    return text.startsWith('\u{feff}') ? problems.add(start, 'a byte order mark is not allowed') : text;
  } catch {
    return problems.add(start, 'the text is not UTF-8');
  }
}

class Walk {
  readonly #problems: Problems;
  readonly #placeOf: (offset: number) => Place;

  constructor(problems: Problems, placeOf: (offset: number) => Place) {
    this.#problems = problems;
    this.#placeOf = placeOf;
  }

  tree(node: ParsedNode, depth: number): Tree | undefined {
    const place = this.#placeOf(node.range[0]);
    if (depth > policyDepthMax) return this.#problems.add(place, `nested deeper than ${policyDepthMax} levels`);
    if (isMap(node)) return this.#map(node, place, depth);
    if (isSeq(node)) return this.#list(node, place, depth);
    if (!isScalar(node) || typeof node.value !== 'string') return this.#problems.add(place, 'there is no value here');
    return { kind: 'scalar', text: node.value, isPlain: node.type === 'PLAIN', place };
  }

  #map(node: YAMLMap.Parsed, place: Place, depth: number): Tree | undefined {
    if (!this.#isBounded(node, place)) return undefined;
    const members = new Map<string, { value: Tree; place: Place }>();
    for (const { key, value } of node.items) {
      const keyPlace = this.#placeOf(key.range[0]);
      const name = this.tree(key, depth + 1);
      if (name === undefined) continue;
      if (name.kind !== 'scalar') this.#problems.add(keyPlace, 'the name of a member must be a text');
      else if (members.has(name.text)) this.#problems.add(keyPlace, `"${shown(name.text)}" stands here twice`);
      else if (!isNode(value)) this.#problems.add(keyPlace, `"${shown(name.text)}" has no value`);
      else {
        const tree = this.tree(value, depth + 1);
        if (tree !== undefined) members.set(name.text, { value: tree, place: keyPlace });
      }
    }
    return { kind: 'map', members, place };
  }

  #list(node: YAMLSeq.Parsed, place: Place, depth: number): Tree | undefined {
    if (!this.#isBounded(node, place)) return undefined;
    const items = node.items.map((item) => this.tree(item, depth + 1));
    return { kind: 'list', items: items.filter((item) => item !== undefined), place };
  }

  #isBounded({ items }: { readonly items: readonly unknown[] }, place: Place): boolean {
    if (items.length <= policyItemsMax) return true;
    this.#problems.add(place, `${items.length} entries, at most ${policyItemsMax}`);
    return false;
  }
}

/**
 * One mapping whose members are known. Reading a member of the wrong form is a problem and gives
 * undefined; what is optional and absent gives undefined and is none.
 */
export class Members {
  readonly tree: MapTree;
  readonly #problems: Problems;
  readonly #where: string;

  /** `where` names the mapping in messages. Unknown members are problems at once. */
  constructor(tree: MapTree, known: readonly string[], where: string, problems: Problems) {
    this.tree = tree;
    this.#problems = problems;
    this.#where = where;
    for (const [name, { place }] of tree.members) {
      if (known.includes(name)) continue;
      problems.add(place, `${where} has no member "${shown(name)}"${suggestion(name, known)}`);
    }
  }

  value(name: string): Tree | undefined {
    return this.tree.members.get(name)?.value;
  }

  required(name: string): Tree | undefined {
    const value = this.value(name);
    if (value === undefined) this.#problems.add(this.tree.place, `${this.#where} lacks "${name}"`);
    return value;
  }

  map(name: string): MapTree | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : mapOf(value, `"${name}"`, this.#problems);
  }

  list(name: string): ListTree | undefined {
    const value = this.value(name);
    if (value === undefined || value.kind === 'list') return value;
    return this.#problems.add(value.place, `"${name}" must be a list`);
  }

  text(name: string, charactersMax: number): string | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : textOf(value, `"${name}"`, charactersMax, this.#problems);
  }
}

export function mapOf(tree: Tree, what: string, problems: Problems): MapTree | undefined {
  return tree.kind === 'map' ? tree : problems.add(tree.place, `${what} must be a mapping`);
}

export function textOf(tree: Tree, what: string, charactersMax: number, problems: Problems): string | undefined {
  if (tree.kind !== 'scalar') return problems.add(tree.place, `${what} must be a text`);
  if (tree.text.trim() === '') return problems.add(tree.place, `${what} is empty`);
  if (tree.text.length > charactersMax)
    return problems.add(tree.place, `${what} has ${tree.text.length} characters, at most ${charactersMax}`);
  return tree.text;
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;

export function nameOf(tree: Tree | undefined, what: string, problems: Problems): string | undefined {
  if (tree === undefined) return undefined;
  if (tree.kind === 'scalar' && namePattern.test(tree.text)) return tree.text;
  return problems.add(tree.place, `${what} must have 1 to 64 of a-z, 0-9 and -, and not begin with -`);
}

/** The first member of every text: which format and version it is. */
export function checkVersion(members: Members, name: string, problems: Problems): void {
  const value = members.required(name);
  if (value !== undefined && !(value.kind === 'scalar' && value.isPlain && value.text === '1'))
    problems.add(value.place, `"${name}" must be 1, the version that this program knows`);
}

/** Text of others within a message: short, and without control characters. */
export function shown(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
  return clean.length > 80 ? `${clean.substring(0, 77)}...` : clean;
}
