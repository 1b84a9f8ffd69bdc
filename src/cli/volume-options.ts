/** Arguments and options that several commands on volumes share. */
import type { ArgumentSpec, OptionSpec } from './command.ts';

export const name: ArgumentSpec = { form: '<name>', description: 'the name of the volume' };

export const reference: ArgumentSpec = {
  form: '<name>',
  description: 'the name of the volume, or NAME@SNAPSHOT: read-only',
};
export const snapshot: ArgumentSpec = { form: '<snapshot>', description: 'the name of the snapshot, or its id' };

export const keyOptions: readonly OptionSpec[] = [
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

export const newKeyOptions: readonly OptionSpec[] = [
  { flags: '--new-passphrase-file <file>', description: 'read the new passphrase from a file' },
  { flags: '--new-passphrase-fd <number>', description: 'read the new passphrase from an open file descriptor' },
  { flags: '--new-key-file <file>', description: 'the new key is a key file' },
  { flags: '--new-key <source>', description: 'the new key comes from this source, as with --key' },
];

export const size: OptionSpec = {
  flags: '--size <size>',
  description: 'size of the volume: 10GiB, 10G, 512M or bytes; a multiple of 4096',
  isRequired: true,
};

const store: OptionSpec = {
  flags: '--store <url>',
  description: 'where it lies, such as dir:/srv/volumes; default: "store" in the configuration',
};

export const protection: OptionSpec = {
  flags: '--protection <kind>',
  description: 'sealed; or none: UNPROTECTED, not secret, integrity only by signature',
  choices: ['sealed', 'none'],
  default: 'sealed',
};

export const protectionOrHashed: OptionSpec = {
  ...protection,
  description: `${protection.description}; or hashed: read-only, not secret, every byte checked against a public root`,
  choices: ['sealed', 'none', 'hashed'],
};

export const anchor: OptionSpec = {
  flags: '--anchor <anchor>',
  description:
    'what remembers the newest state: file, tpm or tpm:DEVICE (docs/tpm.md), broker (docs/broker.md); default: file, unless configured',
};

export const newVolumeOptions: readonly OptionSpec[] = [
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
