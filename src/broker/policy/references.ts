/** Sets of reference values, by name (spec/policy.md, section 4). */
import { sha256 } from '../../crypto/digest.ts';
import { toHex } from '../../lib/hex.ts';
import { policyTextCharactersMax } from '../../lib/limits.ts';
import {
  checkVersion,
  Members,
  mapOf,
  nameOf,
  parseTree,
  referenceBounds,
  PolicyInvalidError,
  Problems,
} from './document.ts';
import type { ScalarTree, Tree } from './document.ts';
import { readDate } from './values.ts';

export interface ReferenceValue {
  /** Read as the kind of the claim by each rule that refers to it. */
  readonly scalar: ScalarTree;
  /** Milliseconds since 1970; from then on it does not count. */
  readonly validUntil: number | undefined;
}

export interface ReferenceSet {
  readonly name: string;
  readonly file: string;
  /** SHA-256 of the text, hex. */
  readonly digest: string;
  readonly values: readonly ReferenceValue[];
}

export type References = ReadonlyMap<string, ReferenceSet>;
export const noReferences: References = new Map();

/** `policy-invalid` with every problem of the text. `file` names it in messages. */
export function parseReferenceSet(text: Uint8Array | string, file: string): ReferenceSet {
  const problems = new Problems(file);
  const tree = parseTree(text, referenceBounds, problems);
  const map = tree && mapOf(tree, 'a set of reference values', problems);
  if (map === undefined) throw new PolicyInvalidError(problems.list);
  const known = ['caisson-reference-values', 'name', 'description', 'values'];
  const members = new Members(map, known, 'a set of reference values', problems);
  checkVersion(members, 'caisson-reference-values', problems);
  members.text('description', policyTextCharactersMax);
  const name = nameOf(members.required('name'), '"name"', problems);
  members.required('values');
  const items = members.list('values')?.items ?? [];
  const values = items.map((item) => readReference(item, problems)).filter((value) => value !== undefined);
  problems.refuse();
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  return { name: name ?? '', file, digest: toHex(sha256(bytes)), values };
}

/** Sets by name; two of one name are `policy-invalid`. */
export function collectReferences(sets: readonly ReferenceSet[]): References {
  const byName = new Map<string, ReferenceSet>();
  for (const set of sets) {
    const other = byName.get(set.name);
    if (other !== undefined) {
      const message = `the reference values "${set.name}" are in ${other.file} already`;
      throw new PolicyInvalidError([{ file: set.file, line: 1, column: 1, message }]);
    }
    byName.set(set.name, set);
  }
  return byName;
}

function readReference(tree: Tree, problems: Problems): ReferenceValue | undefined {
  if (tree.kind === 'scalar') return { scalar: tree, validUntil: undefined };
  const map = mapOf(tree, 'a reference value', problems);
  if (map === undefined) return undefined;
  const members = new Members(map, ['value', 'description', 'valid-until'], 'a reference value', problems);
  members.text('description', policyTextCharactersMax);
  const scalar = members.required('value');
  const until = members.value('valid-until');
  const validUntil = until?.kind === 'scalar' ? readDate(until.text) : undefined;
  if (until !== undefined && validUntil === undefined) return problems.add(until.place, '"valid-until" must be a date');
  if (scalar === undefined) return undefined;
  return scalar.kind === 'scalar' ? { scalar, validUntil } : problems.add(scalar.place, '"value" must be one value');
}
