/** The commands `caisson broker …`: their words, options and examples. `docs/broker.md` says the same at length. */
import type { ArgumentSpec, CommandModule, CommandSpec, OptionSpec } from './command.ts';

const reachOptions: readonly OptionSpec[] = [
  { flags: '--broker <url>', description: 'https://HOST:PORT; default: the broker of this machine and its own files' },
  { flags: '--ca-file <file>', description: 'the certificate authority of the broker (authority.crt)' },
  { flags: '--fingerprint <hex>', description: 'SHA-256 of a certificate of the broker, instead of the authority' },
  { flags: '--token-file <file>', description: 'the token of an administrator; never an argument' },
];

const tenant: OptionSpec = { flags: '--tenant <name>', description: 'the tenant', isRequired: true };
const key: ArgumentSpec = { form: '<key>', description: 'the name of the key' };
const document: ArgumentSpec = { form: '<name>', description: 'the name that the document gives itself' };

function admin(
  path: string,
  summary: string,
  args: readonly ArgumentSpec[],
  options: readonly OptionSpec[],
  examples: readonly string[],
  run: (module: typeof import('./commands/broker-admin.ts')) => CommandModule['run'],
): CommandSpec {
  return {
    path: `broker ${path}`,
    ...{ summary, arguments: args, examples },
    options: [...options, ...reachOptions],
    load: async () => ({ run: run(await import('./commands/broker-admin.ts')) }),
  };
}

const tenantCommands: readonly CommandSpec[] = [
  admin(
    'status',
    'say whether a broker answers, and what it holds',
    [],
    [],
    ['caisson broker status'],
    (module) => module.status,
  ),
  admin(
    'tenant-add',
    'add a tenant; writes the token of its administrator into a new file',
    [{ form: '<tenant>', description: 'lower-case letters, digits and hyphens' }],
    [{ flags: '--save-token <file>', description: 'where the token goes: a new file of mode 0600', isRequired: true }],
    ['caisson broker tenant-add acme --save-token acme.token'],
    (module) => module.tenantAdd,
  ),
  admin(
    'tenant-token',
    'replace the token of a tenant (or of "root"), which ends the old one',
    [{ form: '<tenant>', description: 'the tenant' }],
    [{ flags: '--save-token <file>', description: 'where the token goes: a new file of mode 0600', isRequired: true }],
    ['caisson broker tenant-token acme --save-token acme-2.token'],
    (module) => module.tenantToken,
  ),
  admin('tenant-ls', 'list tenants', [], [], ['caisson broker tenant-ls -o json'], (module) => module.tenantLs),
  admin(
    'tenant-rm',
    'remove a tenant with its keys, policies and anchors',
    [{ form: '<tenant>', description: 'the tenant' }],
    [{ flags: '--yes', description: 'do not ask for the name again' }],
    ['caisson broker tenant-rm acme'],
    (module) => module.tenantRm,
  ),
];

const keyCommands: readonly CommandSpec[] = [
  admin('key-ls', 'list keys', [], [tenant], ['caisson broker key-ls --tenant acme'], (module) => module.keyLs),
  admin(
    'key-create',
    'make a key that is guarded by a policy',
    [key],
    [tenant, { flags: '--policy <name>', description: 'the policy that guards it', isRequired: true }],
    ['caisson broker key-create data --tenant acme --policy database'],
    (module) => module.keyCreate,
  ),
  admin(
    'key-set-policy',
    'put a key under another policy',
    [key],
    [tenant, { flags: '--policy <name>', description: 'the policy that is to guard it', isRequired: true }],
    ['caisson broker key-set-policy data --tenant acme --policy database-2'],
    (module) => module.keySetPolicy,
  ),
  admin(
    'key-erase',
    'destroy a key for good; prints the receipt',
    [key],
    [tenant, { flags: '--yes', description: 'do not ask for the name again' }],
    ['caisson broker key-erase data --tenant acme -o json > receipt.json'],
    (module) => module.keyErase,
  ),
  admin(
    'key-rewrap',
    'wrap the keys of a tenant anew at rest',
    [],
    [tenant],
    ['caisson broker key-rewrap --tenant acme'],
    (module) => module.keyRewrap,
  ),
];

function documentCommands(word: 'policy' | 'reference', what: string, every: string): readonly CommandSpec[] {
  return [
    admin(
      `${word}-put`,
      `check ${what} and store it`,
      [{ form: '<file>', description: 'YAML or JSON' }],
      [
        tenant,
        { flags: '--name <name>', description: 'the name that the text must give itself; default: whatever it does' },
      ],
      [`caisson broker ${word}-put database.yaml --tenant acme`],
      (module) => module.putDocument(word),
    ),
    admin(`${word}-ls`, `list ${every}`, [], [tenant], [`caisson broker ${word}-ls --tenant acme`], (module) =>
      module.listDocuments(word),
    ),
    admin(
      `${word}-show`,
      `print ${what}`,
      [document],
      [tenant],
      [`caisson broker ${word}-show database --tenant acme`],
      (module) => module.showDocument(word),
    ),
    admin(
      `${word}-rm`,
      `remove ${what}`,
      [document],
      [tenant],
      [`caisson broker ${word}-rm database --tenant acme`],
      (module) => module.removeDocument(word),
    ),
  ];
}

const otherCommands: readonly CommandSpec[] = [
  admin(
    'session-revoke',
    'end sessions: workloads must show evidence again',
    [],
    [
      tenant,
      { flags: '--session <id>', description: 'one session' },
      { flags: '--key <name>', description: 'all sessions of a key' },
    ],
    ['caisson broker session-revoke --tenant acme --key data'],
    (module) => module.sessionRevoke,
  ),
  admin(
    'anchor-show',
    'show what the anchor of a volume holds',
    [{ form: '<volume-id>', description: '32 hexadecimal digits' }],
    [tenant],
    ['caisson broker anchor-show 0f6e2b0c5c1d4a6e8b7a9c0d1e2f3a4b --tenant acme'],
    (module) => module.anchorShow,
  ),
  admin(
    'anchor-forget',
    'forget the anchor of a volume: old copies of it are no longer refused',
    [{ form: '<volume-id>', description: '32 hexadecimal digits' }],
    [tenant, { flags: '--yes', description: 'do not ask for the id again' }],
    ['caisson broker anchor-forget 0f6e2b0c5c1d4a6e8b7a9c0d1e2f3a4b --tenant acme'],
    (module) => module.anchorForget,
  ),
  admin(
    'capability-revoke',
    'end every capability of a volume that was minted so far, wherever it is served',
    [{ form: '<volume-id>', description: '32 hexadecimal digits' }],
    [tenant],
    ['caisson broker capability-revoke 0f6e2b0c5c1d4a6e8b7a9c0d1e2f3a4b --tenant acme'],
    (module) => module.capabilityRevoke,
  ),
  admin(
    'log-download',
    'save the release log, for "caisson log verify"',
    [{ form: '<file>', description: 'a new file' }],
    [],
    ['caisson broker log-download release.log'],
    (module) => module.logDownload,
  ),
];

export const brokerCommands: readonly CommandSpec[] = [
  {
    path: 'broker run',
    summary: 'run a broker; without a configuration on this machine alone, with files of its own',
    arguments: [],
    options: [
      { flags: '--config <file>', description: 'a YAML file; see docs/broker.md' },
      { flags: '--listen <address>', description: 'HOST:PORT; default: 127.0.0.1:7443' },
      { flags: '--state <folder>', description: 'where database, master key and certificate authority lie' },
      { flags: '--accept-rollback', description: 'an older database was put back on purpose; it is logged' },
      {
        flags: '--ready-fd <number>',
        description: 'an open descriptor that gets "ready" once it serves',
        isHidden: true,
      },
    ],
    examples: [
      'caisson broker run',
      'caisson broker run --config /etc/caisson/broker.yaml',
      'caisson broker run --listen 0.0.0.0:7443 --state /var/lib/caisson-broker',
    ],
    load: () => import('./commands/broker-run.ts'),
  },
  {
    path: 'broker collateral-fetch',
    summary: 'fetch what vendors publish beside evidence into one file, for a broker without a network',
    arguments: [],
    options: [
      { flags: '--out <file>', description: 'a new file, or a bundle, which is renewed', isRequired: true },
      { flags: '--fmspc <hex...>', description: "models of Intel's platforms, 12 hexadecimal digits each" },
      { flags: '--product <name...>', description: "AMD's: milan, genoa, turin" },
      { flags: '--evidence <file...>', description: 'evidence of workloads: whatever its verification needs' },
      { flags: '--config <file>', description: "the broker's YAML file: other services than the vendors', more roots" },
    ],
    examples: [
      'caisson broker collateral-fetch --out collateral.json --evidence quote.bin',
      'caisson broker collateral-fetch --out collateral.json --fmspc 00a067110000 --product milan genoa',
      'caisson broker collateral-fetch --out collateral.json',
    ],
    load: () => import('./commands/broker-collateral-fetch.ts'),
  },
  {
    path: 'broker key-rotate',
    summary: 'a new root key and master key for the broker of this database; can be interrupted and asked again',
    arguments: [],
    options: [
      { flags: '--to <source>', description: 'the new master key, as masterKey; default: the same, enrolled anew' },
      { flags: '--config <file>', description: 'the YAML file of the broker, with its present master key' },
      { flags: '--state <folder>', description: 'where database, master key and certificate authority lie' },
    ],
    examples: [
      'caisson broker key-rotate --config /etc/caisson/broker.yaml --to pkcs11:token=broker',
      'caisson broker key-rotate --state /var/lib/caisson-broker --to file:/etc/caisson/master-2.key',
    ],
    load: () => import('./commands/broker-key-rotate.ts'),
  },
  ...tenantCommands,
  ...keyCommands,
  ...documentCommands('policy', 'a policy', 'policies'),
  ...documentCommands('reference', 'a set of reference values', 'sets of reference values'),
  ...otherCommands,
];
