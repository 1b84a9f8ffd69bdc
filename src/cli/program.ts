/**
 * The command line as commander sees it, made from the table. Whatever commander refuses leaves as
 * a CaissonError like everything else, so that scripts meet one shape of error.
 */
import { Argument, Command, CommanderError, Option } from 'commander';
import { CaissonError } from '../lib/errors.ts';
import { commandGroups } from './command.ts';
import type { CommandOptions, CommandSpec } from './command.ts';

/** The command that was chosen, with what it was given. */
export interface Invocation {
  readonly spec: CommandSpec;
  readonly args: readonly string[];
  readonly options: CommandOptions;
}

/** What to run, or text to show (help, version). */
export type Parsed = { readonly invocation: Invocation } | { readonly text: string };

export async function parseCommandLine(
  argv: readonly string[],
  table: readonly CommandSpec[],
  version: string,
): Promise<Parsed> {
  let text = '';
  let invocation: Invocation | undefined;
  const program = buildProgram(table, version, (chosen) => (invocation = chosen));
  const capture = { writeOut: (piece: string) => (text += piece), writeErr: () => undefined };
  for (const command of allCommands(program)) command.configureOutput(capture).exitOverride();
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw usageError(error, program, argv);
  }
  return invocation === undefined ? { text } : { invocation };
}

function buildProgram(
  table: readonly CommandSpec[],
  version: string,
  choose: (invocation: Invocation) => void,
): Command {
  const program = new Command('caisson')
    .description('Sealed persistent volumes: secret, tamper-evident and fresh across restarts, on any store')
    .version(version, '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  caisson doctor\n  caisson volume create data --size 10GiB --store dir:/srv/volumes\n  caisson mount data /mnt/data --mkfs ext4',
    );
  const groups = new Map(
    Object.entries(commandGroups).map(([word, summary]) => [word, groupCommand(program, word, summary, table)]),
  );
  for (const spec of table) {
    const [first = '', second] = spec.path.split(' ');
    const parent = second === undefined ? program : (groups.get(first) ?? program);
    addCommand(parent, second ?? first, spec, choose);
  }
  return program;
}

function groupCommand(program: Command, word: string, summary: string, table: readonly CommandSpec[]): Command {
  const examples = table.filter(({ path }) => path.startsWith(`${word} `)).map(({ examples: [first] }) => `  ${first}`);
  return program
    .command(word)
    .description(summary)
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .addHelpText('after', `\nExamples:\n${examples.join('\n')}`);
}

function addCommand(parent: Command, word: string, spec: CommandSpec, choose: (invocation: Invocation) => void): void {
  const command = parent
    .command(word)
    .summary(spec.summary)
    .description(`${spec.summary.charAt(0).toUpperCase()}${spec.summary.slice(1)}.`)
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join('\n')}`);
  for (const { form, description, choices } of spec.arguments) {
    const argument = new Argument(form, description);
    command.addArgument(choices === undefined ? argument : argument.choices([...choices]));
  }
  for (const { flags, description, choices, default: value, isRequired, isHidden } of spec.options) {
    const option = new Option(flags, description).makeOptionMandatory(isRequired === true).hideHelp(isHidden === true);
    if (choices !== undefined) option.choices([...choices]);
    if (value !== undefined) option.default(value);
    command.addOption(option);
  }
  command.addOption(outputOption());
  command.action(() =>
    choose({
      spec,
      args: command.processedArgs.flat().filter((arg) => typeof arg === 'string'),
      options: command.opts(),
    }),
  );
}

/** Taken by every command and before any; main.ts looks at it before anything is parsed. */
function outputOption(): Option {
  return new Option('-o, --output <format>', 'what to print').choices(['text', 'json']).default('text');
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

function usageError(error: CommanderError, program: Command, argv: readonly string[]): CaissonError {
  const command = commandOf(program, argv);
  const path = pathOf(command);
  const message =
    error.code === 'commander.help'
      ? `${path} needs to be told what to do: ${command.commands.map((sub) => sub.name()).join(', ')}`
      : error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  return new CaissonError('invalid', 'argument-invalid', message, { remedy: `See "${path} --help".` });
}

function commandOf(program: Command, argv: readonly string[]): Command {
  let command = program;
  for (const word of argv.filter((argument) => !argument.startsWith('-'))) {
    const next = command.commands.find((candidate) => candidate.name() === word);
    if (next === undefined) break;
    command = next;
  }
  return command;
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}
