/**
 * The caisson command: parses, loads the one module that is needed, runs it, says what went wrong.
 * The only file of the command line that may reach the code of daemon and broker (`daemon/local.ts`,
 * `broker/local.ts`); the commands know them as interfaces.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { LocalCaisson, Operations } from '../admin/operations.ts';
import { resolveFolders } from '../lib/folders.ts';
import type { CommandContext } from './command.ts';
import { commandTable } from './command-table.ts';
import { ExitCode } from './exit-code.ts';
import { Output } from './output.ts';
import { parseCommandLine } from './program.ts';

const isDebug = process.env['CAISSON_DEBUG'] === '1';

/** `entryPoint` is the module that a background daemon is started with. Resolves to the exit code. */
export async function main(argv: readonly string[], entryPoint: string): Promise<number> {
  const output = new Output(wantsJson(argv) ? 'json' : 'text', isDebug);
  process.on('uncaughtException', (error) => process.exit(output.failure(error)));
  try {
    const version = ownVersion();
    const parsed = await parseCommandLine(argv, commandTable, version);
    if ('text' in parsed) {
      output.verbatim(parsed.text);
      return ExitCode.good;
    }
    const { spec, args, options } = parsed.invocation;
    const { run } = await spec.load();
    return (await run(createContext(output, version, entryPoint), args, options)) ?? ExitCode.good;
  } catch (error) {
    return output.failure(error);
  }
}

function createContext(output: Output, version: string, entryPoint: string): CommandContext {
  const userId = process.getuid?.() ?? 0;
  const environment = process.env;
  let opened: Promise<LocalCaisson> | undefined;
  return {
    output,
    version,
    commands: commandTable,
    local: () =>
      (opened ??= import('../daemon/local.ts').then(({ openLocal }) =>
        openLocal({ environment, userId, version, entryPoint }),
      )),
    daemon: async (): Promise<Operations | undefined> => {
      const { adminSocket } = resolveFolders(environment, userId);
      if (!existsSync(adminSocket)) return undefined;
      const { createAdminClient, isDaemonRunning } = await import('../admin/client.ts');
      return (await isDaemonRunning(adminSocket)) ? createAdminClient(adminSocket) : undefined;
    },
    broker: () =>
      import('../broker/local.ts').then(({ openBrokerTools }) => openBrokerTools({ environment, userId, version })),
  };
}

/** Looked at before anything is parsed, so that an error while parsing has the right shape too. */
function wantsJson(argv: readonly string[]): boolean {
  return argv.some((word, index) => {
    if (word === '-o' || word === '--output') return argv[index + 1] === 'json';
    return word === '-ojson' || word === '--output=json';
  });
}

/** package.json lies above src/ and above dist/src/ alike. */
function ownVersion(): string {
  for (const place of ['../../package.json', '../../../package.json']) {
    const file = new URL(place, import.meta.url);
    if (!existsSync(file)) continue;
    const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
    if (name === 'caisson' && version !== undefined) return version;
  }
  return 'unknown';
}
