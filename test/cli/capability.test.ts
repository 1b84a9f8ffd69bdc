/** Capabilities as their holders use them: the real command, a real daemon, real NBD clients, and one that obeys no bounds. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';
import { CapabilityBench as Bench } from '../support/capability-bench.ts';
import { requireTool, run } from '../support/tools.ts';

const mebibyte = 2 ** 20;
const command = { read: 0, write: 1, trim: 4, zeroes: 6, blockStatus: 7 } as const;
/** Error numbers of the NBD protocol. */
const notPermitted = 1;
const invalid = 22;
const noSpace = 28;

test('two holders use their parts of one volume with real clients and do not see each other', async (context) => {
  if (!requireTool(context, 'nbdcopy') || !requireTool(context, 'nbdinfo')) return;
  const bench = new Bench(context);
  const { home } = bench;
  await bench.serve('data');
  await bench.grant('left', '--base 1M --length 1M --rights read,write,delegate --expires 1h');
  await bench.grant('right', '--base 2M --length 2M --rights read,write --expires 1h');
  await bench.narrow('left', 'reader', '--rights read');
  const [left, right, reader] = [await bench.open('left'), await bench.open('right'), await bench.open('reader')];
  assert.deepEqual([left.size, right.size, reader.size], [mebibyte, 2 * mebibyte, mebibyte]);
  const image = randomBytes(mebibyte);
  fs.writeFileSync(home.path('image'), image);
  assert.equal((await run('nbdcopy', ['--flush', home.path('image'), left.uri])).status, 0);
  assert.equal((await run('nbdcopy', [reader.uri, home.path('seen')])).status, 0);
  assert.ok(fs.readFileSync(home.path('seen')).equals(image));
  assert.equal((await run('nbdcopy', [right.uri, home.path('other')])).status, 0);
  assert.ok(fs.readFileSync(home.path('other')).every((byte) => byte === 0));
  // The volume itself has it where it was granted, and nowhere else.
  const whole = (await home.json(['status'])) as unknown as { volumes: { uri: string }[] };
  assert.equal((await run('nbdcopy', [whole.volumes[0]?.uri ?? '', home.path('whole')])).status, 0);
  const bytes = fs.readFileSync(home.path('whole'));
  assert.ok(bytes.subarray(mebibyte, 2 * mebibyte).equals(image));
  assert.ok(bytes.subarray(0, mebibyte).every((byte) => byte === 0));
  assert.ok(bytes.subarray(2 * mebibyte).every((byte) => byte === 0));
  // Nobody is told the names of the others; nor does the name of a volume lead anywhere.
  const listed = await run('nbdinfo', ['--list', `nbd+unix:///?socket=${left.socket}`]);
  for (const { export: name } of [left, right, reader]) assert.ok(!listed.output.includes(name));
  assert.notEqual((await run('nbdinfo', [`nbd+unix:///data?socket=${left.socket}`])).status, 0);
  // Who asks again gets the same; nothing piles up.
  assert.equal((await bench.open('left')).export, left.export);
});

test('what a client sends beyond its part or its rights fails at the server', async (context) => {
  const bench = new Bench(context);
  await bench.serve('data');
  await bench.grant('writer', '--base 1M --length 8K --rights read,write --expires 1h');
  await bench.grant('reader', '--base 1M --length 8K --rights read --expires 1h');
  await bench.grant('blind', '--base 1M --length 8K --rights write --expires 1h');
  const payload = Buffer.alloc(4096, 0xab);
  const writer = await bench.connect(context, await bench.open('writer'));
  assert.equal(await writer.ask(command.write, { offset: 4096, payload }), 0);
  const beyond = [8192, 4097, 2 ** 40, -4096];
  for (const offset of beyond) {
    const at = offset < 0 ? 2n ** 64n + BigInt(offset) : BigInt(offset);
    assert.ok([invalid, noSpace].includes(await writer.ask(command.write, { offset: at, payload })), `write ${offset}`);
    assert.equal(await writer.ask(command.read, { offset: at, length: 4096 }), invalid, `read ${offset}`);
    assert.ok(
      [invalid, noSpace].includes(await writer.ask(command.zeroes, { offset: at, length: 4096 })),
      `zero ${offset}`,
    );
  }
  assert.equal(await writer.ask(command.trim, { offset: 0, length: 4096 }), notPermitted);
  const reader = await bench.connect(context, await bench.open('reader'));
  for (const change of [command.write, command.zeroes, command.trim]) {
    const fields = change === command.write ? { payload } : { length: 4096 };
    assert.equal(await reader.ask(change, { offset: 0, ...fields }), notPermitted);
  }
  assert.ok((await reader.read(4096, 4096)).equals(payload));
  assert.ok((await reader.read(0, 4096)).every((byte) => byte === 0));
  const blind = await bench.connect(context, await bench.open('blind'));
  assert.equal(await blind.ask(command.read, { offset: 0, length: 4096 }), notPermitted);
  assert.equal(await blind.ask(command.write, { offset: 0, payload }), 0);
});

test('who holds no capability that holds here and now gets nothing', async (context) => {
  const bench = new Bench(context);
  const { home } = bench;
  await bench.serve('data');
  await home.createVolume('elsewhere');
  await bench.grant('owner', '--rights read,write,delegate --expires 1h');
  await bench.grant('past', '--expires 2020-01-01');
  await bench.grant('future', '--expires 2101-01-01 --not-before 2100-01-01T00:00:00Z');
  await bench.grant('stranger', '--expires 1h', 'elsewhere');
  await bench.grant('beyond', '--base 1G --expires 1h');
  const refused = async (args: string[]): Promise<string> => {
    const { code, message } = await home.error(args);
    return `${code}: ${message}`;
  };
  assert.match(await refused(bench.opening('owner', 'past')), /^capability-invalid: .*does not hold its key/);
  assert.match(await refused(bench.opening('past')), /^capability-refused: .*expired/);
  assert.match(await refused(bench.opening('future')), /^capability-refused: .*does not hold yet/);
  assert.match(await refused(bench.opening('stranger')), /^volume-missing: .*not served here/);
  assert.match(await refused(bench.opening('beyond')), /^capability-refused: .*ends before/);
  // Two hands further, each with less.
  await bench.narrow('owner', 'second', '--base 4K --length 8K --rights read,delegate');
  await bench.narrow('second', 'third', '--base 8K --length 4K --rights read --expires 30m');
  const third = await bench.open('third');
  assert.deepEqual([third.size, third.rights], [4096, ['read']]);
  const key = await bench.holder('fourth');
  const widening = ['--base 4K --length 12K', '--length 16K', '--rights write', '--expires 2h'];
  for (const bounds of widening)
    assert.match(
      await refused(bench.narrowing('second', key, 'fourth.capability', bounds)),
      /^capability-refused/,
      bounds,
    );
  assert.match(await refused(bench.narrowing('third', key, 'fourth.capability', '--rights read')), /may not delegate/);
  assert.ok(!fs.existsSync(home.path('fourth.capability')));
  // One byte of a token that was changed.
  const text = fs.readFileSync(home.path('third.capability'), 'utf8');
  const changed = `${text.substring(0, 100)}${text[100] === 'A' ? 'B' : 'A'}${text.substring(101)}`;
  home.write('changed.capability', changed);
  assert.match(await refused(bench.opening('changed', 'third')), /^capability-invalid/);
});

test('revoking ends what is open at once, and new capabilities hold', async (context) => {
  const bench = new Bench(context);
  const { home } = bench;
  await bench.serve('data');
  await bench.grant('early', '--expires 1h');
  const client = await bench.connect(context, await bench.open('early'));
  assert.equal((await client.read(0, 4096)).length, 4096);
  const revoked = await home.json(['capability', 'revoke', 'data']);
  assert.deepEqual([revoked['epoch'], revoked['ended']], [1, 1]);
  await assert.rejects(client.read(0, 4096));
  assert.match((await home.error(bench.opening('early'))).message, /revoked/);
  await bench.grant('late', '--expires 1h');
  const late = await bench.open('late');
  await home.json(['detach', 'data']);
  await assert.rejects(bench.connect(context, late));
  assert.equal((await home.error(bench.opening('late'))).code, 'volume-missing');
});

test('keys and tokens lie in files that are private, new, and not taken for each other', async (context) => {
  const bench = new Bench(context);
  const { home } = bench;
  const key = await home.createVolume('data');
  const made = await home.run(['capability', 'keygen', 'app.key']);
  assert.match(made.stdout, /^[0-9a-f]{64}\n$/);
  home.write('app.pub', made.stdout);
  assert.equal(fs.statSync(home.path('app.key')).mode & 0o777, 0o600);
  assert.equal((await home.error(['capability', 'keygen', 'app.key'])).code, 'object-exists');
  const mint = ['capability', 'mint', 'data', '--expires', '1h', '--key-file', key];
  // Without a daemon the command opens the volume itself.
  const token = await home.json([...mint, '--holder', '@app.pub', '--out', 'app.capability']);
  assert.deepEqual(await home.json(['capability', 'inspect', 'app.capability']), token);
  assert.match((await home.run(['capability', 'inspect', 'app.capability'])).stdout, /\n0 +0 B - end +read +- /);
  const again = await home.error([...mint, '--holder', '@app.pub', '--out', 'app.capability']);
  assert.equal(again.code, 'object-exists');
  for (const wrong of [
    [...mint, '--holder', '@app.key', '--out', 'x'],
    [...mint, '--holder', 'beef', '--out', 'x'],
    [...mint, '--holder', '@app.pub', '--out', 'x', '--rights', 'read,fly'],
    [...mint, '--holder', '@app.pub', '--out', 'x', '--length', '0'],
    [...mint, '--holder', '@app.pub', '--out', 'x', '--not-before', 'tomorrow'],
    ['capability', 'narrow', 'app.capability', '--holder-key', 'app.pub', '--to', '@app.pub', '--out', 'x'],
  ]) {
    const error = await home.error(wrong);
    assert.deepEqual([error.exit, error.code], [2, 'argument-invalid'], wrong.join(' '));
  }
  assert.equal(
    (await home.error([...mint, '--holder', '@app.pub', '--out', 'x', '--base', '5'])).code,
    'capability-invalid',
  );
  assert.equal((await home.error(['capability', 'inspect', 'app.key'])).code, 'capability-invalid');
  assert.equal((await home.error(['capability', 'inspect', 'nothing'])).code, 'object-missing');
  assert.equal((await home.error(bench.opening('app'))).code, 'daemon-unreachable');
  assert.ok(!fs.existsSync(home.path('x')));
});
