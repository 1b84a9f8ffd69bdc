/** The command line of `npm run bench`. Pure: arguments in, options or a sentence out. */
import { parseArgs } from 'node:util';
import { parseBytes } from '../src/lib/sizes.ts';

export type S3ServerName = 'radosgw' | 'versitygw';

export interface BenchOptions {
  readonly quick: boolean;
  readonly check: boolean;
  /** The S3 server that the parts `s3-…` run on. */
  readonly s3Server: S3ServerName;
  /** Also writes 64 GiB to see what opening that much costs. */
  readonly full: boolean;
  readonly only: RegExp | undefined;
  readonly rounds: number;
  readonly seconds: number;
  readonly json: boolean;
  readonly volumeBytes: number;
  readonly ramFolder: string;
  readonly diskFolder: string;
  readonly resultsFolder: string | undefined;
  readonly help: boolean;
}

export const usage = `npm run bench -- [options]
  --quick              4 KiB at depth 32 and 1 MiB against the two LUKS peers, about a minute
  --check              end with exit code 1 where a target is missed
  --full               also fill 64 GiB on disk and open it
  --only REGEXP        only the jobs and parts with such a name (see bench/README.md)
  --rounds N           how often everything runs, in rotated order (5; quick: 3)
  --seconds N          the longest time of one job (2; quick: 1)
  --size SIZE          of a volume (1GiB; quick: 256MiB)
  --s3-server NAME     radosgw or versitygw, for the parts s3-... (radosgw)
  --ram-folder DIR     where RAM-backed volumes lie (/dev/shm)
  --disk-folder DIR    where disk-backed volumes lie (/var/tmp)
  --results DIR        where the results are written (bench/results), - for nowhere
  -o, --output json    print the report as JSON`;

export function parseOptions(parameters: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      quick: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      size: { type: 'string' },
      's3-server': { type: 'string', default: 'radosgw' },
      'ram-folder': { type: 'string', default: '/dev/shm' },
      'disk-folder': { type: 'string', default: '/var/tmp' },
      results: { type: 'string' },
      output: { type: 'string', short: 'o', default: 'text' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const { quick } = values;
  if (values.output !== 'json' && values.output !== 'text') throw new Error('--output is json or text');
  const volumeBytes = parseBytes(values.size ?? (quick ? '256MiB' : '1GiB'));
  if (volumeBytes < 2 ** 24 || volumeBytes % 2 ** 20 !== 0) throw new Error('--size is at least 16MiB, in whole MiB');
  const s3Server = values['s3-server'];
  if (s3Server !== 'radosgw' && s3Server !== 'versitygw') throw new Error('--s3-server is radosgw or versitygw');
  return {
    quick,
    s3Server,
    check: values.check,
    full: values.full,
    only: values.only === undefined ? undefined : new RegExp(values.only),
    rounds: count('--rounds', values.rounds ?? (quick ? '3' : '5'), 100),
    seconds: count('--seconds', values.seconds ?? (quick ? '1' : '2'), 600),
    json: values.output === 'json',
    volumeBytes,
    ramFolder: values['ram-folder'],
    diskFolder: values['disk-folder'],
    resultsFolder: values.results,
    help: values.help,
  };
}

function count(name: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new Error(`${name} is a whole number from 1 to ${max}`);
}
