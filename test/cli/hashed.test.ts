/** Hashed volumes by the real command: making, naming, checking and removing them, and everything that is refused. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { noise } from '../support/hashed-image.ts';
import { Home } from '../support/caisson.ts';

const wrongRoot = `sha256:${'0'.repeat(64)}`;

interface Created {
  readonly root: string;
  readonly objectsWritten: number;
  readonly objectsShared: number;
  readonly volume: {
    readonly public: { readonly protection: string };
    readonly hashed: { readonly imageBytes: number };
  };
}

async function create(home: Home, name: string, content: Uint8Array): Promise<Created> {
  fs.writeFileSync(home.path(`${name}.img`), content);
  const from = ['--from', `${name}.img`, '--store', home.store];
  return (await home.json(['volume', 'create', name, '--protection', 'hashed', ...from])) as unknown as Created;
}

test('an image is made without a key, shown with its root, checked, named elsewhere and removed', async (t) => {
  const home = new Home(t);
  const content = noise(1, 9 * 2 ** 20);
  const { root, volume, objectsWritten } = await create(home, 'model', content);
  assert.match(root, /^sha256:[0-9a-f]{64}$/);
  assert.deepEqual([volume.public.protection, volume.hashed.imageBytes, objectsWritten], ['hashed', content.length, 4]);
  const again = await create(home, 'again', content);
  assert.deepEqual([again.root, again.objectsWritten, again.objectsShared], [root, 0, 4]);

  const listed = await home.run(['volume', 'ls']);
  assert.ok(listed.stdout.includes(root) && listed.stdout.includes('hashed'), listed.stdout);
  const shown = await home.run(['volume', 'inspect', 'model']);
  assert.ok(shown.stdout.includes(root) && shown.stdout.includes('not secret'), shown.stdout);
  const verified = await home.run(['volume', 'verify', 'model']);
  assert.equal(verified.code, 0);
  assert.match(verified.stdout, /model is sound/);

  const elsewhere = new Home(t);
  const adopted = await elsewhere.json(['volume', 'adopt', 'copy', '--store', home.store, '--root', root]);
  assert.equal((adopted as unknown as { hashed: { root: string } }).hashed.root, root);
  const served = await elsewhere.serve(['copy']);
  assert.equal((served.ready.volumes[0] as unknown as { readOnly: boolean }).readOnly, true);
  const metrics = await elsewhere.run(['status', '--metrics']);
  assert.match(metrics.stdout, /caisson_volume_size_bytes\{volume="copy"\} 9437184/);
  served.child.kill('SIGTERM');
  assert.equal((await served.ended).code, 0);

  const refused = await home.error(['volume', 'rm', 'model', '--delete-objects', '--yes']);
  assert.equal(refused.code, 'volume-busy');
  const kept = await home.json(['volume', 'rm', 'again', '--yes']);
  assert.equal(kept['removedObjects'], 0);
  const removed = await home.json(['volume', 'rm', 'model', '--delete-objects', '--yes']);
  assert.equal(removed['removedObjects'], 4);
  assert.equal((await elsewhere.error(['volume', 'verify', 'copy'])).code, 'volume-missing');
});

test('damage is found and told by exit code, and a read refuses it', async (t) => {
  const home = new Home(t);
  await create(home, 'model', noise(2, 100_000));
  const folder = `${home.store}/hashed/spans`;
  const [shard = ''] = fs.readdirSync(folder);
  const [name = ''] = fs.readdirSync(`${folder}/${shard}`);
  const file = `${folder}/${shard}/${name}`;
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  fs.chmodSync(file, 0o600);
  fs.writeFileSync(file, bytes);
  const found = await home.run(['-o', 'json', 'volume', 'verify', 'model']);
  assert.equal(found.code, 5);
  const { findings } = JSON.parse(found.stdout) as { findings: { code: string; object: string }[] };
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['digest-mismatch'],
  );
  assert.ok(findings[0]?.object.endsWith(name));
  fs.rmSync(file);
  const gone = await home.run(['-o', 'json', 'volume', 'verify', 'model']);
  assert.match(gone.stdout, /object-missing/);
  // Making it again heals it.
  await home.json(['volume', 'create', 'twin', '--protection', 'hashed', '--from', 'model.img', '--store', home.store]);
  assert.equal((await home.run(['volume', 'verify', 'model'])).code, 0);
});

test('sources and options that make no sense are refused by name', async (t) => {
  const home = new Home(t);
  home.write('empty', '');
  home.write('image', 'x');
  const make = ['volume', 'create', 'model', '--protection', 'hashed', '--store', home.store];
  const cases: readonly (readonly [readonly string[], string])[] = [
    [make, 'argument-invalid'],
    [[...make, '--from', 'missing'], 'import-source-missing'],
    [[...make, '--from', 'empty'], 'size-invalid'],
    [[...make, '--from', '/dev/null'], 'import-source-invalid'],
    [[...make, '--from', 'image', '--size', '1G'], 'argument-invalid'],
    [[...make, '--from', 'image', '--key-file', 'image'], 'argument-invalid'],
    [['volume', 'create', 'model', '--from', 'image', '--store', home.store], 'argument-invalid'],
    [['volume', 'create', 'model', '--store', home.store], 'argument-invalid'],
    [['volume', 'create', 'Model', '--protection', 'hashed', '--from', 'image'], 'name-invalid'],
  ];
  for (const [args, code] of cases) assert.equal((await home.error(args)).code, code, args.join(' '));
  await home.json([...make, '--from', 'image']);
  assert.equal((await home.error([...make, '--from', 'image'])).code, 'name-exists');
});

test('wrong and foreign roots are refused, and so is whatever would change an image', async (t) => {
  const home = new Home(t);
  await create(home, 'model', Uint8Array.of(1));
  const key = home.keyFile();
  const adopt = ['volume', 'adopt', 'other', '--store', home.store, '--root'];
  const cases: readonly (readonly [readonly string[], string])[] = [
    [[...adopt, 'sha256:12'], 'argument-invalid'],
    [[...adopt, '0'.repeat(64)], 'argument-invalid'],
    [[...adopt, wrongRoot], 'volume-missing'],
    [['volume', 'resize', 'model', '--size', '1G'], 'volume-read-only'],
    [['key', 'add', 'model', '--new-key-file', key], 'volume-read-only'],
    [['volume', 'rm', 'model', '--delete-objects', '--keep-data', '--yes'], 'argument-invalid'],
  ];
  for (const [args, code] of cases) assert.equal((await home.error(args)).code, code, args.join(' '));
  await home.createVolume('sealed');
  const sealed = await home.error(['volume', 'rm', 'sealed', '--delete-objects', '--yes']);
  assert.equal(sealed.code, 'argument-invalid');
  assert.deepEqual((await home.json(['key', 'ls', 'model']))['slots'], []);
});

test('a marker that a killed build left is named, and overridden only when that is asked for', async (t) => {
  const home = new Home(t);
  await create(home, 'model', Uint8Array.of(1));
  fs.mkdirSync(`${home.store}/hashed/builds`, { recursive: true });
  fs.writeFileSync(`${home.store}/hashed/builds/${'0'.repeat(32)}`, 'x');
  const refused = await home.error(['volume', 'rm', 'model', '--delete-objects', '--yes']);
  assert.deepEqual([refused.code, /--force/.test(refused.remedy ?? '')], ['volume-busy', true]);
  const removed = await home.json(['volume', 'rm', 'model', '--delete-objects', '--force', '--yes']);
  assert.equal(removed['removedObjects'], 2);
});

test('a volume without protection is called unprotected wherever it shows', async (t) => {
  const home = new Home(t);
  const size = ['--size', '16M', '--store', home.store];
  const created = await home.run(['volume', 'create', 'open', '--protection', 'none', ...size]);
  const shown = [created, await home.run(['volume', 'ls']), await home.run(['volume', 'inspect', 'open'])];
  for (const flags of [[], ['--public']]) shown.push(await home.run(['volume', 'verify', 'open', ...flags]));
  for (const { stdout } of shown) assert.match(stdout, /UNPROTECTED/);
  assert.doesNotMatch(shown[2]?.stdout ?? '', /sealed/);
  fs.writeFileSync(
    `${home.store}.key`,
    Uint8Array.from({ length: 32 }, (_, index) => index),
    { mode: 0o600 },
  );
  const keyed = ['--protection', 'none', '--key-file', `${home.store}.key`, ...size];
  assert.match((await home.error(['volume', 'create', 'keyed', ...keyed])).remedy ?? '', /Leave out the key/);
  const child = home.spawn(['serve', 'open']);
  const line = await new Promise<string>((resolve) =>
    child.stdout?.once('data', (piece: Buffer) => resolve(String(piece))),
  );
  assert.match(line, /serving open \(UNPROTECTED: not secret, integrity only by signature\)/);
  assert.match((await home.run(['status'])).stdout, /UNPROTECTED/);
  child.kill('SIGTERM');
  await new Promise((resolve) => child.once('close', resolve));
});
