/**
 * Brokers as real processes, killed at moments of their work: two on one PostgreSQL, one on SQLite. What was
 * answered is there, one writer has an epoch, the log continues every head that was seen, and what was lost is asked again.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { BrokerClient, ClientSession } from '../../src/broker-client/broker-client.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { toHex } from '../../src/lib/hex.ts';
import { Home } from '../support/caisson.ts';
import {
  fought,
  keepAdvancing,
  keepFighting,
  keepReleasing,
  nothingTold,
  readAnchor,
} from '../support/anchor-traffic.ts';
import type { Told } from '../support/anchor-traffic.ts';
import { startCliBroker } from '../support/cli-broker.ts';
import type { CliBroker } from '../support/cli-broker.ts';
import { clientOf, prepareBroker, workloadEvidence, workloadRoot } from '../support/fake-tpm-workload.ts';
import { hasPostgres, PostgresServer } from '../support/postgres.ts';
import { requireFile, requireRoot } from '../support/tools.ts';

const freely = '{perSecond: 1000000, burst: 1000000}';
const limits = `limits: {address: ${freely}, tenant: ${freely}}`;
const volumes = [1, 2, 3, 4];

/** A broker that is killed and started again where it was. */
class Instance {
  readonly home: Home;
  readonly #lines: readonly string[];
  broker!: CliBroker;
  client!: BrokerClient;

  constructor(t: TestContext, lines: (home: Home) => readonly string[]) {
    this.home = new Home(t);
    this.#lines = [...lines(this.home), limits];
    t.after(() => {
      this.client.close();
      this.broker.child.kill('SIGKILL');
    });
  }

  async start(port = 0): Promise<void> {
    this.broker = await startCliBroker(this.home, this.#lines, port);
    this.client = clientOf(this.broker);
  }

  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.broker.child.once('close', resolve));
    this.broker.child.kill('SIGKILL');
    await ended;
  }

  async startAgain(): Promise<void> {
    const { port } = new URL(this.broker.url);
    this.client.close();
    await this.start(Number(port));
  }

  /** The signed head, kept in a file as an auditor does. */
  async saveHead(name: string): Promise<string> {
    const folder = this.home.path('heads');
    fs.mkdirSync(folder, { recursive: true });
    const log = `${folder}/${name}.log`;
    await this.broker.admin('log-download', log);
    const head = `${folder}/${name}.head`;
    await this.home.json(['log', 'verify', log, '--save-head', head]);
    return head;
  }
}

async function openSession(client: BrokerClient): Promise<ClientSession> {
  const { session } = await client.release({ tenant: 'acme', key: 'data', anchors: true }, workloadEvidence());
  return session;
}

interface Line {
  readonly index: number;
  readonly kind: string;
  readonly facts: Readonly<Record<string, string | number>>;
}

/** The log holds, continues every head that was seen, and has a line for all that was told. */
async function checkLog(instance: Instance, heads: readonly string[], told: Told): Promise<void> {
  const { home, broker } = instance;
  const log = home.path('end.log');
  await broker.admin('log-download', log);
  for (const head of heads) {
    const { isContinuation } = await home.json(['log', 'verify', log, '--since', head]);
    assert.equal(isContinuation, true, head);
  }
  const lines = fs
    .readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"facts"'))
    .map((line) => JSON.parse(line) as Line);
  for (const index of told.releases) assert.equal(lines[index]?.kind, 'release');
  assert.equal(new Set(told.releases).size, told.releases.length, 'each release has a line of its own');
  const advances = lines.filter(({ kind }) => kind === 'anchor-advance');
  for (const [volume, last] of told.advanced) {
    const sequences = advances.filter(({ facts }) => facts['volume'] === volume).map(({ facts }) => facts['sequence']);
    for (let sequence = 1; sequence <= last; sequence++)
      assert.ok(sequences.includes(sequence), `${volume} ${sequence}`);
    assert.deepEqual(
      sequences,
      sequences.toSorted((left, right) => Number(left) - Number(right)),
    );
  }
  const owners = new Map<number, string>();
  for (const { facts } of advances.filter((line) => line.facts['volume'] === toHex(fought))) {
    const [epoch, digest] = [Number(facts['epoch']), String(facts['manifestDigest'])];
    assert.equal(owners.get(epoch) ?? digest, digest, `two writers in epoch ${epoch}`);
    owners.set(epoch, digest);
  }
  for (const [epoch, writers] of told.epochs) {
    assert.equal(writers.size, 1, `epoch ${epoch}`);
    assert.ok(owners.has(epoch));
  }
}

test('PostgreSQL is there', (t) => {
  requireRoot(t);
  requireFile(t, '/usr/lib/postgresql');
});

test('of two brokers on one PostgreSQL each is killed in mid-advance, and nothing that was answered is lost', async (t) => {
  if (!hasPostgres()) return;
  const server = await PostgresServer.start();
  t.after(() => server.dispose());
  const database = await server.createDatabase('instances');
  const first = new Instance(t, (home) => [...workloadRoot(home), `database: ${database}`]);
  await first.start();
  const masterKey = `masterKey: file:${first.home.path('broker', 'master.key')}`;
  const second = new Instance(t, (home) => [...workloadRoot(home), `database: ${database}`, masterKey]);
  await second.start();
  assert.equal(second.broker.identity, first.broker.identity);
  await prepareBroker(first.home, first.broker);
  const session = await openSession(first.client);
  const told = nothingTold();
  let isDone = false;
  const done = (): boolean => isDone;
  const clients = (): BrokerClient[] => [first.client, second.client];
  const traffic = Promise.all([
    ...volumes.map((volume) => keepAdvancing(clients, session, volume, told, done)),
    ...[1, 2].map((writer) => keepFighting(clients, session, writer, told, done)),
    keepReleasing(clients, told, done),
  ]);
  const heads: string[] = [];
  // At other moments of their work each time: after so many more advances, and a little later.
  for (const [round, [victim, advances]] of (
    [
      [second, 30],
      [first, 41],
      [second, 7],
      [first, 1],
    ] as const
  ).entries()) {
    heads.push(await first.saveHead(`before-${round}`));
    const from = told.count;
    while (told.count < from + advances) await Promise.race([patientClock.turn(), traffic]);
    await new Promise((resolve) => setTimeout(resolve, round));
    await victim.kill();
    const atKill = told.count;
    // The other one goes on alone.
    while (told.count < atKill + 10) await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), traffic]);
    await victim.startAgain();
    heads.push(await first.saveHead(`after-${round}`));
  }
  const last = told.count;
  while (told.count < last + 10) await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), traffic]);
  isDone = true;
  await traffic;
  for (const { client } of [first, second])
    for (const [volume, sequence] of told.advanced)
      assert.equal((await readAnchor(() => [client], session, Buffer.from(volume, 'hex')))?.sequence, sequence);
  assert.equal(told.keys.size, 1, 'every release gave the same key');
  assert.ok(told.epochs.size > 0 && told.releases.length > 0);
  await checkLog(first, heads, told);
  t.diagnostic(
    `${told.count} advances, ${told.epochs.size} epochs, ${told.releases.length} releases, ${told.lostAnswers} lost answers`,
  );
});

test('a broker on SQLite is killed between commit and answer, and says the same when it is asked again', async (t) => {
  const instance = new Instance(t, workloadRoot);
  await instance.start();
  await prepareBroker(instance.home, instance.broker);
  const session = await openSession(instance.client);
  const told = nothingTold();
  let isDone = false;
  const done = (): boolean => isDone;
  const clients = (): BrokerClient[] => [instance.client];
  const traffic = Promise.all([
    ...volumes.map((volume) => keepAdvancing(clients, session, volume, told, done)),
    ...[1, 2].map((writer) => keepFighting(clients, session, writer, told, done)),
    keepReleasing(clients, told, done),
  ]);
  const heads: string[] = [];
  for (let round = 0; round < 6; round++) {
    heads.push(await instance.saveHead(`before-${round}`));
    const from = told.count;
    while (told.count < from + 5 * round) await Promise.race([patientClock.turn(), traffic]);
    await killAtCommit(instance);
    await instance.startAgain();
    heads.push(await instance.saveHead(`after-${round}`));
  }
  const last = told.count;
  while (told.count < last + 10) await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), traffic]);
  isDone = true;
  await traffic;
  for (const [volume, sequence] of told.advanced)
    assert.equal((await readAnchor(clients, session, Buffer.from(volume, 'hex')))?.sequence, sequence);
  assert.equal(told.keys.size, 1);
  await checkLog(instance, heads, told);
  t.diagnostic(
    `${told.count} advances, ${told.epochs.size} epochs, ${told.releases.length} releases, ${told.lostAnswers} lost answers`,
  );
});

/** As soon as another process sees that the log has grown: the answers to that commit are still to be sent, or on their way. */
async function killAtCommit({ broker, home }: Instance): Promise<void> {
  const watching = new DatabaseSync(home.path('broker', 'broker.sqlite'), { readOnly: true });
  const statement = watching.prepare('SELECT size FROM log_state');
  const sizeNow = (): number => Number(statement.get()?.['size']);
  const ended = new Promise((resolve) => broker.child.once('close', resolve));
  const before = sizeNow();
  for (;;) {
    // Nobody else gets a turn in between, so that what follows the commit is the kill.
    const until = performance.now() + 20;
    while (performance.now() < until && sizeNow() === before);
    if (sizeNow() !== before) break;
    await patientClock.turn();
  }
  broker.child.kill('SIGKILL');
  watching.close();
  await ended;
}
