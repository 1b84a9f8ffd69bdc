/** Snapshots, sizes and service to other machines by capability, over the real command, a real daemon and real volumes. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { CapabilityBench } from '../support/capability-bench.ts';
import { NbdClient } from '../support/nbd-client.ts';

const command = { write: 1 } as const;
const block = (fill: number): Buffer => Buffer.alloc(4096, fill);

test('a holder takes snapshots, reads its part of them, hands one on, and removes them', async (context) => {
  const bench = new CapabilityBench(context);
  const { home } = bench;
  await bench.serve('data');
  await bench.grant('keeper', '--base 1M --length 1M --rights read,write,snapshot,delegate --expires 1h');
  await bench.grant('user', '--base 1M --length 1M --rights read,write,delegate --expires 1h');
  const live = await bench.connect(context, await bench.open('keeper'));
  assert.equal(await live.ask(command.write, { offset: 0, payload: block(1) }), 0);
  const taken = await home.json([...bench.showing('snapshot-create', 'keeper'), 'monday']);
  assert.equal(await live.ask(command.write, { offset: 0, payload: block(2) }), 0);
  const { snapshots } = (await home.json(bench.showing('snapshot-ls', 'keeper'))) as unknown as {
    snapshots: { id: string; name: string }[];
  };
  assert.deepEqual(
    snapshots.map(({ id, name }) => [id, name]),
    [[taken['id'], 'monday']],
  );
  // What it was and what it is, side by side.
  const opened = await home.json([...bench.opening('keeper'), '--snapshot', 'monday']);
  const kept = await bench.connect(context, opened as never);
  assert.ok((await kept.read(0, 4096)).equals(block(1)));
  assert.ok((await live.read(0, 4096)).equals(block(2)));
  assert.notEqual(await kept.ask(command.write, { offset: 0, payload: block(3) }), 0);
  // Handed on, it is that snapshot and nothing else.
  await bench.narrow('keeper', 'reader', `--base 1M --length 4K --of-snapshot ${String(taken['id'])}`);
  const part = await bench.open('reader');
  assert.deepEqual([part.size, part.rights], [4096, ['read', 'delegate']]);
  const reader = await bench.connect(context, part);
  assert.ok((await reader.read(0, 4096)).equals(block(1)));
  const refusal = await home.error([...bench.showing('snapshot-create', 'user'), 'mine']);
  assert.deepEqual([refusal.exit, refusal.code], [4, 'capability-refused']);
  assert.match(refusal.message, /does not grant the right snapshot/);
  assert.match((await home.error([...bench.opening('user'), '--snapshot', 'monday'])).message, /right snapshot/);
  assert.match((await home.error([...bench.showing('snapshot-rm', 'reader'), 'monday'])).message, /right snapshot/);
  const key = await bench.holder('other');
  const id = String(taken['id']);
  const out = bench.narrowing('user', key, 'other.capability', `--rights read --of-snapshot ${id}`);
  assert.match((await home.error(out)).message, /no right to snapshot/);
  // While somebody reads it, it stays; it is closed when the volume's capabilities end.
  assert.equal((await home.error([...bench.showing('snapshot-rm', 'keeper'), 'monday'])).code, 'volume-busy');
  assert.equal((await home.json(['capability', 'revoke', 'data']))['ended'], 3);
  await assert.rejects(reader.read(0, 4096));
  fs.rmSync(home.path('keeper.key'));
  fs.rmSync(home.path('keeper.capability'));
  await bench.grant('keeper', '--rights snapshot --expires 1h');
  for (let asked = 0; ; asked++) {
    assert.ok(asked < 100, 'the snapshot is closed');
    const volumes = ((await home.json(['status'])) as unknown as { volumes: object[] }).volumes;
    if (volumes.length === 1) break;
  }
  assert.equal((await home.json([...bench.showing('snapshot-rm', 'keeper'), 'monday']))['id'], taken['id']);
});

test('a holder changes the end of a volume, and never what lies before its part', async (context) => {
  const bench = new CapabilityBench(context);
  const { home } = bench;
  await bench.serve('data');
  await bench.grant('grower', '--base 8M --rights read,resize,delegate --expires 1h');
  await bench.grant('reader', '--base 8M --rights read --expires 1h');
  const part = await bench.open('grower');
  const resizing = (token: string, size: string): string[] => [...bench.showing('resize', token), '--size', size];
  const before = part.size;
  assert.equal((await home.json(resizing('grower', '1G')))['size'], 2 ** 30);
  assert.equal((await bench.open('reader')).size, 2 ** 30);
  assert.equal((await home.json(resizing('grower', '4K')))['size'], 4096);
  assert.equal((await bench.open('reader')).size, 4096);
  assert.equal((await home.error(resizing('grower', '0'))).code, 'size-invalid');
  const refusal = await home.error(resizing('reader', '1G'));
  assert.deepEqual([refusal.exit, refusal.code], [4, 'capability-refused']);
  await bench.narrow('grower', 'short', '--length 4K');
  assert.match((await home.error(resizing('short', '1G'))).message, /right resize/);
  assert.equal((await bench.open('reader')).size, 4096);
  assert.ok(before > 4096);
});

test('a part is served to other machines with the right to export, until it ends', async (context) => {
  const bench = new CapabilityBench(context);
  const { home } = bench;
  await home.createVolume('data');
  const tcp = ['--tcp', '127.0.0.1:0', '--insecure-no-tls'];
  await home.serve(['data', '--capability-socket', bench.socket, ...tcp]);
  await bench.grant('server', '--base 1M --length 8K --rights read,export --expires 1h');
  await bench.grant('reader', '--base 1M --length 8K --rights read --expires 1h');
  assert.match((await home.error([...bench.opening('reader'), '--tcp'])).message, /right export/);
  const served = (await home.json([...bench.opening('server'), '--tcp'])) as unknown as Record<string, string>;
  const [host = '', port = ''] = served['address']?.split(':') ?? [];
  assert.equal(served['uri'], `nbd://${host}:${port}/${served['export']}`);
  const client = await NbdClient.connect({ host, port: Number(port) });
  context.after(() => client.destroy());
  await client.open(served['export'] ?? '');
  assert.equal((await client.read(4096, 4096)).length, 4096);
  await home.json(['capability', 'revoke', 'data']);
  await assert.rejects(client.read(0, 4096));
  assert.equal((await home.error([...bench.opening('server'), '--tcp', '--snapshot', 'x'])).code, 'argument-invalid');
});
