/** The command lines of the tools: `--help` shows the comment a tool's file begins with. */
import { readFileSync } from 'node:fs';
import { parseArgs, type ParseArgsConfig } from 'node:util';

const headerPattern = /^\/\*\*\n([\s\S]*?)\n \*\//;
const usageExitCode = 2;

/** As `parseArgs`; what it does not understand ends the process with one line. `file` is the tool's own. */
export function toolArguments<const Config extends ParseArgsConfig>(
  file: string,
  config: Config,
): ReturnType<typeof parseArgs<Config>> {
  if (process.argv.some((word) => word === '--help' || word === '-h')) {
    const header = headerPattern.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
    console.log(header.replaceAll(/^ \* ?/gm, ''));
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (error) {
    return refuse((error as Error).message.split('. ')[0] ?? '');
  }
}

/** A number that an option gives; ends the process as above where it is none above zero. */
export function positiveNumber(option: string, text: string): number {
  const value = Number(text);
  return value > 0 && Number.isFinite(value) ? value : refuse(`${option} takes a number above 0, not '${text}'`);
}

function refuse(message: string): never {
  console.error(`${message}; --help shows what there is`);
  process.exit(usageExitCode);
}
