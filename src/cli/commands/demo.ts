/** `caisson demo`: shows the whole thing once, on volumes of its own, and cleans up whatever happens. */
import { resolve } from 'node:path';
import { errorToBody, toCaissonError } from '../../admin/error-body.ts';
import { CaissonError } from '../../lib/errors.ts';
import { demoTreeFilesMax } from '../../lib/limits.ts';
import type { CommandOptions, RunCommand } from '../command.ts';
import { emptyReport, describeReport } from '../demo/report.ts';
import type { DemoReport, WayName } from '../demo/report.ts';
import { AttestedScenario, attestedStepCount } from '../demo/attested.ts';
import type { AttestedSabotage } from '../demo/attested.ts';
import { Scenario, stepCount } from '../demo/scenario.ts';
import type { Sabotage } from '../demo/scenario.ts';
import { Steps } from '../demo/steps.ts';
import { defaultParent, Workspace } from '../demo/workspace.ts';
import { ExitCode } from '../exit-code.ts';
import { watchSignals } from '../interruption.ts';
import { textOption } from '../keys.ts';
import { Output } from '../output.ts';

export const run: RunCommand = async (context, _args, options) => {
  const isJson = options['json'] === true || context.output.format === 'json';
  const output = isJson ? new Output('json', context.output.isDebug) : context.output;
  const isKept = options['keep'] === true;
  const start = performance.now();
  const report = emptyReport();
  // What the steps wait for ends soon by itself; a clean-up that has begun is never cut short.
  const interruption = watchSignals(output, 'the demo was stopped');
  try {
    const workspace = new Workspace(resolve(textOption(options, 'folder') ?? defaultParent()));
    output.note(`Caisson ${context.version}: a demo in ${workspace.folder}`);
    const isAttested = options['attested'] === true;
    const steps = new Steps(output, isAttested ? attestedStepCount : stepCount);
    const way = textOption(options, 'way') as WayName | undefined;
    const sabotage = textOption(options, 'sabotage');
    const { signal } = interruption;
    const scenario = isAttested
      ? new AttestedScenario(workspace, steps, { sabotage: sabotage as AttestedSabotage | undefined, signal }, report)
      : new Scenario(
          workspace,
          steps,
          { way, sabotage: sabotage as Sabotage | undefined, filesMax: filesMax(options), signal },
          report,
        );
    const failure = await failureOf(() => scenario.run());
    const leftOver = await failureOf(() => workspace.cleanUp(isKept));
    report.steps = steps.reports;
    report.folder = isKept ? workspace.folder : null;
    const thrown = failure ?? leftOver;
    noteFailure(report, failure === undefined ? 'clean-up' : steps.current, thrown);
    if (isKept) output.note(howToLook(workspace));
    report.seconds = Math.round(performance.now() - start) / 1000;
    if (isJson || thrown === undefined) output.result(report, () => describeReport(report));
    if (thrown === undefined) return ExitCode.good;
    return output.failure(inStep(report, thrown));
  } finally {
    interruption.stop();
  }
};

function filesMax(options: CommandOptions): number {
  const count = Number(textOption(options, 'filesMax') ?? demoTreeFilesMax);
  if (Number.isInteger(count) && count >= 1 && count <= demoTreeFilesMax) return count;
  throw new CaissonError('invalid', 'argument-invalid', `--files-max takes 1 to ${demoTreeFilesMax}`, {
    remedy: 'Give a number, such as 200.',
  });
}

async function failureOf(act: () => Promise<void>): Promise<unknown> {
  try {
    await act();
    return undefined;
  } catch (error) {
    return error;
  }
}

function noteFailure(report: DemoReport, step: string, thrown: unknown): void {
  report.passed = thrown === undefined;
  if (thrown === undefined) return;
  const { kind, code, message, remedy } = errorToBody(thrown).error;
  report.failure = { step, kind, code, message, remedy };
}

function inStep({ failure }: DemoReport, thrown: unknown): CaissonError {
  const { kind, code, message, remedy, cause } = toCaissonError(thrown);
  if (code === 'cancelled' || failure === null) return toCaissonError(thrown);
  return new CaissonError(kind, code, `the demo failed in its step "${failure.step}": ${message}`, {
    ...(remedy === undefined ? { remedy: 'Run it again with --keep, and look at what it leaves.' } : { remedy }),
    cause,
  });
}

function howToLook({ folder, variables }: Workspace): string {
  const settings = Object.entries(variables).map(([name, value]) => `export ${name}='${value}'`);
  return [`Everything is still in ${folder}. To look at it:`, ...settings, 'caisson volume ls'].join('\n  ');
}
