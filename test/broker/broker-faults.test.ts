/** A broker as a process whose database is locked, full or put back: a named refusal, a line of its log, and it goes on. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { ErrorCode } from '../../src/lib/errors.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { Home } from '../support/caisson.ts';
import { startCliBroker } from '../support/cli-broker.ts';
import type { CliBroker } from '../support/cli-broker.ts';
import { clientOf, prepareBroker, workloadEvidence, workloadRoot } from '../support/fake-tpm-workload.ts';
import { requireRoot, run } from '../support/tools.ts';

/** Ended with its test, however that ends. */
async function start(t: TestContext, home: Home, lines: readonly string[]): Promise<CliBroker> {
  const broker = await startCliBroker(home, lines);
  t.after(() => broker.child.kill('SIGKILL'));
  return broker;
}

/** The code of the broker, also where a client wraps it as a refusal. */
async function refusedWith(broker: CliBroker, code: ErrorCode): Promise<void> {
  const client = clientOf(broker);
  const error = await client.release({ tenant: 'acme', key: 'data' }, workloadEvidence()).then(
    () => assert.fail('a key was released'),
    (reason: unknown) => reason,
  );
  client.close();
  assert.ok(isCaissonError(error) && [error.code, error.details['code']].includes(code), String(error));
  const line = broker
    .stderr()
    .split('\n')
    .filter((text) => text.startsWith('{'))
    .map((text) => JSON.parse(text) as Record<string, unknown>)
    .findLast(({ msg }) => msg === 'refused');
  assert.equal(line?.['code'], code);
}

async function mustRelease(broker: CliBroker): Promise<void> {
  const client = clientOf(broker);
  await client.release({ tenant: 'acme', key: 'data' }, workloadEvidence()).finally(() => client.close());
}

test('a locked database is named in answer and log, and no obstacle afterward', async (t) => {
  const home = new Home(t);
  const broker = await start(t, home, workloadRoot(home));
  await prepareBroker(home, broker);
  const other = new DatabaseSync(home.path('broker', 'broker.sqlite'));
  other.exec('BEGIN IMMEDIATE');
  await refusedWith(broker, 'database-locked');
  other.exec('ROLLBACK');
  other.close();
  await mustRelease(broker);
  assert.equal(await broker.stop(), 0);
});

test('a full disk is named in answer and log, and no obstacle once there is room', async (t) => {
  if (!requireRoot(t)) return;
  const home = new Home(t);
  const small = home.path('small');
  fs.mkdirSync(small);
  assert.equal((await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', small])).status, 0);
  home.clearing.push(() => run('umount', ['-l', small]));
  const broker = await start(t, home, [...workloadRoot(home), `database: ${small}/broker.sqlite`]);
  await prepareBroker(home, broker);
  const piece = Buffer.alloc(4096);
  const filler = fs.openSync(`${small}/filler`, 'w');
  for (let isFull = false; !isFull;) {
    try {
      fs.writeSync(filler, piece);
    } catch {
      isFull = true;
    }
  }
  fs.closeSync(filler);
  // What the write-ahead log has room for already is still taken.
  for (let tries = 0; tries < 200; tries++) {
    const isReleased = await mustRelease(broker).then(
      () => true,
      () => false,
    );
    if (!isReleased) break;
  }
  await refusedWith(broker, 'database-full');
  fs.rmSync(`${small}/filler`);
  await mustRelease(broker);
  assert.equal(await broker.stop(), 0);
});

test('a database that is put back under a broker, or while it is stopped, is named', async (t) => {
  const home = new Home(t);
  const lines = [...workloadRoot(home), `logHead: file:${home.path('log.head')}`];
  const broker = await start(t, home, lines);
  await prepareBroker(home, broker);
  assert.equal(await broker.stop(), 0);
  const file = home.path('broker', 'broker.sqlite');
  const old = fs.readFileSync(file);
  const again = await start(t, home, lines);
  await mustRelease(again);
  assert.equal(await again.stop(), 0);
  fs.writeFileSync(file, old);
  await assert.rejects(startCliBroker(home, lines), /database-rolled-back|is not the newest/);
  // Nor does another command write into it.
  const rotate = await home.error(['broker', 'key-rotate', '--config', home.path('broker.yaml')]);
  assert.equal(rotate.code, 'database-rolled-back');
  // The kept head goes on without this database: what a broker then finds that runs on it.
  const head = fs.readFileSync(home.path('log.head'));
  fs.rmSync(home.path('log.head'));
  const running = await start(t, home, lines);
  fs.writeFileSync(home.path('log.head'), head);
  await mustRelease(running).catch(() => undefined);
  while (!running.stderr().includes('database-rolled-back')) {
    await mustRelease(running).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await refusedWith(running, 'database-rolled-back');
  await running.stop();
});
