/**
 * The configuration as the daemon uses it. Reading YAML and checking it costs 50 ms of start and
 * 14 MiB, so the parser is loaded only where there is a file.
 */
import { configurationBytesMax } from '../lib/limits.ts';
import type { Configuration } from './configuration-parser.ts';
import { readSmallFile } from './small-files.ts';

export type { Configuration, LogLevel } from './configuration-parser.ts';

/** What an empty file means; a test keeps it equal to what the parser makes of one. */
export const configurationDefaults: Configuration = {
  logLevel: 'info',
  sealer: 'auto',
  volumes: [],
  anchor: 'file',
  tuning: {},
  remote: {},
  spinMicroseconds: 50,
};

export async function loadConfiguration(file: string): Promise<Configuration> {
  const text = readSmallFile(file, configurationBytesMax);
  if (text === undefined) return configurationDefaults;
  const { parseConfiguration } = await import('./configuration-parser.ts');
  return parseConfiguration(text, file);
}
