/**
 * What a command is and what it is given. A command's module is loaded when the command runs; the
 * table of all commands (command-table.ts) is enough for help and completion.
 */
import type { BrokerTools } from '../admin/broker-tools.ts';
import type { LocalCaisson, Operations } from '../admin/operations.ts';
import type { Output } from './output.ts';

export interface CommandContext {
  readonly output: Output;
  readonly version: string;
  readonly commands: readonly CommandSpec[];
  /** Caisson in this process. */
  local(): Promise<LocalCaisson>;
  /** The daemon of this user, or undefined when none answers. */
  daemon(): Promise<Operations | undefined>;
  /** The broker's code in this process: runs one, asks one, judges policies and logs. */
  broker(): Promise<BrokerTools>;
}

export type CommandOptions = Readonly<Record<string, unknown>>;

/** Resolves to the exit code when it is not 0. */
export type RunCommand = (
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
) => Promise<number | void>;

export interface CommandModule {
  readonly run: RunCommand;
}

export interface OptionSpec {
  /** As commander writes them: `--size <size>`. */
  readonly flags: string;
  readonly description: string;
  readonly choices?: readonly string[];
  readonly default?: string | boolean;
  readonly isRequired?: boolean;
  readonly isHidden?: boolean;
}

export interface ArgumentSpec {
  /** `<name>`, `[name]`, `[name...]` */
  readonly form: string;
  readonly description: string;
  readonly choices?: readonly string[];
}

export interface CommandSpec {
  /** One or two words: `serve`, `volume create`. */
  readonly path: string;
  readonly summary: string;
  readonly arguments: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly string[];
  readonly load: () => Promise<CommandModule>;
}

/** Words that only group commands. */
export const commandGroups: Readonly<Record<string, string>> = {
  volume: 'Create, look at, change and check volumes',
  snapshot: 'Keep, compare and restore states of a volume',
  key: 'Manage the keys that open a volume',
  broker: 'Run and administer the broker, which releases keys to workloads that prove what they are',
  policy: 'Check, explain and try the policies of a broker',
  log: 'Look at the release log of a broker, and verify it',
  capability: 'Mint, narrow, look at and revoke tokens that grant part of a volume',
};
