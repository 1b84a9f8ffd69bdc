/** Every command: its words, options and examples. `docs/cli.md` says the same at length. */
import { brokerCommands } from './broker-commands.ts';
import { capabilityCommands } from './capability-commands.ts';
import type { ArgumentSpec, CommandSpec, OptionSpec } from './command.ts';
import { brokerBackupCommands, logCommands } from './log-commands.ts';
import { policyCommands } from './policy-commands.ts';

const name: ArgumentSpec = { form: '<name>', description: 'the name of the volume' };

const reference: ArgumentSpec = { form: '<name>', description: 'the name of the volume, or NAME@SNAPSHOT: read-only' };
const snapshot: ArgumentSpec = { form: '<snapshot>', description: 'the name of the snapshot, or its id' };

const keyOptions: readonly OptionSpec[] = [
  {
    flags: '--passphrase-file <file>',
    description: 'read the passphrase from a file (one trailing newline is dropped)',
  },
  { flags: '--passphrase-fd <number>', description: 'read the passphrase from an open file descriptor' },
  { flags: '--key-file <file>', description: 'use a key file (32 bytes; see "caisson key generate")' },
  {
    flags: '--key <source>',
    description: 'passphrase, file:PATH, or the URL of a key source: tpm:, pkcs11:, vault:… (docs/key-sources.md)',
  },
];

const newKeyOptions: readonly OptionSpec[] = [
  { flags: '--new-passphrase-file <file>', description: 'read the new passphrase from a file' },
  { flags: '--new-passphrase-fd <number>', description: 'read the new passphrase from an open file descriptor' },
  { flags: '--new-key-file <file>', description: 'the new key is a key file' },
  { flags: '--new-key <source>', description: 'the new key comes from this source, as with --key' },
];

const size: OptionSpec = {
  flags: '--size <size>',
  description: 'size of the volume: 10GiB, 10G, 512M or bytes; a multiple of 4096',
  isRequired: true,
};

const store: OptionSpec = {
  flags: '--store <url>',
  description: 'where it lies, such as dir:/srv/volumes; default: "store" in the configuration',
};

const protection: OptionSpec = {
  flags: '--protection <kind>',
  description: 'sealed; or none: UNPROTECTED, not secret, integrity only by signature',
  choices: ['sealed', 'none'],
  default: 'sealed',
};

const protectionOrHashed: OptionSpec = {
  ...protection,
  description: `${protection.description}; or hashed: read-only, not secret, every byte checked against a public root`,
  choices: ['sealed', 'none', 'hashed'],
};

const anchor: OptionSpec = {
  flags: '--anchor <anchor>',
  description:
    'what remembers the newest state: file, tpm or tpm:DEVICE (docs/tpm.md), broker (docs/broker.md); default: file, unless configured',
};

const newVolumeOptions: readonly OptionSpec[] = [
  store,
  {
    flags: '--overwrite-device',
    description: 'make the store on a block device although something else is on it, which is destroyed',
  },
  protection,
  {
    flags: '--durability <level>',
    description: 'what FLUSH waits for; default: remote for a store on another machine, else local',
    choices: ['local', 'remote', 'anchored'],
  },
  anchor,
];

const volumeCommands: readonly CommandSpec[] = [
  {
    path: 'volume create',
    summary: 'create a volume and name it',
    arguments: [name],
    options: [
      { ...size, isRequired: false },
      {
        flags: '--from <source>',
        description: 'with --protection hashed: a directory, an image file or a block device',
      },
      ...newVolumeOptions.map((option) => (option === protection ? protectionOrHashed : option)),
      ...keyOptions,
    ],
    examples: [
      'caisson volume create data --size 10GiB --store dir:/srv/volumes',
      'caisson volume create data --size 512M --store /srv/volumes --key-file /etc/caisson/data.key',
      'caisson volume create data --size 100GiB --store block:/dev/sdb',
      'caisson volume create model --protection hashed --from ./model --store dir:/srv/volumes',
    ],
    load: () => import('./commands/volume-create.ts'),
  },
  {
    path: 'volume adopt',
    summary: 'name a volume that exists in a store already',
    arguments: [name],
    options: [
      { flags: '--store <url>', description: 'where it lies', isRequired: true },
      { flags: '--id <hex>', description: 'its id, where the store holds more than one' },
      { flags: '--root <root>', description: 'the root (sha256:…) of a hashed volume; nothing else is needed for one' },
      anchor,
      {
        flags: '--accept-missing-anchor',
        description: 'trust the state found: no anchor here can tell whether it is the newest (a new machine)',
      },
      ...keyOptions,
    ],
    examples: [
      'caisson volume adopt data --store dir:/mnt/backup/volumes --id 0f6e2b0c5c1d4a6e8b7a9c0d1e2f3a4b',
      `caisson volume adopt model --store dir:/srv/volumes --root sha256:${'5e'.repeat(32)}`,
    ],
    load: () => import('./commands/volume-adopt.ts'),
  },
  {
    path: 'volume import',
    summary: 'make a volume from an image, a block device, a pipe or a LUKS volume, and check it',
    arguments: [name],
    options: [
      { flags: '--from <source>', description: 'an image file, a block device, or "-" for a pipe', isRequired: true },
      { flags: '--size <size>', description: 'size of the volume, if it is to be larger than the source' },
      { flags: '--sha256 <hex>', description: 'what sha256sum says of the source; anything else is refused' },
      { flags: '--luks', description: 'the source is a LUKS volume; its content is imported' },
      { flags: '--luks-passphrase-file <file>', description: 'read the passphrase of the LUKS volume from a file' },
      { flags: '--luks-passphrase-fd <number>', description: 'read it from an open file descriptor' },
      ...newVolumeOptions,
      ...keyOptions,
    ],
    examples: [
      'caisson volume import data --from disk.img --store dir:/srv/volumes',
      'zstdcat disk.img.zst | caisson volume import data --from - --key-file /etc/caisson/data.key',
      'caisson volume import data --from /dev/sdb2 --luks --size 20GiB',
    ],
    load: () => import('./commands/volume-import.ts'),
  },
  {
    path: 'volume copy',
    summary: 'make a new volume with the same content, with keys of its own, in any store',
    arguments: [name, { form: '<new-name>', description: 'the name of the copy' }],
    options: [...newVolumeOptions, ...keyOptions, ...newKeyOptions],
    examples: [
      'caisson volume copy data data2 --store dir:/mnt/other',
      'caisson volume copy data data2 --store dir:/mnt/other --key-file old.key --new-key-file new.key',
    ],
    load: () => import('./commands/volume-copy.ts'),
  },
  {
    path: 'volume move',
    summary: 'take a volume to another store, also while it is mounted and written',
    arguments: [name],
    options: [
      { flags: '--store <url>', description: 'where it goes', isRequired: true },
      { flags: '--keep-source', description: 'leave the sealed objects in the store that it leaves' },
      {
        flags: '--overwrite-device',
        description: 'make the store on a block device although something else is on it, which is destroyed',
      },
      ...keyOptions,
    ],
    examples: [
      'caisson volume move data --store dir:/mnt/bigger',
      'caisson volume move data --store s3://bucket/volumes --keep-source',
    ],
    load: () => import('./commands/volume-move.ts'),
  },
  {
    path: 'volume export',
    summary: 'write a sealed backup of a volume, whole or since an earlier one',
    arguments: [name],
    options: [
      { flags: '--to <file>', description: 'a new file, or "-" for a pipe', isRequired: true },
      {
        flags: '--since <base>',
        description: 'only what is new since: an earlier backup (its file, or NUMBER:DIGEST as printed), or a snapshot',
      },
      ...keyOptions,
    ],
    examples: [
      'caisson volume export data --to /mnt/backup/data-1.caisson',
      'caisson volume export data --to data-2.caisson --since data-1.caisson',
      'caisson volume export data --to data-3.caisson --since monday',
      'caisson volume export data --to - | ssh host caisson volume import-backup --from - --store dir:/srv/backup',
    ],
    load: () => import('./commands/volume-export.ts'),
  },
  {
    path: 'volume import-backup',
    summary: 'bring a backup into a store; needs no key',
    arguments: [],
    options: [
      { flags: '--from <file>', description: 'a backup, or "-" for a pipe', isRequired: true },
      { flags: '--store <url>', description: 'the store that is to hold the volume', isRequired: true },
    ],
    examples: ['caisson volume import-backup --from data-1.caisson --store dir:/srv/backup'],
    load: () => import('./commands/volume-import-backup.ts'),
  },
  {
    path: 'volume ls',
    summary: 'list the volumes that have a name here',
    arguments: [],
    options: [],
    examples: ['caisson volume ls', 'caisson volume ls -o json'],
    load: () => import('./commands/volume-ls.ts'),
  },
  {
    path: 'volume inspect',
    summary: 'show what the store tells, and with the key the rest',
    arguments: [name],
    options: [{ flags: '--unlock', description: 'open it (read-only) to show its size and state too' }, ...keyOptions],
    examples: ['caisson volume inspect data', 'caisson volume inspect data --unlock -o json'],
    load: () => import('./commands/volume-inspect.ts'),
  },
  {
    path: 'volume resize',
    summary: 'grow or shrink a volume',
    arguments: [name],
    options: [
      size,
      { flags: '--yes', description: 'shrink without asking: what lies beyond the new end is lost' },
      ...keyOptions,
    ],
    examples: ['caisson volume resize data --size 20GiB'],
    load: () => import('./commands/volume-resize.ts'),
  },
  {
    path: 'volume rm',
    summary: 'delete a volume and everything in it',
    arguments: [name],
    options: [
      { flags: '--yes', description: 'do not ask for the name again' },
      { flags: '--keep-data', description: 'forget only the name here; the store stays as it is' },
      { flags: '--delete-objects', description: 'of a hashed volume: also the objects that no other image needs' },
      { flags: '--force', description: 'with --delete-objects: although a build was broken off and left its marker' },
    ],
    examples: ['caisson volume rm data', 'caisson volume rm data --keep-data --yes'],
    load: () => import('./commands/volume-rm.ts'),
  },
  {
    path: 'volume clean',
    summary: 'give back the space of what was overwritten or trimmed; an open volume does so by itself',
    arguments: [name],
    options: [
      { flags: '--all', description: 'every segment with any garbage in it, not only as many as the goal asks for' },
      ...keyOptions,
    ],
    examples: ['caisson volume clean data', 'caisson volume clean data --all -o json'],
    load: () => import('./commands/volume-clean.ts'),
  },
  {
    path: 'volume rekey',
    summary: 'seal everything under a new data key, while the volume is in use',
    arguments: [name],
    options: [
      { flags: '--wait', description: 'return only when nothing is left under an older key' },
      ...keyOptions,
      ...newKeyOptions,
    ],
    examples: [
      'caisson volume rekey data --wait',
      'caisson volume rekey data --new-key-file /etc/caisson/data2.key --wait',
    ],
    load: () => import('./commands/volume-rekey.ts'),
  },
  {
    path: 'volume clone',
    summary: 'make a writable volume that starts from this one, or from a snapshot of it, in an instant',
    arguments: [name, { form: '<new-name>', description: 'the name of the clone' }],
    options: [
      { flags: '--snapshot <snapshot>', description: 'start from this snapshot instead of the state of now' },
      ...keyOptions,
      ...newKeyOptions,
    ],
    examples: [
      'caisson volume clone data test',
      'caisson volume clone data test --snapshot monday',
      'caisson volume clone data guest --new-key-file /etc/caisson/guest.key',
    ],
    load: () => import('./commands/volume-clone.ts'),
  },
  {
    path: 'volume erase',
    summary: 'destroy the keys of a volume for good, and prove it by a signed receipt',
    arguments: [name],
    options: [
      { flags: '--yes', description: 'do not ask for the name again' },
      { flags: '--keep-objects', description: 'leave the sealed objects in the store; nobody can read them any more' },
      { flags: '--receipt <file>', description: 'write the receipt to a new file, as JSON' },
      {
        flags: '--accept-missing-anchor',
        description: 'although no anchor here knows the volume, so that none refuses its old copies',
      },
      ...keyOptions,
    ],
    examples: ['caisson volume erase data', 'caisson volume erase data --yes --receipt data-erased.json'],
    load: () => import('./commands/volume-erase.ts'),
  },
  {
    path: 'volume verify',
    summary: 'check every object of a volume, or the receipt of an erased one',
    arguments: [{ ...name, form: '[name]' }],
    options: [
      { flags: '--public', description: 'check digests and signatures only, with no key at all' },
      { flags: '--receipt <file>', description: 'check this receipt of an erasure, with nothing else' },
      ...keyOptions,
    ],
    examples: [
      'caisson volume verify data',
      'caisson volume verify data --public -o json',
      'caisson volume verify --receipt data-erased.json',
    ],
    load: () => import('./commands/volume-verify.ts'),
  },
];

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
