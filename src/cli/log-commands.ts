/** The commands `caisson log …` on a downloaded copy: their words, options and examples. */
import type { ArgumentSpec, CommandSpec, OptionSpec } from './command.ts';

const file: ArgumentSpec = { form: '<file>', description: 'the copy, as "caisson broker log-download" wrote it' };
const key: OptionSpec = {
  flags: '--key <key>',
  description: 'the public key of the log: 64 hexadecimal digits or a file; else the copy vouches for itself',
};
const since: OptionSpec = {
  flags: '--since <head>',
  description: 'an earlier head, or an earlier copy: the log has to continue it',
};

export const logCommands: readonly CommandSpec[] = [
  {
    path: 'log verify',
    summary: 'verify a copy of a release log by itself: every line, root and signature',
    arguments: [file],
    options: [
      key,
      since,
      { flags: '--save-head <file>', description: 'write the newest head there, for --since the next time' },
    ],
    examples: [
      'caisson log verify release.log',
      `caisson log verify release.log --key ${'5e'.repeat(32)} --since seen.head --save-head seen.head`,
    ],
    load: () => import('./commands/log-verify.ts'),
  },
  {
    path: 'log show',
    summary: 'verify a copy of a release log and list its lines',
    arguments: [file],
    options: [
      key,
      since,
      { flags: '--kind <kind>', description: 'only lines of this kind, such as release or refusal' },
      { flags: '--tenant <tenant>', description: 'only lines of this tenant' },
      { flags: '--from <index>', description: 'begin at this line, counted from 0', default: '0' },
      { flags: '--count <number>', description: 'at most so many lines', default: '100' },
    ],
    examples: ['caisson log show release.log --kind refusal', 'caisson log show release.log --tenant main -o json'],
    load: () => import('./commands/log-show.ts'),
  },
  {
    path: 'log prove',
    summary: 'print a proof that a line is in the log, or with --since that the log continues an earlier head',
    arguments: [file, { form: '[index]', description: 'the line, counted from 0' }],
    options: [key, since],
    examples: [
      'caisson log prove release.log 17 > line-17.proof',
      'caisson log prove release.log --since seen.head > continues.proof',
    ],
    load: () => import('./commands/log-prove.ts'),
  },
  {
    path: 'log check-proof',
    summary: 'check a proof about a release log by itself',
    arguments: [{ form: '<file>', description: 'the proof' }],
    options: [key],
    examples: [`caisson log check-proof line-17.proof --key ${'5e'.repeat(32)}`],
    load: () => import('./commands/log-check-proof.ts'),
  },
];

const database: OptionSpec = {
  flags: '--database <file>',
  description: "the broker's SQLite database, broker.sqlite in its state folder",
  isRequired: true,
};

/** They belong to `caisson broker`, and need no broker that runs. */
export const brokerBackupCommands: readonly CommandSpec[] = [
  {
    path: 'broker backup',
    summary: "copy a broker's database into one file, also while the broker runs",
    arguments: [],
    options: [
      database,
      { flags: '--to <file>', description: 'a new file', isRequired: true },
      {
        flags: '--master-key <source>',
        description: 'as masterKey of the broker: signs the head of its log; default: master.key beside the database',
      },
    ],
    examples: ['caisson broker backup --database /var/lib/caisson-broker/broker.sqlite --to broker.backup'],
    load: () => import('./commands/broker-backup.ts'),
  },
  {
    path: 'broker restore',
    summary: 'check a backup and make a database of it; a broker that keeps its log head elsewhere has to accept it',
    arguments: [],
    options: [
      { flags: '--from <file>', description: 'the backup', isRequired: true },
      { ...database, description: 'a new file; move the old database aside first' },
      { ...key, description: 'the public key of the log: the backup must have a head that it signed' },
      { flags: '--master-key <source>', description: 'the same check, by the keys in the backup' },
    ],
    examples: ['caisson broker restore --from broker.backup --database /var/lib/caisson-broker/broker.sqlite'],
    load: () => import('./commands/broker-restore.ts'),
  },
];
