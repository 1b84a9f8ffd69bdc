/**
 * A broker as it is run: a process of its own, asked over HTTPS by this one. Time until it is ready, memory while idle and under
 * load, releases and advances in a second; the same with PostgreSQL for one and for two brokers, where a server is installed
 * and this runs as root. Askers and brokers share the processors here; the notes say what a broker's own part is.
 */
import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { HttpsRequests } from '../src/broker-client/https-requests.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { fromHex } from '../src/lib/hex.ts';
import { fakeTpmEvidence } from '../test/support/fake-tpm-evidence.ts';
import { hasPostgres, PostgresServer } from '../test/support/postgres.ts';
import { advancePath, BrokerAsker, releasePath, setUpBroker } from './broker-asker.ts';
import type { AskerSession, Post } from './broker-asker.ts';
import { caissonCommand } from './caisson-home.ts';
import { atOnce, inTurns, prepared } from './in-turns.ts';
import { cpuTimes, residentBytes } from './machine.ts';
import { isPackaged, packagedCommand } from './packaged.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';
import { pause, startServer } from './processes.ts';
import type { RunningServer } from './processes.ts';
import { median } from './statistics.ts';

const releases = 500;
const advances = 4_000;
const startsMin = 3;
const loadMilliseconds = 30_000;
const suite = 'mlkem768-x25519';
/** Each has eight connections. */
const clients = 8;
const sampleMilliseconds = 250;
const day = 86_400_000;

export async function brokerServerFigures(context: PartContext): Promise<void> {
  await part(context, 'broker-server', () => measureSqlite(context));
  if (hasPostgres()) await part(context, 'broker-server-postgresql', () => measurePostgres(context));
}

async function measureSqlite(context: PartContext): Promise<void> {
  const folder = fs.mkdtempSync(path.join(context.disk, 'broker-server-'));
  try {
    await measureStarts(context, folder);
    const broker = await startBroker(folder);
    try {
      const load = await openLoad([broker], folder);
      await measureRates(context, load, 'sqlite', 'SQLite, one broker');
      await measureMemory(context, load);
    } finally {
      await broker.server.stop();
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Each broker count has a database of its own, so that none finds what the other one left. */
async function measurePostgres(context: PartContext): Promise<void> {
  // PostgreSQL runs as a user of its own, which has to pass through.
  fs.chmodSync(context.disk, 0o711);
  const postgres = await PostgresServer.start(context.disk);
  try {
    for (const count of [1, 2]) {
      const folder = fs.mkdtempSync(path.join(context.disk, 'broker-server-'));
      const database = await postgres.createDatabase(`brokers${count}`);
      const brokers: RunningBroker[] = [];
      try {
        for (let index = 0; index < count; index++) brokers.push(await startBroker(folder, `broker${index}`, database));
        const load = await openLoad(brokers, folder);
        await measureRates(context, load, `postgresql-${count}`, `PostgreSQL, brokers: ${count}`);
      } finally {
        for (const broker of brokers) await broker.server.stop();
        fs.rmSync(folder, { recursive: true, force: true });
      }
    }
  } finally {
    await postgres.dispose();
  }
}

/** The first one makes keys, certificates and the database, and is not counted. */
async function measureStarts(context: PartContext, folder: string): Promise<void> {
  const starts: RunningBroker[] = [];
  for (let round = 0; round <= Math.max(startsMin, context.rounds); round++) {
    const broker = await startBroker(folder);
    starts.push(broker);
    await broker.server.stop();
  }
  const counted = starts.slice(1);
  context.add({
    id: 'broker-start-milliseconds',
    title: 'process start to a broker that is ready',
    value: median(counted.map(({ readyMilliseconds }) => readyMilliseconds)),
    unit: 'ms',
    note: `the first one, which makes its state, ${starts[0]?.readyMilliseconds.toFixed(0)} ms`,
  });
  context.add({
    id: 'broker-idle-resident-bytes',
    title: 'resident memory of a broker that was just started',
    value: median(counted.map(({ idleBytes }) => idleBytes)),
    unit: 'bytes',
  });
}

interface RunningBroker {
  readonly name: string;
  readonly server: RunningServer;
  readonly url: string;
  readonly authority: string;
  readonly brokerId: Uint8Array;
  readonly readyMilliseconds: number;
  readonly idleBytes: number;
}

const freely = '{perSecond: 1000000, burst: 1000000}';
const valid = { notBefore: Date.now() - day, notAfter: Date.now() + day };

/** From emitted JavaScript where there is some, as users run it; what runs from its sources takes 20 MiB more. */
function commandIn(folder: string): string {
  const home = path.join(folder, 'package');
  if (fs.existsSync(home)) return path.join(home, 'bin', 'caisson');
  if (!isPackaged()) return caissonCommand;
  fs.mkdirSync(home);
  return packagedCommand(home);
}

async function startBroker(folder: string, name = 'broker', database?: string): Promise<RunningBroker> {
  const state = path.join(folder, name);
  const root = path.join(folder, 'root.pem');
  const [made] = fakeTpmEvidence({ dates: valid }).context.extraRoots;
  fs.writeFileSync(root, new X509Certificate(made?.der ?? new Uint8Array(0)).toString());
  const configuration = path.join(folder, `${name}.yaml`);
  const lines = [
    `listen: 127.0.0.1:0`,
    `state: ${state}`,
    `extraRoots: [{technology: tpm, name: benchmark, file: ${root}}]`,
    `limits: {address: ${freely}, tenant: ${freely}}`,
    'logLevel: warn',
    ...(database === undefined
      ? []
      : [`database: ${JSON.stringify(database)}`, `masterKey: file:${masterKeyOf(folder)}`]),
  ];
  fs.writeFileSync(configuration, `${lines.join('\n')}\n`);
  const command = commandIn(folder);
  const begun = performance.now();
  const server = startServer(command, ['-o', 'json', 'broker', 'run', '--config', configuration], {}, [
    ...(['ignore', 'pipe', 'pipe'] as const),
  ]);
  const ready = await readyLine(server);
  const readyMilliseconds = performance.now() - begun;
  const { url = '', authorityFile = '', brokerId = '' } = JSON.parse(ready) as Record<string, string>;
  await pause(sampleMilliseconds);
  return {
    ...{ name, server, url, readyMilliseconds, idleBytes: residentBytes(server.pid) },
    authority: fs.readFileSync(authorityFile, 'utf8'),
    brokerId: fromHex(brokerId, 32) ?? new Uint8Array(32),
  };
}

/** Brokers that share a database share the key that it is sealed with. */
function masterKeyOf(folder: string): string {
  const file = path.join(folder, 'master.key');
  if (!fs.existsSync(file)) fs.writeFileSync(file, systemRandom.bytes(32), { mode: 0o600 });
  return file;
}

function readyLine({ child, errors }: RunningServer): Promise<string> {
  let said = '';
  return new Promise((resolve, reject) => {
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      said += piece;
      if (said.includes('\n')) resolve(said);
    });
    child.once('close', () => reject(new Error(`caisson broker run ended: ${errors().trim()}`)));
  });
}

interface Lane {
  readonly asker: BrokerAsker;
  readonly post: Post;
  readonly session: AskerSession;
}

interface Load {
  readonly brokers: readonly RunningBroker[];
  readonly lanes: readonly Lane[];
}

/** Lanes go to the brokers in turn; each is a workload with connections and a session of its own. */
async function openLoad(brokers: readonly RunningBroker[], folder: string): Promise<Load> {
  const token = fs.readFileSync(path.join(folder, brokers[0]!.name, 'admin.token'), 'utf8').trim();
  const lanes: Lane[] = [];
  for (let index = 0; index < clients; index++) {
    const broker = brokers[index % brokers.length]!;
    const post = postTo(broker);
    if (index === 0) await setUpBroker(post, token);
    const asker = new BrokerAsker(post, broker.brokerId, valid);
    lanes.push({ post, asker, session: await asker.openSession() });
  }
  return { brokers, lanes };
}

function postTo({ url, authority }: RunningBroker): Post {
  const requests = new HttpsRequests(url, { authority });
  return async (place, text, headers = {}) => {
    const { status, body } = await requests.ask('POST', place, new TextEncoder().encode(text), headers);
    const answer = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
    if (status !== 200) throw new Error(`${place} answered ${status}: ${JSON.stringify(answer)}`);
    return answer;
  };
}

function ofLanes<Value>({ lanes }: Load, count: number, make: (lane: Lane) => Promise<Value>): Promise<Value[]> {
  let index = 0;
  return prepared(count, () => make(lanes[index++ % lanes.length]!));
}

async function releaseWork(load: Load, count: number): Promise<(() => Promise<unknown>)[]> {
  return ofLanes(load, count, async ({ asker, post }) => {
    const body = await asker.releaseRequest(suite);
    return () => post(releasePath, body);
  });
}

async function advanceWork(load: Load, count: number): Promise<(() => Promise<unknown>)[]> {
  return ofLanes(load, count, async ({ asker, post, session }) => {
    const { body, headers } = asker.advanceRequest(session);
    return () => post(advancePath, body, headers);
  });
}

async function measureRates(context: PartContext, load: Load, id: string, where: string): Promise<void> {
  await inTurns(await releaseWork(load, atOnce), (ask) => ask());
  const figure = async (name: string, title: string, work: (() => Promise<unknown>)[]): Promise<void> => {
    const before = processorSecondsOf(load);
    const begun = performance.now();
    await inTurns(work, (ask) => ask());
    const seconds = (performance.now() - begun) / 1000;
    const each = ((processorSecondsOf(load) - before) / work.length) * 1000;
    context.add({
      ...{ id: `broker-server-${name}-${id}`, title: `${title}, ${where}`, value: work.length / seconds, unit: 'op/s' },
      note: `${atOnce} at once, ${each.toFixed(2)} ms of the brokers' processor time each`,
    });
  };
  await figure('release', 'attested releases over HTTPS', await releaseWork(load, releases));
  await figure('advance', 'anchor advances over HTTPS', await advanceWork(load, advances));
}

function processorSecondsOf({ brokers }: Load): number {
  return brokers.reduce((total, { server }) => total + cpuTimes(server.pid).server, 0);
}

/** Evidence is made as it goes here, so that neither side rests. */
async function measureMemory(context: PartContext, load: Load): Promise<void> {
  const { pid } = load.brokers[0]!.server;
  let highest = 0;
  const timer = setInterval(() => (highest = Math.max(highest, residentBytes(pid))), sampleMilliseconds);
  const endsAt = performance.now() + loadMilliseconds;
  try {
    while (performance.now() < endsAt) {
      await inTurns(await releaseWork(load, releases), (ask) => ask());
      await inTurns(await advanceWork(load, advances), (ask) => ask());
    }
  } finally {
    clearInterval(timer);
  }
  context.add({
    id: 'broker-load-resident-bytes',
    title: `highest resident memory of a broker under ${loadMilliseconds / 1000} s of releases and advances`,
    value: highest,
    unit: 'bytes',
    note: `${(residentBytes(pid) / 2 ** 20).toFixed(0)} MiB at the end`,
  });
}
