/**
 * What a broker does in a second: attested releases with TPM evidence that is really verified, and anchor advances under
 * sessions, with SQLite on disk. Broker and asker share this process and no socket is between them, so that the
 * figures are of the broker's own work; challenges and evidence are made beforehand. With sockets: broker-server.ts.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Hono } from 'hono';
import { createBroker } from '../src/broker/broker.ts';
import { verifier } from '../src/broker/attest/tpm/verifier.ts';
import { openBrokerKeys } from '../src/broker/release/broker-keys.ts';
import { openSqliteDatabase } from '../src/broker/state/sqlite-database.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { createKeyFileSource } from '../src/keys/key-file.ts';
import { patientClock } from '../src/lib/clock.ts';
import { envelopeSuites } from '../src/wire/envelope-suites.ts';
import type { EnvelopeSuite } from '../src/wire/envelope-suites.ts';
import { emptyContext, fakeTpmEvidence, now } from '../test/support/fake-tpm-evidence.ts';
import { advancePath, BrokerAsker, releasePath, setUpBroker } from './broker-asker.ts';
import type { Post } from './broker-asker.ts';
import { atOnce, inTurns, prepared, processorNote, timed } from './in-turns.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';

const releases = 1_000;
const advances = 5_000;
const freely = { perSecond: 1e9, burst: 1e9 };

export async function brokerReleaseFigures(context: PartContext): Promise<void> {
  await part(context, 'broker-release', () => measure(context));
}

async function measure(context: PartContext): Promise<void> {
  const folder = fs.mkdtempSync(path.join(context.disk, 'broker-release-'));
  const bench = await openBench(folder);
  try {
    for (const suite of envelopeSuites) await measureReleases(context, bench, suite);
    await measureAdvances(context, bench);
  } finally {
    await bench.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

interface Bench {
  readonly asker: BrokerAsker;
  readonly post: Post;
  close(): Promise<void>;
}

async function measureReleases(context: PartContext, { asker, post }: Bench, suite: EnvelopeSuite): Promise<void> {
  await inTurns(await prepared(20, () => asker.releaseRequest(suite)), (body) => post(releasePath, body));
  const requests = await prepared(releases, () => asker.releaseRequest(suite));
  const took = await timed(() => inTurns(requests, (body) => post(releasePath, body)));
  context.add({
    id: `broker-release-${suite}`,
    title: `attested releases, TPM evidence verified, ${suite}, SQLite, ${atOnce} at once`,
    value: releases / took.seconds,
    unit: 'op/s',
    note: processorNote(took, releases),
  });
}

async function measureAdvances(context: PartContext, { asker, post }: Bench): Promise<void> {
  const session = await asker.openSession();
  const requests = Array.from({ length: advances }, () => asker.advanceRequest(session));
  const took = await timed(() => inTurns(requests, ({ body, headers }) => post(advancePath, body, headers)));
  context.add({
    id: 'broker-advance',
    title: `anchor advances, one a request, SQLite, ${atOnce} at once`,
    value: advances / took.seconds,
    unit: 'op/s',
    note: processorNote(took, advances),
  });
}

async function openBench(folder: string): Promise<Bench> {
  const database = await openSqliteDatabase({ file: path.join(folder, 'broker.sqlite') });
  // The certificates of the made-up TPM are good for a few days of one year.
  const clock = { ...patientClock, wall: () => now };
  const masterKey = createKeyFileSource({ content: systemRandom.bytes(32), random: systemRandom });
  const { keys, first } = await openBrokerKeys(database, masterKey, systemRandom, now);
  const broker = createBroker({
    ...{ version: 'bench', database, keys, clock, random: systemRandom, peers: undefined },
    ...{ verifiers: new Map([['tpm', verifier]]), collateral: emptyContext.collateral },
    extraRoots: fakeTpmEvidence().context.extraRoots,
    ...{ addressLimit: freely, tenantLimit: freely, onAnswer: () => undefined },
  });
  const app = broker.app as unknown as Hono;
  const post: Post = async (place, body, headers = {}) => {
    const response = await app.request(place, { method: 'POST', body, headers }, {});
    const answer = (await response.json()) as Record<string, unknown>;
    if (response.status !== 200) throw new Error(`${place} answered ${response.status}: ${JSON.stringify(answer)}`);
    return answer;
  };
  await setUpBroker(post, first?.adminToken ?? '');
  return { asker: new BrokerAsker(post, keys.brokerId), post, close: () => database.close() };
}
