/** The commands `caisson capability …`: their words, options and examples. */
import type { ArgumentSpec, CommandSpec, OptionSpec } from './command.ts';

const token: ArgumentSpec = { form: '<file>', description: 'the file with the capability' };
const name: ArgumentSpec = { form: '<name>', description: 'the name of the volume' };
const out: OptionSpec = {
  flags: '--out <file>',
  description: 'write the capability there; a file that exists is not replaced',
  isRequired: true,
};
const holderKey: OptionSpec = {
  flags: '--holder-key <file>',
  description: 'the key of its holder, as "caisson capability keygen" made it',
  isRequired: true,
};
const boundOptions: readonly OptionSpec[] = [
  { flags: '--base <size>', description: 'where the part begins in the volume; a multiple of 4096' },
  { flags: '--length <size>', description: 'how long the part is; a multiple of 4096' },
  { flags: '--rights <list>', description: 'of read,write,trim,snapshot,resize,export,delegate' },
  { flags: '--of-snapshot <id>', description: 'of a snapshot instead of the volume itself; it can only be read' },
  { flags: '--not-before <date>', description: 'when it begins to hold, such as 2027-01-31 or 2027-01-31T08:00:00Z' },
];
const socket: OptionSpec = {
  flags: '--socket <path>',
  description: 'the capability socket of the daemon',
  isRequired: true,
};
const snapshotArgument: ArgumentSpec = { form: '<snapshot>', description: 'the name of the snapshot, or its id' };
const expires = '--expires <when>';
const until = 'when it ends: 90m, 12h or 7d from now, or a date';

/** For whoever can open the volume. */
export function capabilityCommands(keyOptions: readonly OptionSpec[]): readonly CommandSpec[] {
  return [
    {
      path: 'capability mint',
      summary: 'grant a part of a volume to a holder',
      arguments: [name],
      options: [
        { flags: '--holder <key>', description: 'the public key of the holder, or @FILE', isRequired: true },
        out,
        { flags: expires, description: until, isRequired: true },
        ...boundOptions,
        ...keyOptions,
      ],
      examples: [
        'caisson capability mint data --holder @app.pub --out app.capability --expires 7d',
        'caisson capability mint data --holder @app.pub --out app.capability --base 1G --length 512M --rights read,write,trim --expires 2027-01-31',
      ],
      load: () => import('./commands/capability-mint.ts'),
    },
    {
      path: 'capability revoke',
      summary: 'end every capability of a volume that was minted so far',
      arguments: [name],
      options: [],
      examples: ['caisson capability revoke data'],
      load: () => import('./commands/capability-revoke.ts'),
    },
    ...holderCommands,
  ];
}

const holderCommands: readonly CommandSpec[] = [
  {
    path: 'capability keygen',
    summary: 'make the key of a holder, and print its public key',
    arguments: [{ form: '<file>', description: 'where to put the key; a file that exists is not replaced' }],
    options: [],
    examples: ['caisson capability keygen app.key', 'caisson capability keygen app.key > app.pub'],
    load: () => import('./commands/capability-keygen.ts'),
  },
  {
    path: 'capability inspect',
    summary: 'check the signatures of a capability and show what it grants',
    arguments: [token],
    options: [],
    examples: ['caisson capability inspect app.capability'],
    load: () => import('./commands/capability-inspect.ts'),
  },
  {
    path: 'capability narrow',
    summary: 'hand on less of a capability, without asking anybody',
    arguments: [token],
    options: [
      holderKey,
      { flags: '--to <key>', description: 'the public key of the next holder, or @FILE', isRequired: true },
      out,
      { flags: expires, description: until },
      ...boundOptions,
    ],
    examples: [
      'caisson capability narrow app.capability --holder-key app.key --to @job.pub --out job.capability --rights read',
    ],
    load: () => import('./commands/capability-narrow.ts'),
  },
  {
    path: 'capability open',
    summary: 'show a capability to a daemon, and print the NBD URI of the part',
    arguments: [token],
    options: [
      holderKey,
      socket,
      { flags: '--snapshot <snapshot>', description: 'the part as it was in this snapshot; takes read and snapshot' },
      { flags: '--tcp', description: 'serve the part to other machines, too; takes export' },
    ],
    examples: ['caisson capability open app.capability --holder-key app.key --socket /run/parts/capability.sock'],
    load: () => import('./commands/capability-open.ts'),
  },
  {
    path: 'capability snapshot-ls',
    summary: 'list the snapshots of the volume of a capability',
    arguments: [token],
    options: [holderKey, socket],
    examples: [
      'caisson capability snapshot-ls app.capability --holder-key app.key --socket /run/parts/capability.sock',
    ],
    load: () => import('./commands/capability-snapshot-ls.ts'),
  },
  {
    path: 'capability snapshot-create',
    summary: 'take a snapshot of the volume of a capability',
    arguments: [token, snapshotArgument],
    options: [holderKey, socket],
    examples: [
      'caisson capability snapshot-create app.capability monday --holder-key app.key --socket /run/parts/capability.sock',
    ],
    load: () => import('./commands/capability-snapshot-create.ts'),
  },
  {
    path: 'capability snapshot-rm',
    summary: 'remove a snapshot of the volume of a capability',
    arguments: [token, snapshotArgument],
    options: [holderKey, socket],
    examples: [
      'caisson capability snapshot-rm app.capability monday --holder-key app.key --socket /run/parts/capability.sock',
    ],
    load: () => import('./commands/capability-snapshot-rm.ts'),
  },
  {
    path: 'capability resize',
    summary: 'grow or shrink the volume of a capability at its end',
    arguments: [token],
    options: [holderKey, socket, { flags: '--size <size>', description: 'the new size of the part', isRequired: true }],
    examples: [
      'caisson capability resize app.capability --size 20G --holder-key app.key --socket /run/parts/capability.sock',
    ],
    load: () => import('./commands/capability-resize.ts'),
  },
];
