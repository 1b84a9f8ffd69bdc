/**
 * The package as others get it: packed, installed in an empty folder, and used there, as a command and as a library.
 * npm takes what it can from its cache.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

const repository = resolve(import.meta.dirname, '..');
const scratch = mkdtempSync(join(tmpdir(), 'caisson-package-'));
const consumer = join(scratch, 'consumer');
const version = (JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string }).version;
let packedPaths: readonly string[] = [];

/** Without what the npm that runs this test tells its children. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith('npm_')),
);

function run(folder: string, command: string, ...options: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, options, { cwd: folder, env: environment, encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${options.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}

before(() => {
  run(repository, process.execPath, 'tools/build.ts');
  const packed = JSON.parse(
    run(repository, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', scratch),
  ) as Packed;
  const [{ filename, files }] = Array.isArray(packed) ? packed : (Object.values(packed) as [PackedFile]);
  packedPaths = files.map(({ path }) => path);
  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }));
  run(consumer, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', join(scratch, filename));
});
after(() => rmSync(scratch, { recursive: true }));

interface PackedFile {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** npm 11 lists packages, npm 12 names them. */
type Packed = [PackedFile] | Readonly<Record<string, PackedFile>>;

test('it holds what it needs to run, and no source, test or tool', () => {
  for (const path of [
    'package.json',
    'LICENSE',
    'README.md',
    'bin/caisson',
    'bin/find-node',
    'dist/src/cli/main.js',
    'deploy/policies/tpm.yaml',
    'dist/src/api.js',
    'dist/src/api.d.ts',
  ]) {
    assert(packedPaths.includes(path), path);
  }
  const unwanted = packedPaths.filter(
    (path) => /\.test\.(?!yaml$)|^(?:src|test|tools|bench)\//.test(path) || /(?<!\.d)\.ts$/.test(path),
  );
  assert.deepEqual(unwanted, []);
});

test('the command runs', () => {
  assert.equal(run(consumer, 'npx', 'caisson', '--version').trim(), version);
});

const program = `
import { deepStrictEqual as equal } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { CaissonError, createVolume, listVolumes, openVolume, verifyVolume } from 'caisson';

const folder = mkdtempSync('volume-');
const place = { store: folder + '/store', anchorFolder: process.cwd() + '/' + folder + '/anchors' };
const key = { keyFile: randomBytes(32) };
const { volumeId: id } = await createVolume({ ...place, size: 64 * 1024 * 1024, key });
equal(await listVolumes(place), [id]);

const bytes = Uint8Array.from({ length: 10_000 }, (_, index) => index);
const first = await openVolume({ ...place, id, key });
await first.write(12_345, bytes);
await first.flush();
await first.close();

const second = await openVolume({ ...place, id, key });
equal(await second.read(12_345, bytes.length), bytes);
equal(await second.read(0, 4096), new Uint8Array(4096));
await second.close();

equal((await verifyVolume({ ...place, id, key })).findings, []);
equal((await verifyVolume({ ...place, id })).findings, []);
const refusal = await openVolume({ ...place, id, key: { keyFile: randomBytes(32) } }).catch((error) => error);
equal([refusal instanceof CaissonError, refusal.code], [true, 'key-wrong']);
rmSync(folder, { recursive: true });
console.log('sound');
`;

test('a program uses volumes in its own process', () => {
  writeFileSync(join(consumer, 'program.js'), program);
  assert.equal(run(consumer, process.execPath, '--disable-warning=ExperimentalWarning', 'program.js').trim(), 'sound');
});

test('its entry offers everything that the interface exports', () => {
  const list = (path: string): string => `console.log(JSON.stringify(Object.keys(await import('${path}')).sort()));`;
  const entry = run(consumer, process.execPath, '--input-type=module', '-e', list('caisson'));
  const inside = pathToFileURL(join(consumer, 'node_modules/caisson/dist/src/api.js')).href;
  assert.equal(entry, run(consumer, process.execPath, '--input-type=module', '-e', list(inside)));
});

const typedProgram = `
import { diffSnapshots, openVolume, type ChangedExtent, type OpenVolume, type VerifyReport, verifyVolume } from 'caisson';
const place = { store: '/srv/store', anchorFolder: '/srv/anchors' };
export async function first(id: string): Promise<Uint8Array> {
  const volume: OpenVolume = await openVolume({ ...place, id, key: { passphrase: 'secret' } });
  return volume.read(0, 512);
}
export async function* changed(id: string): AsyncGenerator<ChangedExtent> {
  yield* diffSnapshots({ ...place, id, key: { passphrase: 'secret' }, from: 'monday' });
}
export const check = (id: string): Promise<VerifyReport> => verifyVolume({ ...place, id });
// @ts-expect-error a volume is not opened without a key
export const careless = () => openVolume({ ...place, id: '' });
`;

test('its types are there', () => {
  writeFileSync(join(consumer, 'typed.ts'), typedProgram);
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2024',
    '--lib',
    'es2024,esnext.disposable,dom', // AbortSignal comes with dom or with @types/node
    '--types',
    '',
  ];
  run(consumer, process.execPath, join(repository, 'node_modules/typescript/bin/tsc'), ...options, 'typed.ts');
});
