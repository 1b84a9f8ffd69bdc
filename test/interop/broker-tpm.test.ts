/**
 * The whole path as a person walks it: a broker, a policy about a software TPM, a volume whose key and anchor are at the
 * broker; then a changed register, an old copy of the store, and the log that shows all of it.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { startCliBroker } from '../support/cli-broker.ts';
import type { CliBroker } from '../support/cli-broker.ts';
import { Home } from '../support/caisson.ts';
import { hasSwtpm, requireSwtpm, startSwtpm } from '../support/swtpm.ts';
import type { SoftwareTpm } from '../support/swtpm.ts';

test('software TPMs are installed', (t) => void requireSwtpm(t));

const policy = (registers: string): string => `caisson-policy: 1
name: machine
profiles:
  node:
    technology: tpm
    rules:
      tpm.manufacturer: software TPMs
      tpm.pcr.sha256.0: ${registers}
      tpm.pcr.sha256.7: ${registers}
    waive: {tpm.pcr.sha256.4: this test boots nothing}
release: {may-create-key: true, may-advance-anchor: true}
`;

describe('a volume of an attested machine', { skip: !hasSwtpm() }, () => {
  let tpm: SoftwareTpm;
  before(async () => {
    tpm = await startSwtpm({ isManufactured: true });
  });
  after(() => tpm.stop());

  test('opens with key and anchor of a broker, and not after what must not be', async (t) => {
    const home = new Home(t);
    const issuer = Buffer.from(tpm.authorities[0] ?? new Uint8Array(0)).toString('base64');
    const root = home.write('root.pem', `-----BEGIN CERTIFICATE-----\n${issuer}\n-----END CERTIFICATE-----\n`);
    const broker: CliBroker = await startCliBroker(home, [
      'extraRoots:',
      `  - {technology: tpm, name: software TPMs, file: ${root}}`,
    ]);
    t.after(() => broker.stop());
    await broker.admin('tenant-add', 'acme', '--save-token', home.path('acme.token'));
    home.write('machine.yaml', policy('00'.repeat(32)));
    await broker.admin('policy-put', home.path('machine.yaml'), '--tenant', 'acme');
    const key = `broker:${broker.url}/acme/data?ca-file=${broker.authorityFile}&tpm=${tpm.device}&evidence=tpm&policy=machine`;
    await home.json([
      ...['volume', 'create', 'data', '--size', '16M', '--store', home.store, '--key', key],
      ...['--anchor', 'broker', '--durability', 'anchored'],
    ]);
    const verified = async () => await home.run(['volume', 'inspect', 'data', '--unlock', '-o', 'json']);
    assert.equal((await verified()).code, 0);
    const served = await home.serve(['data']);
    served.child.kill('SIGTERM');
    assert.equal((await served.ended).code, 0, served.stderr());
    const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { volumeId: string }[] };
    const anchored = await broker.admin('anchor-show', volumes[0]?.volumeId ?? '', '--tenant', 'acme');
    assert.ok((anchored['state'] as { epoch: number }).epoch > 0);

    // An old copy of the whole store, put back after the volume went on.
    fs.cpSync(home.store, home.path('old'), { recursive: true });
    const again = await home.serve(['data']);
    again.child.kill('SIGTERM');
    await again.ended;
    fs.rmSync(home.store, { recursive: true });
    fs.renameSync(home.path('old'), home.store);
    const rolledBack = await home.error(['serve', 'data']);
    assert.equal(rolledBack.code, 'rolled-back');

    // Another system was booted.
    await tpm.tool('tpm2_pcrextend', `7:sha256=${'11'.repeat(32)}`);
    const changed = await home.error(['volume', 'inspect', 'data', '--unlock']);
    assert.equal(changed.code, 'policy-refused');
    assert.match(changed.message, /profiles\.node\.tpm\.pcr\.sha256\.7/);

    await broker.admin('log-download', home.path('release.log'));
    const verdict = await home.run(['log', 'verify', home.path('release.log')]);
    assert.equal(verdict.code, 0, verdict.stderr);
    const lines = fs.readFileSync(home.path('release.log'), 'utf8');
    for (const kind of ['release', 'refusal', 'anchor-advance', 'policy-change', 'tenant-change'])
      assert.match(lines, new RegExp(`"kind":"${kind}"`));
    assert.match(lines, /"failed":\["profiles\.node\.tpm\.pcr\.sha256\.7"\]/);
    assert.equal(await broker.stop(), 0);
    const away = await home.error(['volume', 'inspect', 'data', '--unlock']);
    assert.match(away.code, /broker-unreachable|key-source-unavailable/);
  });
});
