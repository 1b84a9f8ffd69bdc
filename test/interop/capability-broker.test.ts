/** A volume whose key and anchor are at a broker, served in parts: what is revoked at either place ends at the other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startCliBroker } from '../support/cli-broker.ts';
import { CapabilityBench } from '../support/capability-bench.ts';
import type { NbdClient } from '../support/nbd-client.ts';
import { requireSwtpm, startSwtpm } from '../support/swtpm.ts';

const policy = `caisson-policy: 1
name: machine
profiles:
  node:
    technology: tpm
    rules: {tpm.manufacturer: software TPMs, tpm.pcr.sha256.7: ${'00'.repeat(32)}}
    waive: {tpm.pcr.sha256.0: this test boots nothing, tpm.pcr.sha256.4: this test boots nothing}
release: {may-create-key: true, may-advance-anchor: true}
`;

/** Resolves when the daemon has cut it off; it looks every ten seconds. */
async function cutOff(client: NbdClient): Promise<void> {
  for (;;) {
    try {
      await client.read(0, 4096);
    } catch {
      return;
    }
    await pause(50);
  }
}

test('a revocation at the broker cuts off what a daemon serves, and the other way round', async (context) => {
  if (!requireSwtpm(context)) return;
  const tpm = await startSwtpm({ isManufactured: true });
  context.after(() => tpm.stop());
  const bench = new CapabilityBench(context);
  const { home } = bench;
  const issuer = Buffer.from(tpm.authorities[0] ?? new Uint8Array(0)).toString('base64');
  const root = home.write('root.pem', `-----BEGIN CERTIFICATE-----\n${issuer}\n-----END CERTIFICATE-----\n`);
  const trusted = ['extraRoots:', `  - {technology: tpm, name: software TPMs, file: ${root}}`];
  const broker = await startCliBroker(home, trusted);
  context.after(() => broker.stop());
  await broker.admin('tenant-add', 'acme', '--save-token', home.path('acme.token'));
  await broker.admin('policy-put', home.write('machine.yaml', policy), '--tenant', 'acme');
  const key = `broker:${broker.url}/acme/data?ca-file=${broker.authorityFile}&tpm=${tpm.device}&evidence=tpm&policy=machine`;
  await home.json([
    ...['volume', 'create', 'data', '--size', '16M', '--store', home.store, '--key', key],
    ...['--anchor', 'broker'],
  ]);
  await home.serve(['data', '--capability-socket', bench.socket]);
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { volumeId: string }[] };
  const volumeId = volumes[0]?.volumeId ?? '';

  await bench.grant('early', '--expires 1h');
  const early = await bench.connect(context, await bench.open('early'));
  assert.equal((await early.read(0, 4096)).length, 4096);
  assert.equal((await broker.admin('capability-revoke', volumeId, '--tenant', 'acme'))['epoch'], 1);
  await cutOff(early);
  const refusal = await home.error(bench.opening('early'));
  assert.equal(refusal.code, 'capability-refused');
  assert.match(refusal.message, /revoked/);

  // What is minted now holds, until it is revoked here; the next number of the broker follows.
  await bench.grant('late', '--expires 1h');
  const late = await bench.connect(context, await bench.open('late'));
  const revoked = await home.json(['capability', 'revoke', 'data']);
  assert.deepEqual([revoked['epoch'], revoked['brokerTold'], revoked['ended']], [2, true, 1]);
  await cutOff(late);
  assert.equal((await broker.admin('capability-revoke', volumeId, '--tenant', 'acme'))['epoch'], 3);

  // Without the broker nothing is opened, and what is revoked is revoked all the same.
  await bench.grant('last', '--expires 1h');
  const last = await bench.connect(context, await bench.open('last'));
  await broker.stop();
  const away = await home.json(['capability', 'revoke', 'data']);
  assert.deepEqual([away['epoch'], away['brokerTold'], away['ended']], [4, false, 1]);
  await cutOff(last);
  await pause(1_100);
  assert.equal((await home.error(bench.opening('last'))).code, 'broker-unreachable');
});
