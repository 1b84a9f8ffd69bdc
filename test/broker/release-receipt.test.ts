/** A key is not used before its release is proved to be in the log; what a broker that lies may answer instead. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { checkReceipt } from '../../src/broker-client/release-receipt.ts';
import type { ExpectedLine } from '../../src/broker-client/release-receipt.ts';
import type { BrokerClient } from '../../src/broker-client/broker-client.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { toHex } from '../../src/lib/hex.ts';
import { encodeInclusionProof } from '../../src/wire/log-proof.ts';
import { hashLeaf } from '../../src/wire/merkle.ts';
import { encodeLeaf, isHeadSignedBy, logIdOf, signHead } from '../../src/wire/release-log.ts';
import type { LogEntry } from '../../src/wire/release-log.ts';
import { rejects } from '../conformance/store.ts';
import { logKey, otherLogKey } from '../support/log-file.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { fakeSource, refusalOf, startTestBroker } from '../support/test-broker.ts';
import type { TestBroker } from '../support/test-broker.ts';

describe('a receipt', () => {
  const request = new Uint8Array(32).fill(7);
  const line: ExpectedLine = { kind: 'release', index: 0, tenant: 'acme', request, facts: { key: 'data' } };
  const right: LogEntry = { kind: 'release', at: 1, tenant: 'acme', facts: { key: 'data', request: toHex(request) } };

  /** Of a log with this one line. */
  const proofOf = (changes: Partial<LogEntry> = {}, key = logKey): Uint8Array => {
    const leaf = encodeLeaf({ ...right, ...changes }, 0);
    return encodeInclusionProof(key.publicKey, signHead(key, 1, hashLeaf(leaf), 5), leaf, []);
  };
  const check = (proof: Uint8Array): unknown => checkReceipt(proof, logKey.publicKey, line, 'https://broker');

  it('is of the line that was asked for, in the log of the broker', () => {
    assert.equal((check(proofOf()) as { size: number }).size, 1);
  });

  for (const [what, proof] of [
    ['of another kind', proofOf({ kind: 'refusal' })],
    ['of another tenant', proofOf({ tenant: 'other' })],
    ['about another request', proofOf({ facts: { ...right.facts, request: '00'.repeat(32) } })],
    ['about another key', proofOf({ facts: { ...right.facts, key: 'more' } })],
    ['without the request', proofOf({ facts: { key: 'data' } })],
    ['of another log', proofOf({}, otherLogKey)],
    ['that is none', new TextEncoder().encode('{"format":"caisson-log-inclusion-1"}')],
    ['that was cut off', proofOf().subarray(0, 100)],
  ] as const) {
    it(`is refused where it is ${what}`, () => {
      assert.throws(() => check(proof), { code: 'broker-untrusted', kind: 'integrity' });
    });
  }

  it('is refused where the line stands elsewhere than the answer said', () => {
    const elsewhere = { ...line, index: 1 };
    assert.throws(() => checkReceipt(proofOf(), logKey.publicKey, elsewhere, 'https://broker'), {
      code: 'broker-untrusted',
    });
  });
});

describe('a workload', () => {
  const database = new MemoryBrokerDatabase();
  let broker: TestBroker;
  let client: BrokerClient;
  const logNodes = database.logNodes.bind(database);
  const logLeaves = database.logLeaves.bind(database);
  before(async () => {
    broker = await startTestBroker({ database });
    client = broker.client();
  });
  after(async () => {
    client.close();
    await broker.close();
  });
  const release = (source = fakeSource()): ReturnType<BrokerClient['release']> =>
    client.release({ tenant: 'acme', key: 'data' }, source);

  it('has the head that the broker signed over the log with its line', async () => {
    const { head, logIndex, brokerId } = await release();
    assert.ok(head.size > logIndex);
    const publicKey = (await answerOf('/v1/challenge', { tenant: 'acme', technology: 'tpm' }))['brokerPublicKey'];
    const key = Uint8Array.from(Buffer.from(String(publicKey), 'hex'));
    assert.ok(isHeadSignedBy(key, head));
    assert.deepEqual(head.logId, logIdOf(key));
    assert.equal(brokerId.length, 32);
  });

  it('gets no key from a broker whose log has another line there', async () => {
    database.logLeaves = async (from, count) => {
      const leaves = await logLeaves(from, count);
      const entry = { ...database.entries[from]!, facts: { ...database.entries[from]!.facts, key: 'innocent' } };
      return leaves.map(({ index }) => ({ index, bytes: encodeLeaf(entry as LogEntry, index) }));
    };
    await rejects(
      release().finally(() => (database.logLeaves = logLeaves)),
      'broker-untrusted',
    );
  });

  it('gets no key from a broker that cannot prove the line', async () => {
    database.logNodes = async (ids) => (await logNodes(ids)).map((hash) => hash.map((byte) => byte ^ 1));
    await rejects(
      release().finally(() => (database.logNodes = logNodes)),
      'broker-untrusted',
    );
    database.logLeaves = async () => [];
    await rejects(
      release().finally(() => (database.logLeaves = logLeaves)),
      'name-missing',
    );
  });

  it('is told of a refusal whether the log proves it', async () => {
    const refused = await refusalOf(release(fakeSource(3)), 'policy-refused');
    assert.equal(refused.details['logProof'], 'holds');
    assert.equal(database.entries[Number(refused.details['logIndex'])]?.kind, 'refusal');
    database.logNodes = async (ids) => (await logNodes(ids)).map(() => new Uint8Array(32));
    const unproved = await refusalOf(
      release(fakeSource(3)).finally(() => (database.logNodes = logNodes)),
      'policy-refused',
    );
    assert.equal(unproved.details['logProof'], 'missing');
    // Before the evidence is known to be of this request, its line cannot name the request.
    const forged = await refusalOf(release(fakeSource(7, { signature: Uint8Array.of(1) })), 'evidence-untrusted');
    assert.equal(forged.details['logProof'], 'missing');
  });

  it('is the only one that can ask for its line', async () => {
    const { logIndex } = await release();
    const other = { index: logIndex, request: '00'.repeat(32) };
    const { error } = (await answerOf('/v1/log/receipt', other)) as { error: { code: string } };
    assert.equal(error.code, 'name-missing');
    // A line that is about no request, asked for by what such a line does not have.
    const none = (await answerOf('/v1/log/receipt', { ...other, index: 0 })) as { error: { code: string } };
    assert.equal(none.error.code, 'name-missing');
    const beyond = (await answerOf('/v1/log/receipt', { ...other, index: 10_000 })) as { error: { code: string } };
    assert.equal(beyond.error.code, 'name-missing');
  });

  it('shares signed heads with who asks before the log grows', async () => {
    const clock = { ...patientClock, wall: () => 1_790_000_000_000 };
    const still = await startTestBroker({ database: new MemoryBrokerDatabase(), clock });
    const head = async (): Promise<string> => (await still.broker.app.request('/v1/log/head', {}, {})).text();
    const one = await head();
    assert.equal(await head(), one);
    await still.admin('tenant-add', { tenant: 'second' });
    assert.notEqual(await head(), one);
    await still.close();
  });

  const answerOf = async (path: string, body: object): Promise<Record<string, unknown>> => {
    const response = await broker.broker.app.request(path, { method: 'POST', body: JSON.stringify(body) }, {});
    return (await response.json()) as Record<string, unknown>;
  };
});
