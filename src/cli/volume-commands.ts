/** The commands `caisson volume …`: their words, options and examples. */
import type { CommandSpec } from './command.ts';
import {
  anchor,
  keyOptions,
  name,
  newKeyOptions,
  newVolumeOptions,
  protection,
  protectionOrHashed,
  size,
} from './volume-options.ts';

export const volumeCommands: readonly CommandSpec[] = [
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
