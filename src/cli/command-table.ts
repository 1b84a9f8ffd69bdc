/** Every command: its words, options and examples. `docs/cli.md` says the same at length. */
import { brokerCommands } from './broker-commands.ts';
import { capabilityCommands } from './capability-commands.ts';
import type { CommandSpec } from './command.ts';
import { brokerBackupCommands, logCommands } from './log-commands.ts';
import { policyCommands } from './policy-commands.ts';
import { volumeCommands } from './volume-commands.ts';
import { keyOptions, name, newKeyOptions, reference, snapshot } from './volume-options.ts';

const snapshotCommands: readonly CommandSpec[] = [
  {
    path: 'snapshot create',
    summary: 'keep the state of this moment under a name, whatever the size',
    arguments: [name, { ...snapshot, description: 'what to call it: A-Z a-z 0-9 . _ -' }],
    options: keyOptions,
    examples: ['caisson snapshot create data monday', 'caisson snapshot create data $(date +%F) -o json'],
    load: () => import('./commands/snapshot-create.ts'),
  },
  {
    path: 'snapshot ls',
    summary: 'list the snapshots of a volume, oldest first',
    arguments: [name],
    options: keyOptions,
    examples: ['caisson snapshot ls data'],
    load: () => import('./commands/snapshot-ls.ts'),
  },
  {
    path: 'snapshot rm',
    summary: 'remove a snapshot; what only it needed leaves the store',
    arguments: [name, snapshot],
    options: keyOptions,
    examples: ['caisson snapshot rm data monday'],
    load: () => import('./commands/snapshot-rm.ts'),
  },
  {
    path: 'snapshot diff',
    summary: 'list what changed from one snapshot to another, or to the newest state',
    arguments: [
      name,
      { form: '<from>', description: 'the earlier snapshot' },
      { form: '[to]', description: 'the later one; default: the newest state that is published' },
    ],
    options: [
      { flags: '--compact', description: 'lines of "offset length data|zero|hole" and nothing else' },
      ...keyOptions,
    ],
    examples: [
      'caisson snapshot diff data monday tuesday',
      'caisson snapshot diff data monday --compact',
      'caisson snapshot diff data monday tuesday -o json',
    ],
    load: () => import('./commands/snapshot-diff.ts'),
  },
  {
    path: 'snapshot restore',
    summary: 'make the state of a snapshot the newest again',
    arguments: [name, snapshot],
    options: [{ flags: '--yes', description: 'do not ask for the name of the volume' }, ...keyOptions],
    examples: ['caisson snapshot restore data monday', 'caisson snapshot restore data monday --yes'],
    load: () => import('./commands/snapshot-restore.ts'),
  },
];

const keyCommands: readonly CommandSpec[] = [
  {
    path: 'key ls',
    summary: 'list the keys that open a volume',
    arguments: [name],
    options: [],
    examples: ['caisson key ls data'],
    load: () => import('./commands/key-ls.ts'),
  },
  {
    path: 'key add',
    summary: 'let one more key open a volume',
    arguments: [name],
    options: [...keyOptions, ...newKeyOptions],
    examples: ['caisson key add data --new-key-file /etc/caisson/data.key'],
    load: () => import('./commands/key-add.ts'),
  },
  {
    path: 'key rm',
    summary: 'take a key away from a volume',
    arguments: [name, { form: '<slot>', description: 'the slot, as "caisson key ls" shows it' }],
    options: keyOptions,
    examples: ['caisson key rm data 1'],
    load: () => import('./commands/key-rm.ts'),
  },
  {
    path: 'key change',
    summary: 'put a new key in the place of an old one',
    arguments: [name, { form: '[slot]', description: 'the slot; may be left out where there is only one' }],
    options: [...keyOptions, ...newKeyOptions],
    examples: ['caisson key change data', 'caisson key change data 0 --passphrase-file old --new-passphrase-file new'],
    load: () => import('./commands/key-change.ts'),
  },
  {
    path: 'key generate',
    summary: 'make a new key file; or a keystore, sealed by the key that is given',
    arguments: [{ form: '<file>', description: 'the file to create; an existing one is never touched' }],
    options: [...keyOptions, ...newKeyOptions],
    examples: [
      'caisson key generate /etc/caisson/data.key',
      'caisson key generate /etc/caisson/keys --key tpm: --new-passphrase-file recovery',
    ],
    load: () => import('./commands/key-generate.ts'),
  },
];

const daemonCommands: readonly CommandSpec[] = [
  {
    path: 'serve',
    summary: 'open volumes and export them over NBD until told to stop',
    arguments: [
      {
        form: '[names...]',
        description: 'what to serve, NAME or NAME@SNAPSHOT; default: "volumes" in the configuration',
      },
    ],
    options: [
      {
        flags: '--socket <path>',
        description: 'the NBD socket, where one volume is served; default: NAME.sock in the runtime folder',
      },
      { flags: '--tcp <host:port>', description: 'listen on TCP as well; needs TLS' },
      { flags: '--tls-cert <file>', description: 'the certificate of this server, PEM' },
      { flags: '--tls-key <file>', description: 'the key of the certificate, PEM' },
      { flags: '--tls-ca <file>', description: 'admit only clients whose certificate this authority signed' },
      { flags: '--psk-file <file>', description: 'admit clients that know a pre-shared key (lines of identity:hex)' },
      { flags: '--insecure-no-tls', description: 'send the plaintext over TCP as it is' },
      { flags: '--read-only', description: 'serve without taking writes' },
      {
        flags: '--capability-socket <path>',
        description: 'let holders of capabilities open their parts there (docs/capabilities.md)',
      },
      { flags: '--ready-fd <number>', description: 'write "ready" to this descriptor once everything is served' },
      { flags: '--background', description: 'stop with the last volume', isHidden: true },
      ...keyOptions,
    ],
    examples: [
      'caisson serve data',
      'caisson serve data data@monday',
      'caisson serve data --tcp 0.0.0.0:10809 --tls-cert server.pem --tls-key server.key --tls-ca clients.pem',
    ],
    load: () => import('./commands/serve.ts'),
  },
  {
    path: 'attach',
    summary: 'have the running daemon open one more volume',
    arguments: [reference],
    options: [
      { flags: '--socket <path>', description: 'the NBD socket; default: NAME.sock in the runtime folder' },
      { flags: '--read-only', description: 'without taking writes' },
      ...keyOptions,
    ],
    examples: ['caisson attach logs', 'caisson attach logs@monday'],
    load: () => import('./commands/attach.ts'),
  },
  {
    path: 'detach',
    summary: 'have the running daemon close a volume',
    arguments: [reference],
    options: [],
    examples: ['caisson detach logs', 'caisson detach logs@monday'],
    load: () => import('./commands/detach.ts'),
  },
  {
    path: 'mount',
    summary: 'mount the file system on a volume; starts a daemon where none runs',
    arguments: [reference, { form: '<directory>', description: 'where to mount it' }],
    options: [
      {
        flags: '--mkfs <type>',
        description: 'make a file system first, on a volume that holds none',
        choices: ['ext4', 'xfs', 'btrfs'],
      },
      { flags: '--force', description: 'with --mkfs: overwrite a file system that is there' },
      { flags: '--mount-options <list>', description: 'for mount(8), separated by commas: noatime,discard' },
      { flags: '--read-only', description: 'mount without taking writes' },
      ...keyOptions,
    ],
    examples: [
      'caisson mount data /mnt/data --mkfs ext4',
      'caisson mount data /mnt/data',
      'caisson mount data@monday /mnt/monday',
    ],
    load: () => import('./commands/mount.ts'),
  },
  {
    path: 'umount',
    summary: 'undo a mount, also one that a crashed daemon left behind',
    arguments: [{ form: '<target>', description: 'the name of the volume, or the directory' }],
    options: [],
    examples: ['caisson umount data', 'caisson umount /mnt/data'],
    load: () => import('./commands/umount.ts'),
  },
  {
    path: 'status',
    summary: 'show what the running daemon serves',
    arguments: [],
    options: [{ flags: '--metrics', description: 'print its metrics in Prometheus format instead' }],
    examples: ['caisson status', 'caisson status --metrics'],
    load: () => import('./commands/status.ts'),
  },
  {
    path: 'stop',
    summary: 'tell the running daemon to close everything and end',
    arguments: [],
    options: [],
    examples: ['caisson stop'],
    load: () => import('./commands/stop.ts'),
  },
];

const machineCommands: readonly CommandSpec[] = [
  {
    path: 'doctor',
    summary: 'check that this machine has what Caisson needs',
    arguments: [],
    options: [{ flags: '--store <url>', description: 'a store to look at, too, such as block:/dev/sdb' }],
    examples: ['caisson doctor', 'caisson doctor --store block:/dev/sdb', 'caisson doctor -o json'],
    load: () => import('./commands/doctor.ts'),
  },
  {
    path: 'bench',
    summary: 'measure what sealing costs on this machine, in seconds',
    arguments: [],
    options: [
      { flags: '--folder <folder>', description: 'where the scratch volume lies; default: the temporary folder' },
      { flags: '--seconds <number>', description: 'time for each of the jobs', default: '0.5' },
    ],
    examples: ['caisson bench', 'caisson bench --folder /srv --seconds 2'],
    load: () => import('./commands/bench.ts'),
  },
  {
    path: 'demo',
    summary: 'show the whole thing once, on a volume made for it',
    arguments: [],
    options: [
      { flags: '--folder <folder>', description: 'where its own folder is made; default: the temporary folder' },
      { flags: '--keep', description: 'leave its folder behind, to look at' },
      {
        flags: '--attested',
        description:
          'show a broker that releases the key to a machine with a TPM (in software: needs swtpm, tpm2-tools)',
      },
      { flags: '--json', description: 'print one report as JSON; the same as -o json' },
      {
        flags: '--way <way>',
        description: 'how the files reach the volume, instead of the best way that works here',
        choices: ['mount', 'nbd', 'built-in'],
        isHidden: true,
      },
      {
        flags: '--files-max <count>',
        description: 'take at most so many files along',
        isHidden: true,
      },
      {
        flags: '--sabotage <step>',
        description: 'make one step break its promise, so that the demo must fail',
        choices: ['files', 'search', 'flip', 'old-copy', 'register', 'log'],
        isHidden: true,
      },
    ],
    examples: ['caisson demo', 'caisson demo --attested', 'caisson demo --folder /srv --keep', 'caisson demo --json'],
    load: () => import('./commands/demo.ts'),
  },
  {
    path: 'completion',
    summary: 'print the completion script of a shell',
    arguments: [{ form: '<shell>', description: 'the shell', choices: ['bash', 'zsh', 'fish'] }],
    options: [],
    examples: ['caisson completion bash > /etc/bash_completion.d/caisson', 'caisson completion fish | source'],
    load: () => import('./commands/completion.ts'),
  },
];

export const commandTable: readonly CommandSpec[] = [
  ...volumeCommands,
  ...snapshotCommands,
  ...keyCommands,
  ...daemonCommands,
  ...machineCommands,
  ...brokerCommands,
  ...policyCommands,
  ...brokerBackupCommands,
  ...logCommands,
  ...capabilityCommands(keyOptions),
];
