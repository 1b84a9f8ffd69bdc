/** Every sealer against the one suite, and the two real ones against each other. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { chooseSealer, selfTestFault } from '../../src/crypto/choose-sealer.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { createOpenSslSealer } from '../../src/crypto/openssl-sealer.ts';
import { plainSealer } from '../../src/crypto/plain-sealer.ts';
import type { Sealer } from '../../src/crypto/sealer.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { bindOpenSsl } from '../../src/sys/openssl.ts';
import { fuzz } from '../fuzz/sealer.fuzz.ts';
import { sealerConformance } from './sealer.ts';

const { openSsl, reason } = bindOpenSsl();
const skip = openSsl === undefined ? reason : false;

sealerConformance('node-crypto', () => nodeSealer, { authenticates: true });
sealerConformance('none', () => plainSealer, { authenticates: false });
if (openSsl !== undefined) {
  sealerConformance('openssl-ffi', () => createOpenSslSealer(openSsl), { authenticates: true });
}

test('the fast sealer can be bound here', { skip }, () => {
  const choice = chooseSealer('auto');
  assert.equal(choice.sealer.name, 'openssl-ffi');
  assert.match(choice.reason, /self-test passed/);
  assert.equal(chooseSealer('node-crypto').sealer.name, 'node-crypto');
});

test('the fast and the portable sealer agree on random units', { skip }, () => fuzz(1, 300));

test('the self-test notices a sealer that accepts anything or seals otherwise', () => {
  assert.notEqual(selfTestFault(plainSealer, nodeSealer), undefined);
  const lenient: Sealer = {
    name: 'none',
    createKey: (key) => {
      const inner = nodeSealer.createKey(key);
      return {
        seal: inner.seal.bind(inner),
        destroy: inner.destroy.bind(inner),
        open: (...unit) => inner.open(...unit) || true,
      };
    },
  };
  assert.equal(selfTestFault(lenient, nodeSealer), 'a bad tag is accepted');
  assert.equal(selfTestFault(nodeSealer, nodeSealer), undefined);
});

test('without the right to use node:ffi the portable sealer serves, and by name the fast one is refused', () => {
  const module = new URL('../../src/crypto/choose-sealer.ts', import.meta.url).href;
  const program = `
    const { chooseSealer } = await import(${JSON.stringify(module)});
    const { sealer, reason } = chooseSealer('auto');
    let refusal = 'none';
    try { chooseSealer('openssl-ffi'); } catch (error) { refusal = error.code; }
    console.log(JSON.stringify({ name: sealer.name, reason, refusal }));`;
  for (const flags of [['--permission', '--allow-fs-read=*'], ['--no-experimental-ffi']]) {
    const run = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program], { encoding: 'utf8' });
    assert.equal(run.status, 0, run.stderr);
    const answer = JSON.parse(run.stdout) as { name: string; reason: string; refusal: string };
    assert.equal(answer.name, 'node-crypto');
    assert.equal(answer.refusal, 'unsupported');
    assert.match(answer.reason, /node:ffi/);
  }
});

test('no unit is damaged while collections are forced and small buffers churn', { skip }, () => {
  const program = fileURLToPath(new URL('../stress/sealer-collections.ts', import.meta.url));
  const run = spawnSync(process.execPath, ['--expose-gc', '--max-semi-space-size=1', program], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(run.signal, null, 'the child ended by itself');
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stdout, /contexts freed by the collector: [1-9]/);
});

test('a wrong key length is a defect of the caller', () => {
  assert.throws(
    () => nodeSealer.createKey(new Uint8Array(16)),
    (error) => isCaissonError(error, 'assertion-failed'),
  );
});
