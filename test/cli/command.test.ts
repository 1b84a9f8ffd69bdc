/** The command line by itself: what needs no volume. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { commandTable } from '../../src/cli/command-table.ts';
import { commandGroups } from '../../src/cli/command.ts';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { Home } from '../support/caisson.ts';

test('every command and group has help with an example, and says what it does', async (context) => {
  const home = new Home(context);
  const paths = ['', ...Object.keys(commandGroups), ...commandTable.map((spec) => spec.path)];
  const helps = await inBatches(paths, (words) =>
    home.run([...words.split(' ').filter((word) => word !== ''), '--help']),
  );
  for (const [index, { code, stdout, stderr }] of helps.entries()) {
    assert.equal(code, 0, String(paths[index]));
    assert.equal(stderr, '');
    assert.match(stdout, /^Usage: caisson/);
    assert.match(stdout, /\nExamples:\n {2}caisson /, String(paths[index]));
  }
});

test('every command loads', async () => {
  for (const spec of commandTable) assert.equal(typeof (await spec.load()).run, 'function', spec.path);
});

test('usage errors have one shape and exit code 2', async (context) => {
  const home = new Home(context);
  const wrong: string[][] = [
    ['frobnicate'],
    ['volume'],
    ['volume', 'creat', 'x'],
    ['volume', 'create'],
    ['volume', 'create', 'data'],
    ['volume', 'create', 'data', '--size', '1M', '--frobnicate'],
    ['volume', 'create', 'data', '--size', '1M', '--protection', 'some'],
    ['volume', 'ls', 'extra'],
    ['completion', 'tcsh'],
    ['serve', 'data', '--ready-fd', '1'],
    ['serve', 'data', 'logs', '--socket', 'x'],
    ['serve', 'data', '--tls-cert', 'x'],
    ['key', 'rm', 'data', 'first'],
    ['bench', '--seconds', '1000'],
  ];
  const errors = await inBatches(wrong, (args) => home.error(args));
  for (const [index, error] of errors.entries()) {
    const where = `${wrong[index]?.join(' ')}: ${error.message}`;
    assert.deepEqual([error.exit, error.code], [2, 'argument-invalid'], where);
    assert.notEqual(error.remedy, null, where);
  }
  const { code, stdout, stderr } = await home.run(['volume', 'creat', 'x']);
  assert.deepEqual([code, stdout], [2, '']);
  assert.match(stderr, /^caisson: .*create.*\n {2}what to do: .*--help.*\n$/);
});

test('names and sizes are refused before anything else happens', async (context) => {
  const home = new Home(context);
  for (const name of ['Data', 'a/b', '..', 'a b', '-', 'ü', 'a'.repeat(64)]) {
    const error = await home.error(['volume', 'create', '--size', '1M', '--', name]);
    assert.deepEqual([error.exit, error.code], [2, 'name-invalid'], name);
  }
  for (const size of ['5000', '0', '-4096', '10 parsecs', '1e9']) {
    const error = await home.error(['volume', 'create', 'data', `--size=${size}`]);
    assert.deepEqual([error.exit, error.code], [2, 'size-invalid'], size);
  }
  const error = await home.error(['volume', 'create', 'data', '--size', '5000']);
  assert.match(error.remedy ?? '', /4096 or 8192/);
  assert.deepEqual(fs.readdirSync(home.folder), []);
});

test('a volume that has no name here, and no daemon to ask', async (context) => {
  const home = new Home(context);
  for (const args of [
    ['volume', 'inspect', 'data'],
    ['volume', 'rm', 'data', '--yes'],
    ['key', 'ls', 'data'],
    ['serve', 'data'],
  ]) {
    const error = await home.error(args);
    assert.deepEqual([error.exit, error.code], [3, 'name-missing'], args.join(' '));
  }
  for (const args of [['status'], ['stop'], ['detach', 'data'], ['attach', 'data']]) {
    const error = await home.error(args);
    assert.deepEqual([error.exit, error.code], [1, 'daemon-unreachable'], args.join(' '));
  }
  const unmounted = await home.error(['umount', 'data']);
  assert.deepEqual([unmounted.exit, unmounted.code], [3, 'mount-missing']);
});

test('a wrong configuration is named with its line', async (context) => {
  const home = new Home(context);
  const file = home.write('.config/caisson/config.yaml', 'logLevel: info\nlogLevl: debug\n');
  const error = await home.error(['volume', 'ls']);
  assert.deepEqual([error.exit, error.code], [2, 'configuration-invalid']);
  assert.ok(error.message.startsWith(`${file}:2: logLevl: `), error.message);
});

test('secrets are never taken from an argument, more than one key is refused, a missing file is named', async (context) => {
  const home = new Home(context);
  for (const spec of commandTable)
    for (const { flags } of spec.options) assert.doesNotMatch(flags, /--(passphrase|password)\b(?!-)/);
  const create = ['volume', 'create', 'data', '--size', '1M', '--store', home.store];
  const two = await home.error([...create, '--key-file', 'a', '--passphrase-file', 'b']);
  assert.deepEqual([two.exit, two.code], [2, 'argument-invalid']);
  const missing = await home.error([...create, '--passphrase-file', 'b']);
  assert.deepEqual([missing.exit, missing.code], [4, 'key-source-unavailable']);
  const none = await home.error(create);
  assert.deepEqual([none.exit, none.code], [4, 'key-source-unavailable']);
  assert.ok(!fs.existsSync(home.store));
});

test('a key file is new, private and not overwritten', async (context) => {
  const home = new Home(context);
  const { path: file } = (await home.json(['key', 'generate', 'my.key'])) as unknown as { path: string };
  assert.equal(file, fs.realpathSync(home.path('my.key')));
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  const text = fs.readFileSync(file, 'utf8');
  assert.match(text, /^[0-9a-f]{64}\n$/);
  const again = await home.error(['key', 'generate', 'my.key']);
  assert.equal(again.code, 'object-exists');
  assert.equal(fs.readFileSync(file, 'utf8'), text);
});

test('completion scripts parse, and complete words, values and options', async (context) => {
  const home = new Home(context);
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout } = await home.run(['completion', shell]);
    assert.equal(code, 0);
    for (const word of ['umount', 'adopt', 'generate', '--passphrase-fd'])
      assert.ok(stdout.includes(word.replace(/^--/, '')), `${shell} ${word}`);
    const parser = spawnSync(shell, ['-n'], { input: stdout });
    // A shell that is not installed cannot judge.
    if (parser.error === undefined) assert.equal(parser.status, 0, parser.stderr.toString());
  }
  const script = home.write('completion.bash', (await home.run(['completion', 'bash'])).stdout);
  const completions = (line: string): string[] => {
    const words = line.split(' ');
    const code = `source ${script}; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _caisson; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return spawnSync('bash', ['-c', code], { encoding: 'utf8', cwd: home.folder }).stdout.trim().split('\n');
  };
  assert.deepEqual(completions('caisson vol'), ['volume']);
  assert.deepEqual(completions('caisson volume res'), ['resize']);
  assert.deepEqual(completions('caisson snapshot re'), ['restore']);
  assert.deepEqual(completions('caisson snapshot diff data monday --com'), ['--compact']);
  assert.deepEqual(completions('caisson volume create data --durability '), ['local', 'remote', 'anchored']);
  assert.deepEqual(completions('caisson volume create data --prot'), ['--protection']);
  assert.deepEqual(completions('caisson volume create data --protection '), ['sealed', 'none']);
  assert.deepEqual(completions('caisson completion f'), ['fish']);
  assert.deepEqual(completions('caisson mount data / --mkfs b'), ['btrfs']);
});

test('doctor looks at everything and exits with what it found', async (context) => {
  const home = new Home(context);
  const report = (await home.json(['doctor'])) as unknown as {
    sound: boolean;
    checks: { name: string; result: string; remedy: string | null }[];
  };
  assert.equal(report.sound, true);
  for (const name of ['node', 'sealer', 'fuse', 'state folder', 'daemon', 'mkfs.ext4', 'open files']) {
    assert.ok(
      report.checks.some((check) => check.name === name),
      name,
    );
  }
  for (const check of report.checks) assert.equal(check.remedy === null, check.result === 'good', check.name);
  home.write(
    '.config/caisson/volumes.json',
    JSON.stringify({
      version: 1,
      volumes: { data: { store: 'dir:/nowhere/at/all', volumeId: '0'.repeat(32), key: { kind: 'passphrase' } } },
    }),
  );
  const outcome = await home.run(['doctor', '-o', 'json']);
  assert.equal(outcome.code, 9);
  assert.match(outcome.stdout, /"name":"store dir:\/nowhere\/at\/all","result":"broken"/);
});

test('bench measures sealed beside unsealed and leaves nothing behind', async (context) => {
  const home = new Home(context);
  fs.mkdirSync(home.path('scratch'));
  const report = (await home.json(['bench', '--seconds', '0.05', '--folder', home.path('scratch')])) as unknown as {
    results: { job: string; sealedBytesPerSecond: number; plainBytesPerSecond: number }[];
  };
  assert.equal(report.results.length, 6);
  for (const { job, sealedBytesPerSecond, plainBytesPerSecond } of report.results) {
    assert.ok(sealedBytesPerSecond > 0 && plainBytesPerSecond > 0, job);
  }
  assert.deepEqual(fs.readdirSync(home.path('scratch')), []);
});

test('a stack trace shows only when asked for', async (context) => {
  const home = new Home(context);
  const quiet = await home.run(['volume', 'inspect', 'data']);
  assert.doesNotMatch(quiet.stderr, /\n\s+at /);
  home.environment['CAISSON_DEBUG'] = '1';
  const loud = await home.run(['volume', 'inspect', 'data']);
  assert.match(loud.stderr, /\n\s+at /);
});

test('the version, and a reader that goes away', async (context) => {
  const home = new Home(context);
  const { stdout } = await home.run(['--version']);
  const { version } = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, '../../package.json'), 'utf8')) as {
    version: string;
  };
  assert.equal(stdout, `${version}\n`);
  const child = home.spawn(['completion', 'zsh']);
  child.stdout?.destroy();
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0);
});

test('exit codes tell kinds apart', () => {
  const exit = (
    kind: ConstructorParameters<typeof CaissonError>[0],
    code: ConstructorParameters<typeof CaissonError>[1],
  ): number => exitCodeOf(new CaissonError(kind, code, ''));
  assert.equal(exit('io', 'store-io'), 1);
  assert.equal(exit('invalid', 'argument-invalid'), 2);
  assert.equal(exit('invalid', 'store-missing'), 3);
  assert.equal(exit('denied', 'key-wrong'), 4);
  assert.equal(exit('integrity', 'unit-tampered'), 5);
  assert.equal(exit('integrity', 'rolled-back'), 6);
  assert.equal(exit('integrity', 'forked'), 6);
  assert.equal(exit('fenced', 'volume-fenced'), 7);
  assert.equal(exit('full', 'store-full'), 8);
  assert.equal(exit('invalid', 'tool-missing'), 9);
  assert.equal(exit('bug', 'assertion-failed'), 70);
});

/** Few processes at a time: each is a whole runtime. */
async function inBatches<Item, Result>(
  items: readonly Item[],
  act: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let index = 0; index < items.length; index += 4)
    results.push(...(await Promise.all(items.slice(index, index + 4).map(act))));
  return results;
}
