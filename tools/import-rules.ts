/**
 * What may import what. Each row names one folder of `src/` (or one file of it), everything of ours
 * that it may import besides itself, the Node built-ins beyond the pure ones, and its npm packages.
 * Everything that is not listed is an error. The security-critical folders have no npm packages.
 */

export interface ImportRule {
  /** A folder or file below `src/`. The most specific row wins. */
  readonly place: string;
  /** Folders or single files below `src/`. */
  readonly own: readonly string[];
  readonly builtins: readonly string[];
  readonly packages: readonly string[];
  readonly why: string;
}

/** Built-ins that touch neither disk nor network nor another process. */
export const pureBuiltins = [
  'node:assert',
  'node:assert/strict',
  'node:buffer',
  'node:events',
  'node:path',
  'node:url',
  'node:util',
  'node:zlib',
];

const sealedFormats = ['lib', 'crypto', 'store/store.ts'];
const exportSide = ['lib', 'export/block-device.ts'];
const socketBuiltins = ['node:net', 'node:tls', 'node:fs', 'node:fs/promises', 'node:stream', 'node:crypto'];

export const importRules: readonly ImportRule[] = [
  row('lib', [], [], 'product-free ground that everything stands on'),
  row(
    'sys',
    ['lib'],
    [
      'node:ffi',
      'node:fs',
      'node:fs/promises',
      'node:os',
      'node:process',
      'node:child_process',
      'node:stream',
      'node:worker_threads',
    ],
    'the one place with native calls and programs of the system',
  ),
  row('crypto', ['lib', 'sys'], ['node:crypto'], 'cryptography knows no I/O'),
  row(
    'store',
    ['lib', 'sys', 'aws'],
    ['node:fs', 'node:fs/promises', 'node:http', 'node:https', 'node:net', 'node:crypto'],
    'stores hold opaque bytes',
  ),
  row('segment', sealedFormats, [], 'formats meet each other only in volume/'),
  row('spool', sealedFormats, [], 'formats meet each other only in volume/'),
  row('block-map', sealedFormats, [], 'formats meet each other only in volume/'),
  row('manifest', [...sealedFormats, 'store/paths.ts'], [], 'formats meet each other only in volume/'),
  row('wire', ['lib', 'crypto'], ['node:crypto'], 'messages that broker and workload share', [
    'cborg',
    'canonicalize',
    'hpke',
    'zod',
  ]),
  row(
    'aws',
    ['lib', 'crypto'],
    ['node:fs', 'node:fs/promises', 'node:http', 'node:https', 'node:net', 'node:tls', 'node:crypto', 'node:os'],
    'credentials and signatures of AWS, and the exchange over HTTP; net and tls for direct-answers.ts alone',
  ),
  row(
    'tpm',
    ['lib', 'sys', 'crypto', 'wire'],
    ['node:crypto', 'node:fs', 'node:fs/promises', 'node:net'],
    'the TPM 2.0 command set, over a device or a socket',
  ),
  row(
    'attester',
    ['lib', 'sys', 'crypto', 'wire', 'tpm'],
    ['node:crypto', 'node:fs', 'node:fs/promises', 'node:http'],
    'evidence, gathered on the side of the workload',
  ),
  row(
    'broker-client',
    ['lib', 'crypto', 'wire', 'attester'],
    ['node:crypto', 'node:http', 'node:https', 'node:tls', 'node:net'],
    'what a workload asks a broker',
    ['zod'],
  ),
  row(
    'anchor',
    [
      'lib',
      'crypto',
      'wire',
      'tpm',
      'broker-client',
      'store/file-system.ts',
      'store/store.ts',
      'store/wait-for-lock.ts',
    ],
    [],
    'an anchor lives outside the store',
  ),
  row(
    'keys',
    ['lib', 'sys', 'crypto', 'wire', 'tpm', 'aws', 'attester', 'broker-client'],
    ['node:crypto', 'node:fs', 'node:fs/promises', 'node:http', 'node:https', 'node:net', 'node:tls'],
    'key sources know no volume',
    ['@noble/curves'],
  ),
  row('broker/attest', ['lib', 'crypto', 'wire'], ['node:crypto'], 'verifiers have no clock, no network and no files', [
    'cborg',
  ]),
  row('broker/policy', ['lib', 'crypto', 'wire', 'broker/attest'], [], 'what verified evidence is worth', [
    'yaml',
    'zod',
  ]),
  row(
    'broker',
    [
      'lib',
      'sys',
      'crypto',
      'wire',
      'keys',
      'tpm',
      'anchor/anchor.ts',
      'anchor/anchor-order.ts',
      'anchor/anchor-format.ts',
      'admin/broker-tools.ts',
    ],
    ['*'],
    'its own process: it meets the engine only in messages, and shares the contracts of keys and anchors',
    ['hono', '@hono/node-server', 'zod', 'yaml', 'pino', 'pg', 'cborg', '@prometheus-io/client'],
  ),
  row(
    'broker/local.ts',
    ['lib', 'broker', 'admin/broker-tools.ts'],
    [],
    'the bridge of the command line, one line for each tool',
  ),
  row(
    'broker/remote-admin.ts',
    [
      ...['lib', 'wire', 'broker-client', 'admin/broker-tools.ts'],
      ...['broker/local-options.ts', 'broker/server/state-files.ts'],
    ],
    ['node:fs', 'node:fs/promises', 'node:stream', 'node:stream/promises'],
    'a command that administers a broker elsewhere is a client of it',
  ),
  row(
    'volume',
    [
      ...['lib', 'crypto', 'segment', 'spool', 'block-map', 'manifest', 'keys/key-source.ts', 'keys/keyring.ts'],
      ...['anchor/anchor.ts', 'store/store.ts', 'store/paths.ts', 'export/block-device.ts'],
      // Tokens are signed by the volume's own key, which does not leave the engine.
      ...['wire/capability.ts', 'wire/capability-format.ts'],
    ],
    ['node:worker_threads'],
    'the engine sees stores, anchors and key sources by contract and knows no protocol',
  ),
  row(
    'hashed',
    ['lib', 'crypto', 'store/store.ts', 'store/paths.ts', 'export/block-device.ts'],
    [],
    'a peer of volume/: images without keys, known by their root',
  ),
  row(
    'backup',
    [
      ...['lib', 'crypto', 'manifest', 'store/store.ts', 'store/paths.ts'],
      ...['export/block-device.ts', 'volume/opening.ts', 'volume/object-names.ts'],
    ],
    [],
    'content and sealed objects on their way between stores; it meets the engine in the functions that read a catalog',
  ),
  row('export/block-device.ts', ['lib'], [], 'the contract between engine and protocols'),
  row('export/bounded-device.ts', exportSide, [], 'a part of a device, for any protocol'),
  row('export/nbd', exportSide, socketBuiltins, 'an export knows neither the volume nor a sibling'),
  row(
    'export/fuse',
    [...exportSide, 'sys'],
    ['node:fs', 'node:worker_threads', 'node:child_process'],
    'as export/nbd; mount(2) needs sys/',
  ),
  row('admin', ['lib'], ['node:http', 'node:net', 'node:fs', 'node:fs/promises'], 'the typed control API', [
    'hono',
    '@hono/node-server',
    'zod',
  ]),
  row('admin/schema.ts', ['lib', 'admin/shapes.ts'], [], 'shared with every client', ['zod']),
  row('admin/shapes.ts', ['lib'], [], 'shared with every client', ['zod']),
  row(
    'cli',
    [
      ...['lib', 'admin/client.ts', 'admin/schema.ts', 'admin/operations.ts', 'admin/error-body.ts'],
      'admin/broker-tools.ts',
      'admin/capability-tools.ts',
    ],
    ['*'],
    'a command asks for operations and does not know who carries them out',
    ['commander', 'yaml'],
  ),
  row(
    'cli/run.ts',
    ['lib', 'cli', 'admin/client.ts', 'admin/operations.ts', 'daemon/local.ts', 'broker/local.ts'],
    ['*'],
    'the composition of the command, and its only bridge to the daemon and the broker',
    ['commander'],
  ),
  row(
    'daemon',
    [
      ...['lib', 'sys', 'crypto', 'store', 'segment', 'spool', 'block-map', 'manifest', 'anchor', 'keys', 'volume'],
      ...['hashed', 'backup', 'export', 'admin', 'api.ts', 'wire', 'aws', 'tpm', 'attester', 'broker-client'],
    ],
    ['*'],
    'the composition root: the only place that names concrete classes',
    ['pino', 'yaml', 'zod', '@prometheus-io/client'],
  ),
  row(
    'hashed-api.ts',
    ['lib', 'sys', 'crypto', 'store', 'hashed', 'export/block-device.ts'],
    ['*'],
    'the part of api.ts for hashed volumes',
  ),
  row(
    'api-place.ts',
    [...['lib', 'crypto', 'store', 'anchor', 'keys', 'volume'], ...['sys', 'broker-client', 'attester', 'tpm', 'wire']],
    ['*'],
    'the part of api.ts that opens stores, anchors and keys',
  ),
  row(
    'open-volume.ts',
    ['lib', 'store/store.ts', 'volume', 'export/block-device.ts', 'api-place.ts'],
    [],
    'the part of api.ts for a volume that is open',
  ),
  row(
    'api.ts',
    ['lib', 'keys', 'volume', 'hashed-api.ts', 'api-place.ts', 'open-volume.ts', 'export/block-device.ts'],
    ['*'],
    'the front door of the package: the engine in this process, without daemon and protocols',
  ),
];

function row(
  place: string,
  own: readonly string[],
  builtins: readonly string[],
  why: string,
  packages: readonly string[] = [],
): ImportRule {
  return { place, own, builtins, packages, why };
}
