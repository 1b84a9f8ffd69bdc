/** `caisson policy explain FILE --evidence FILE`: the verdict, and how each rule came to it. */
import { resolve } from 'node:path';
import type { PolicyExplainRequest, PolicyExplanation } from '../../admin/broker-tools.ts';
import { CaissonError } from '../../lib/errors.ts';
import type { CommandOptions, RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { table } from '../output.ts';
import { cell, filesOf, outcomeTable } from '../policy-output.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.broker()).policies();
  const explanation = await tools.explain(requestOf(file, options));
  context.output.result({ ...explanation, profile: explanation.profile ?? null }, () =>
    textOf(explanation, options['claims'] === true),
  );
  return explanation.allowed ? ExitCode.good : ExitCode.denied;
};

function requestOf(file: string, options: CommandOptions): PolicyExplainRequest {
  const text = (name: string): string | undefined => {
    const value = options[name];
    return typeof value === 'string' ? value : undefined;
  };
  const collateral = text('collateral');
  const asks: PolicyExplainRequest['asks'] = [
    ...(options['createKey'] === true ? (['create-key'] as const) : []),
    ...(options['advanceAnchor'] === true ? (['advance-anchor'] as const) : []),
  ];
  return {
    policyFile: resolve(file),
    referenceFiles: filesOf(options['references']),
    evidenceFile: resolve(text('evidence') ?? ''),
    collateralFile: collateral === undefined ? undefined : resolve(collateral),
    rootFiles: filesOf(options['root']),
    now: timeOf(text('now')),
    keyName: text('key'),
    volumeId: text('volume'),
    suite: text('suite'),
    asks,
  };
}

function timeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const time = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z)?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  throw new CaissonError('invalid', 'argument-invalid', `"${text}" is no time such as 2026-11-23T12:00:00Z`);
}

function textOf(explanation: PolicyExplanation, showsClaims: boolean): string {
  const { evidence, failures } = explanation;
  const own = explanation.profiles.filter(({ rules }) => !rules.some(({ rule }) => rule.endsWith('.technology')));
  const others = explanation.profiles.length - own.length;
  const lines = [
    explanation.allowed
      ? `ALLOWED by profile ${explanation.profile ?? ''} of ${explanation.policy}`
      : `REFUSED by ${explanation.policy}: ${failures.map(({ rule }) => rule).join(', ')}`,
    `evidence: ${evidence.technology}; ${evidence.basis.map(({ name, value }) => `${name} ${cell(value)}`).join(', ')}`,
  ];
  for (const { rules } of own) lines.push('', outcomeTable(rules));
  if (others > 0) lines.push('', `${others} profiles are of other technologies`);
  if (explanation.conditions.length > 0) lines.push('', outcomeTable(explanation.conditions));
  if (showsClaims)
    lines.push('', table([['CLAIM', 'VALUE'], ...evidence.claims.map(({ name, value }) => [name, cell(value)])]));
  return lines.join('\n');
}
