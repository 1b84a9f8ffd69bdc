/**
 * What a broker does in a second: attested releases with TPM evidence that is really verified, and anchor advances under
 * sessions, with SQLite on disk. Broker and asker share this process and no socket is between them, so that the
 * figures are of the broker's own work; challenges and evidence are made beforehand.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Hono } from 'hono';
import { createBroker } from '../src/broker/broker.ts';
import { verifier } from '../src/broker/attest/tpm/verifier.ts';
import { openBrokerKeys } from '../src/broker/release/broker-keys.ts';
import { openSqliteDatabase } from '../src/broker/state/sqlite-database.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { signingKeyFromSeed } from '../src/crypto/signature.ts';
import { createKeyFileSource } from '../src/keys/key-file.ts';
import { patientClock } from '../src/lib/clock.ts';
import { fromHex, toHex } from '../src/lib/hex.ts';
import { generateRecipient } from '../src/wire/envelope.ts';
import { envelopeSuites } from '../src/wire/envelope-suites.ts';
import type { EnvelopeSuite } from '../src/wire/envelope-suites.ts';
import { releaseBodyDigest } from '../src/wire/release-body.ts';
import { carriedReportData, reportDataOf } from '../src/wire/report-data.ts';
import { evidenceDigestOf, signRequest } from '../src/wire/request-statement.ts';
import { requestMac } from '../src/wire/session-mac.ts';
import { emptyContext, fakeTpmEvidence, now } from '../test/support/fake-tpm-evidence.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';

const releases = 1_000;
const advances = 5_000;
const atOnce = 64;
const freely = { perSecond: 1e9, burst: 1e9 };

export async function brokerReleaseFigures(context: PartContext): Promise<void> {
  await part(context, 'broker-release', () => measure(context));
}

async function measure(context: PartContext): Promise<void> {
  const folder = fs.mkdtempSync(path.join(context.disk, 'broker-release-'));
  const bench = await BrokerBench.open(folder);
  try {
    for (const suite of envelopeSuites) await measureReleases(context, bench, suite);
    await measureAdvances(context, bench);
    context.add({
      id: 'broker-resident',
      title: 'resident memory of a process with a broker and its asker, after that',
      value: process.memoryUsage.rss(),
      unit: 'bytes',
    });
  } finally {
    await bench.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function measureReleases(context: PartContext, bench: BrokerBench, suite: EnvelopeSuite): Promise<void> {
  await inTurns(await prepared(20, () => bench.releaseRequest(suite)), (body) => bench.post('/v1/release', body));
  const requests = await prepared(releases, () => bench.releaseRequest(suite));
  const took = await timed(() => inTurns(requests, (body) => bench.post('/v1/release', body)));
  context.add({
    id: `broker-release-${suite}`,
    title: `attested releases, TPM evidence verified, ${suite}, SQLite, ${atOnce} at once`,
    value: releases / took.seconds,
    unit: 'op/s',
    note: processorNote(took, releases),
  });
}

async function measureAdvances(context: PartContext, bench: BrokerBench): Promise<void> {
  const session = await bench.openSession();
  const requests = Array.from({ length: advances }, (_, index) => bench.advanceRequest(session, index));
  const took = await timed(() => inTurns(requests, ({ body, headers }) => bench.post(advancePath, body, headers)));
  context.add({
    id: 'broker-advance',
    title: `anchor advances, one a request, SQLite, ${atOnce} at once`,
    value: advances / took.seconds,
    unit: 'op/s',
    note: processorNote(took, advances),
  });
}

const advancePath = '/v1/anchors/advance';

interface BenchSession {
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
}

class BrokerBench {
  readonly #app: Hono;
  readonly #brokerId: Uint8Array;
  readonly #closeDatabase: () => Promise<void>;

  private constructor(app: Hono, brokerId: Uint8Array, closeDatabase: () => Promise<void>) {
    this.#app = app;
    this.#brokerId = brokerId;
    this.#closeDatabase = closeDatabase;
  }

  static async open(folder: string): Promise<BrokerBench> {
    const database = await openSqliteDatabase({ file: path.join(folder, 'broker.sqlite') });
    // The certificates of the made-up TPM are good for a few days of one year.
    const clock = { ...patientClock, wall: () => now };
    const content = systemRandom.bytes(32);
    const masterKey = createKeyFileSource({ content, random: systemRandom });
    const { keys, first } = await openBrokerKeys(database, masterKey, systemRandom, now);
    const { app } = createBroker({
      ...{ version: 'bench', database, keys, clock, random: systemRandom, peers: undefined },
      ...{ verifiers: new Map([['tpm', verifier]]), collateral: emptyContext.collateral },
      extraRoots: fakeTpmEvidence().context.extraRoots,
      ...{ addressLimit: freely, tenantLimit: freely, onAnswer: () => undefined },
    });
    const bench = new BrokerBench(app as unknown as Hono, keys.brokerId, () => database.close());
    const headers = { authorization: `Bearer ${first?.adminToken ?? ''}` };
    const admin = (operation: string, request: object): Promise<unknown> =>
      bench.post(`/v1/admin/${operation}`, JSON.stringify(request), headers);
    await admin('tenant-add', { tenant: 'acme' });
    await admin('policy-put', { tenant: 'acme', name: 'main', text: policy });
    await admin('key-create', { tenant: 'acme', key: 'data', policy: 'main' });
    return bench;
  }

  async close(): Promise<void> {
    await this.#closeDatabase();
  }

  async post(place: string, body: string, headers: Record<string, string> = {}): Promise<Record<string, unknown>> {
    const response = await this.#app.request(place, { method: 'POST', body, headers }, {});
    const answer = (await response.json()) as Record<string, unknown>;
    if (response.status !== 200) throw new Error(`${place} answered ${response.status}: ${JSON.stringify(answer)}`);
    return answer;
  }

  async releaseRequest(suite: EnvelopeSuite): Promise<string> {
    return (await this.#makeRelease(suite)).body;
  }

  async openSession(): Promise<BenchSession> {
    const { body, open } = await this.#makeRelease('x25519', true);
    return open(await this.post('/v1/release', body));
  }

  advanceRequest({ id, secret }: BenchSession, index: number): { body: string; headers: Record<string, string> } {
    const volumeId = new Uint8Array(16).fill(index % atOnce);
    const body = JSON.stringify({
      states: [
        {
          ...{ volumeId: toHex(volumeId), epoch: 1, manifestNumber: 1, manifestDigest: '11'.repeat(32) },
          ...{ sequence: index, chain: '22'.repeat(16) },
        },
      ],
    });
    const counter = index + 1;
    const bytes = new TextEncoder().encode(body);
    const mac = requestMac(secret, { id, counter, method: 'POST', path: advancePath, body: bytes });
    const headers = { 'caisson-session': toHex(id), 'caisson-counter': String(counter), 'caisson-mac': toHex(mac) };
    return { body, headers };
  }

  async #makeRelease(suite: EnvelopeSuite, wantsAnchors = false) {
    const challenge = await this.post('/v1/challenge', '{"tenant":"acme","technology":"tpm"}');
    const recipient = await generateRecipient(suite);
    const sessionKey = signingKeyFromSeed(systemRandom.bytes(32));
    const nonce = fromHex(String(challenge['nonce']), 32) ?? new Uint8Array(32);
    const keys = {
      ...{ purpose: 'release', nonce, suite },
      ...{ recipientPublicKey: recipient.publicKey, sessionPublicKey: sessionKey.publicKey },
    };
    const extraData = carriedReportData('tpm', reportDataOf(keys));
    const made = fakeTpmEvidence({ attest: { extraData } });
    const { activation: _unbound, ekCertificate: _none, ...parts } = made.evidence.parts;
    const evidence = { technology: 'tpm', parts: { ...parts, akCertificate: made.parts['akCertificate']! } } as const;
    const anchors = wantsAnchors ? ({ anchors: true } as const) : {};
    const statement = {
      ...keys,
      ...{ tenant: 'acme', keyName: 'data', brokerId: this.#brokerId },
      ...{ evidenceDigest: evidenceDigestOf(evidence), bodyDigest: releaseBodyDigest(anchors) },
    };
    const body = JSON.stringify({
      ...{ tenant: 'acme', key: 'data', nonce: toHex(nonce), suite, ...anchors },
      evidence: { technology: 'tpm', parts: mapValues(evidence.parts, toBase64) },
      recipientPublicKey: toBase64(recipient.publicKey),
      sessionPublicKey: toHex(sessionKey.publicKey),
      signature: toHex(signRequest(sessionKey, statement)),
    });
    const open = async (answer: Record<string, unknown>): Promise<BenchSession> => {
      const sealed = answer['envelope'] as Record<string, string>;
      const bytes = (name: string): Uint8Array => Uint8Array.from(Buffer.from(sealed[name] ?? '', 'base64'));
      const signature = fromHex(sealed['signature'] ?? '', 64) ?? new Uint8Array(64);
      const envelope = { suite, encapsulated: bytes('encapsulated'), ciphertext: bytes('ciphertext'), signature };
      const publicKey = fromHex(String(answer['brokerPublicKey']), 32) ?? new Uint8Array(32);
      const plain = await recipient.open(envelope, statement, publicKey);
      const { session } = JSON.parse(new TextDecoder().decode(plain)) as { session: { id: string; secret: string } };
      return {
        id: fromHex(session.id, 16) ?? new Uint8Array(16),
        secret: Uint8Array.from(Buffer.from(session.secret, 'base64')),
      };
    };
    return { body, open };
  }
}

const policy = `caisson-policy: 1
name: main
profiles:
  main:
    technology: tpm
    rules: {tpm.binding: ak-certificate}
    waive: {tpm.manufacturer: benchmark, tpm.pcr.sha256.0: benchmark, tpm.pcr.sha256.4: benchmark, tpm.pcr.sha256.7: benchmark}
release: {may-advance-anchor: true}
`;

async function prepared<Value>(count: number, make: () => Promise<Value>): Promise<Value[]> {
  const made: Value[] = [];
  for (let index = 0; index < count; index++) made.push(await make());
  return made;
}

async function inTurns<Value>(values: readonly Value[], work: (value: Value) => Promise<unknown>): Promise<void> {
  const left = values.values();
  const worker = async (): Promise<void> => {
    for (const value of left) await work(value);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

interface Timed {
  readonly seconds: number;
  /** Of all threads of this process. */
  readonly processorSeconds: number;
}

async function timed(work: () => Promise<unknown>): Promise<Timed> {
  const begun = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { seconds: (performance.now() - begun) / 1000, processorSeconds: (user + system) / 1e6 };
}

/** On a machine with other work the rate says little, and this much more. */
function processorNote({ processorSeconds }: Timed, count: number): string {
  return `${((processorSeconds / count) * 1000).toFixed(2)} ms of processor time each`;
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function mapValues<From, To>(values: Readonly<Record<string, From>>, change: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));
}
