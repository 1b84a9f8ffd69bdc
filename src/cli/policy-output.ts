/** What several policy commands share: files of an option, a table of outcomes. */
import { resolve } from 'node:path';
import type { PolicyRuleOutcome } from '../admin/broker-tools.ts';
import { printable, table } from './output.ts';

const cellCharactersMax = 72;

/** Of an option that may be given several times, absolute. */
export function filesOf(option: unknown): string[] {
  return Array.isArray(option) ? option.filter((file) => typeof file === 'string').map((file) => resolve(file)) : [];
}

export function outcomeTable(outcomes: readonly PolicyRuleOutcome[]): string {
  const rows = outcomes.map(({ rule, outcome, expected, actual }) => [
    outcome === 'fail' ? 'FAIL' : outcome,
    rule,
    cell(expected),
    cell(actual),
  ]);
  return table([['OUTCOME', 'RULE', 'EXPECTED', 'ACTUAL'], ...rows]);
}

/** Long measurements keep both ends; `-o json` has them whole. */
export function cell(text: string): string {
  const clean = printable(text).replaceAll('\n', ' ');
  if (clean.length <= cellCharactersMax) return clean;
  return `${clean.substring(0, cellCharactersMax - 20)}...${clean.substring(clean.length - 17)}`;
}
