/** A volume whose key is sealed to a TPM and whose newest state a TPM remembers, at the command line. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { requireSwtpm, startSwtpm } from '../support/swtpm.ts';
import { requireTool, run } from '../support/tools.ts';

interface Shown {
  readonly public: { readonly keySlots: readonly { readonly kind: string }[]; readonly manifestNumber: number };
}

test('key and anchor in one TPM: it opens without a secret, and an old copy of the whole disk does not', async (context) => {
  if (!requireSwtpm(context, 'tpm2_pcrextend') || !requireTool(context, 'qemu-io')) return;
  const tpm = await startSwtpm();
  context.after(() => tpm.stop());
  const home = new Home(context);
  const create = ['volume', 'create', 'data', '--size', '16MiB', '--store', home.store];
  const anchor = `tpm:${tpm.device}?interval=0&rest=1`;
  const made = await home.run([...create, '--key', `tpm:${tpm.device}?pcrs=7,9`, '--anchor', anchor]);
  assert.equal(made.code, 0, made.stderr);

  const names = JSON.parse(readFileSync(home.path('.config', 'caisson', 'volumes.json'), 'utf8')) as {
    readonly volumes: Record<string, { readonly anchor?: string }>;
  };
  assert.equal(names.volumes['data']?.anchor, anchor);
  const listed = (await home.json(['volume', 'ls'])) as unknown as { volumes: { anchor?: string }[] };
  assert.equal(listed.volumes[0]?.anchor, anchor);
  const shown = (await home.json(['volume', 'inspect', 'data'])) as unknown as Shown;
  assert.equal(shown.public.keySlots[0]?.kind, 'tpm');

  const state = home.path('.local', 'state', 'caisson');
  const saved = home.path('saved');
  cpSync(home.store, `${saved}/store`, { recursive: true });
  cpSync(state, `${saved}/state`, { recursive: true });
  const served = await home.serve(['data']);
  const written = await run('qemu-io', [
    '-f',
    'raw',
    '-c',
    'write -P 7 0 1M',
    '-c',
    'flush',
    served.ready.volumes[0]!.uri,
  ]);
  assert.equal(written.status, 0, written.output);
  served.child.kill('SIGTERM');
  await served.ended;
  const verified = await home.run(['volume', 'verify', 'data']);
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);

  // Everything that a disk holds is put back: what the TPM remembers is not on it.
  const kept = home.path('kept');
  cpSync(home.store, `${kept}/store`, { recursive: true });
  cpSync(state, `${kept}/state`, { recursive: true });
  const putBack = (from: string): void => {
    rmSync(home.store, { recursive: true });
    rmSync(state, { recursive: true });
    cpSync(`${from}/store`, home.store, { recursive: true });
    cpSync(`${from}/state`, state, { recursive: true });
  };
  putBack(saved);
  const old = await home.run(['serve', 'data']);
  assert.equal(old.code, 5, old.stderr);
  assert.match(old.stderr, /cannot be relied on.*not the one that the TPM remembers/s);
  putBack(kept);
  assert.equal((await home.run(['volume', 'verify', 'data'])).code, 0);

  await tpm.tool('tpm2_pcrextend', `9:sha256=${'ab'.repeat(32)}`);
  const changed = await home.error(['serve', 'data']);
  assert.deepEqual([changed.exit, changed.code], [4, 'key-wrong']);
  assert.match(changed.message, /PCR 9 of sha256/);

  const indexes = (): Promise<string> => tpm.tool('tpm2_getcap', 'handles-nv-index');
  assert.match(await indexes(), /0x1[89AB]/i);
  const removed = await home.run(['volume', 'rm', 'data', '--yes']);
  assert.equal(removed.code, 0, removed.stderr);
  assert.doesNotMatch(await indexes(), /0x1[89AB]/i);
});

test('the configuration chooses the anchor of new volumes; adopting moves a volume to another', async (context) => {
  if (!requireSwtpm(context)) return;
  const tpm = await startSwtpm();
  context.after(() => tpm.stop());
  const home = new Home(context);
  const key = ['--key-file', home.keyFile()];
  home.write('.config/caisson/config.yaml', `anchor: tpm:${tpm.device}?interval=0\n`);
  assert.equal((await home.run(['volume', 'create', 'one', '--size', '4MiB', '--store', home.store, ...key])).code, 0);
  const anchorOf = async (): Promise<string | undefined> => {
    const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { anchor?: string }[] };
    return volumes[0]?.anchor;
  };
  assert.equal(await anchorOf(), `tpm:${tpm.device}?interval=0`);
  // Volumes that come about in other ways have it, too, and keep it when they move.
  const image = home.write('image', 'x'.repeat(8192));
  const elsewhere = home.path('elsewhere');
  for (const command of [
    ['volume', 'clone', 'one', 'clone'],
    ['volume', 'import', 'image', '--from', image, '--store', home.store, ...key],
    ['volume', 'move', 'image', '--store', elsewhere],
  ]) {
    const done = await home.run(command);
    assert.equal(done.code, 0, `${command.join(' ')}: ${done.stderr}`);
  }
  const { volumes: all } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { anchor?: string }[] };
  assert.deepEqual(
    all.map((volume) => volume.anchor),
    ['clone', 'image', 'one'].map(() => `tpm:${tpm.device}?interval=0`),
  );
  for (const name of ['clone', 'image']) {
    const checked = await home.run(['volume', 'verify', name]);
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
    assert.match(checked.stdout, /current: the newest state that the anchor knows/);
    assert.equal((await home.run(['volume', 'rm', name, '--yes'])).code, 0);
  }
  assert.equal((await home.run(['volume', 'rm', 'one', '--keep-data', '--yes'])).code, 0);
  const adopt = ['volume', 'adopt', 'one', '--store', home.store, '--anchor', 'file', ...key];
  const accepted = await home.run([...adopt, '--accept-missing-anchor']);
  assert.equal(accepted.code, 0, accepted.stderr);
  assert.equal(await anchorOf(), undefined);
  const verified = (await home.json(['volume', 'verify', 'one'])) as unknown as { freshness?: string };
  assert.notEqual(verified.freshness, 'not-checked');
});

test('anchors that do not exist are refused before anything is made', async (context) => {
  const home = new Home(context);
  const create = ['volume', 'create', 'data', '--size', '4MiB', '--store', home.store, '--key-file', home.keyFile()];
  for (const anchor of ['disk', 'tpm?lag=5', 'tpm:?interval=x', 'tpmx', 'tpm?rest=99999999', 'tpm?a=1?b=2']) {
    const refused = await home.run([...create, '--anchor', anchor]);
    assert.equal(refused.code, 2, `${anchor}: ${refused.stderr}`);
    assert.match(refused.stderr, /Anchors are file, tpm/);
  }
  const missing = await home.run([...create, '--anchor', 'tpm:swtpm:127.0.0.1:1']);
  assert.equal(missing.code, 1, missing.stderr);
  assert.match(missing.stderr, /no TPM answers at 127.0.0.1:1/);
  home.write('.config/caisson/config.yaml', 'anchor: disk\n');
  const configured = await home.run(['volume', 'ls']);
  assert.match(configured.stderr, /config.yaml:1: anchor: is no anchor/);
});
