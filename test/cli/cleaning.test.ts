/** Cleaning and rekeying at the command line, of an open volume and of a closed one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { requireTool, run } from '../support/tools.ts';

interface Space {
  readonly liveBytes: number;
  readonly deadBytes: number;
  readonly pinnedBytes: number;
  readonly rekey: { readonly keyEpoch: number; readonly bytesLeft: number } | null;
}

async function qemu(uri: string, command: string): Promise<void> {
  const done = await run('qemu-io', ['-f', 'raw', '-c', command, '-c', 'flush', uri]);
  assert.equal(done.status, 0, done.output);
  assert.doesNotMatch(done.output, /verification failed/, done.output);
}

test('an open volume gives back what was overwritten, and is rekeyed while it is served', async (context) => {
  if (!requireTool(context, 'qemu-io')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  for (let pattern = 1; pattern <= 4; pattern++) await qemu(uri, `write -P ${pattern} 0 2M`);

  const cleaned = (await home.json(['volume', 'clean', 'data', '--all'])) as unknown as {
    segmentsCleaned: number;
    findings: unknown[];
    space: Space;
  };
  assert.ok(cleaned.segmentsCleaned > 0);
  assert.deepEqual(cleaned.findings, []);
  assert.equal(cleaned.space.liveBytes, 2 * 2 ** 20);
  assert.ok(cleaned.space.deadBytes < 2 ** 20, `${cleaned.space.deadBytes} bytes are dead`);

  const rekeyed = (await home.json(['volume', 'rekey', 'data', '--wait'])) as unknown as {
    keyEpoch: number;
    complete: boolean;
  };
  assert.deepEqual([rekeyed.keyEpoch, rekeyed.complete], [2, true]);
  await qemu(uri, 'read -P 4 0 2M');
  const shown = (await home.json(['volume', 'inspect', 'data'])) as unknown as {
    sealed: { keyEpoch: number };
    space: Space;
  };
  assert.deepEqual([shown.sealed.keyEpoch, shown.space.rekey], [2, null]);
  const text = (await home.run(['volume', 'inspect', 'data'])).stdout;
  for (const row of ['live', 'dead', 'pinned']) assert.match(text, new RegExp(`^${row} `, 'm'));
});

test('a closed volume is rekeyed under a new secret, which is then the only one', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  const fresh = home.path('fresh.key');
  await home.json(['key', 'generate', fresh]);
  const rekeyed = await home.run(['volume', 'rekey', 'data', '--wait', '--new-key-file', fresh]);
  assert.equal(rekeyed.code, 0, rekeyed.stderr);
  assert.match(rekeyed.stdout, /sealed under key epoch 2/);
  const report = await home.json(['volume', 'verify', 'data']);
  assert.deepEqual([report['findings'], report['freshness']], [[], 'current']);
  const { slots } = (await home.json(['key', 'ls', 'data'])) as unknown as { slots: { kind: string }[] };
  assert.deepEqual(
    slots.map(({ kind }) => kind),
    ['key-file'],
  );
});

test('what has no keys is not rekeyed, and what is not there is not cleaned', async (context) => {
  const home = new Home(context);
  assert.equal((await home.error(['volume', 'clean', 'nobody'])).code, 'name-missing');
  await home.json(['volume', 'create', 'open', '--size', '16M', '--protection', 'none', '--store', home.store]);
  const refused = await home.error(['volume', 'rekey', 'open']);
  assert.equal(refused.code, 'unsupported');
  assert.match(refused.message, /without protection/);
});
