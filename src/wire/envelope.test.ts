/** Every vector of test/vectors/envelope/ reaches what it expects, and what one key seals only that key opens. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { signingKeyFromSeed } from '../crypto/signature.ts';
import { systemRandom } from '../crypto/random.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { ErrorCode } from '../lib/errors.ts';
import { generateRecipient, recipientFromPrivateKey, sealEnvelope } from './envelope.ts';
import type { Envelope } from './envelope.ts';
import { envelopeSuiteDefault, envelopeSuites, suiteTable } from './envelope-suites.ts';
import type { EnvelopeSuite } from './envelope-suites.ts';
import { carriedReportData, checkReportData, nonceBytes, reportDataBytes, reportDataOf } from './report-data.ts';
import {
  brokerIdFromPublicKey,
  checkRequestSignature,
  evidenceDigestOf,
  requestDigest,
  signRequest,
} from './request-statement.ts';
import type { RequestStatement } from './request-statement.ts';

const folder = new URL('../../test/vectors/envelope/', import.meta.url);

interface Vector {
  readonly comment: string;
  readonly expect: 'opens' | 'proof-invalid' | 'request-refused' | 'broker-untrusted';
  readonly statement: Readonly<Record<string, string>>;
  readonly reportData: string;
  readonly requestDigest: string;
  readonly requestSignature: string;
  readonly recipientPrivateKey: string;
  readonly brokerPublicKey: string;
  readonly envelope: Readonly<Record<'encapsulated' | 'ciphertext' | 'signature', string>> & {
    readonly suite: EnvelopeSuite;
  };
  readonly plaintext: string;
}

describe('envelope vectors', () => {
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
    it(name, async () => {
      const vector = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Vector;
      const statement = statementOf(vector);
      if (vector.expect === 'proof-invalid') return throws(() => requestDigest(statement), 'proof-invalid');
      const check = (): void => checkRequestSignature(statement, bytes(vector.requestSignature));
      if (vector.expect === 'request-refused') {
        throws(check, 'proof-invalid');
        // Where the statement is another one, so is the request that the answer belongs to.
        const isSame = hex(requestDigest(statement)) === vector.requestDigest;
        if (!isSame || vector.comment.includes('label'))
          return await rejects(open(vector, statement), 'broker-untrusted');
        assert.equal(hex(await open(vector, statement)), vector.plaintext);
        return;
      }
      check();
      assert.equal(hex(reportDataOf(statement)), vector.reportData);
      assert.equal(hex(requestDigest(statement)), vector.requestDigest);
      if (vector.expect === 'broker-untrusted') return await rejects(open(vector, statement), 'broker-untrusted');
      assert.equal(hex(await open(vector, statement)), vector.plaintext);
    });
  }
});

describe('an envelope', () => {
  for (const suite of envelopeSuites) {
    it(`of ${suite} is opened by its recipient alone`, async () => {
      const { statement, recipient, brokerKey } = await request(suite);
      const other = await request(suite);
      const plaintext = systemRandom.bytes(80);
      const envelope = await sealEnvelope(plaintext, statement, brokerKey);
      assert.equal(recipient.publicKey.length, suiteTable[suite].publicKeyBytes);
      assert.equal(envelope.encapsulated.length, suiteTable[suite].encapsulatedBytes);
      assert.deepEqual(await recipient.open(envelope, statement, brokerKey.publicKey), plaintext);
      await rejects(other.recipient.open(envelope, statement, brokerKey.publicKey), 'broker-untrusted');
    });

    it(`of ${suite} refuses a recipient public key that is none`, async () => {
      const { statement, brokerKey } = await request(suite);
      const recipientPublicKey = new Uint8Array(suiteTable[suite].publicKeyBytes);
      await rejects(sealEnvelope(new Uint8Array(1), { ...statement, recipientPublicKey }, brokerKey), 'proof-invalid');
    });
  }

  it('of another suite than the request is refused', async () => {
    const { statement, recipient, brokerKey } = await request('x25519');
    const envelope = await sealEnvelope(new Uint8Array(1), statement, brokerKey);
    await rejects(recipient.open({ ...envelope, suite: 'p256' }, statement, brokerKey.publicKey), 'broker-untrusted');
  });

  it('is refused under a broker public key of another length', async () => {
    const { statement, recipient, brokerKey } = await request('x25519');
    const envelope = await sealEnvelope(new Uint8Array(1), statement, brokerKey);
    await rejects(recipient.open(envelope, statement, brokerKey.publicKey.subarray(1)), 'broker-untrusted');
  });

  it('holds 65,536 bytes and no more', async () => {
    const { statement, recipient, brokerKey } = await request('x25519');
    const plaintext = new Uint8Array(65_536).fill(7);
    const envelope = await sealEnvelope(plaintext, statement, brokerKey);
    assert.deepEqual(await recipient.open(envelope, statement, brokerKey.publicKey), plaintext);
    await rejects(sealEnvelope(new Uint8Array(65_537), statement, brokerKey), 'assertion-failed');
  });

  it('is hybrid unless told otherwise', () => assert.equal(envelopeSuiteDefault, 'mlkem768-x25519'));
});

describe('report data', () => {
  it('differs with each of its inputs', async () => {
    const { statement } = await request('x25519');
    const other = await request('x25519');
    const variants: RequestStatement[] = [
      statement,
      { ...statement, purpose: 'releas' },
      { ...statement, nonce: new Uint8Array(nonceBytes) },
      { ...statement, recipientPublicKey: other.statement.recipientPublicKey },
      { ...statement, sessionPublicKey: other.statement.sessionPublicKey },
    ];
    assert.equal(new Set(variants.map((keys) => hex(reportDataOf(keys)))).size, variants.length);
    assert.ok(variants.every((keys) => reportDataOf(keys).length === reportDataBytes));
  });

  it('is carried whole, by a TPM as its SHA-256, and compared whole', async () => {
    const reportData = reportDataOf((await request('x25519')).statement);
    for (const technology of ['sgx', 'tdx', 'snp', 'cca', 'nitro'] as const) {
      checkReportData(technology, reportData, reportData);
      throws(() => checkReportData(technology, reportData.subarray(0, 32), reportData), 'proof-invalid');
    }
    for (const technology of ['tpm', 'az-snp-vtpm', 'az-tdx-vtpm'] as const) {
      const carried = carriedReportData(technology, reportData);
      assert.equal(carried.length, 32);
      checkReportData(technology, carried, reportData);
      throws(() => checkReportData(technology, reportData, reportData), 'proof-invalid');
      throws(() => checkReportData(technology, new Uint8Array([...carried, 0]), reportData), 'proof-invalid');
    }
  });

  it('refuses keys of another length and unknown suites', async () => {
    const { statement } = await request('x25519');
    const wrong: Partial<RequestStatement>[] = [
      { nonce: new Uint8Array(31) },
      { recipientPublicKey: new Uint8Array(33) },
      { sessionPublicKey: new Uint8Array(31) },
      { suite: 'constructor' as EnvelopeSuite },
      { purpose: '' },
    ];
    for (const part of wrong) throws(() => reportDataOf({ ...statement, ...part }), 'proof-invalid');
  });
});

describe('an evidence digest', () => {
  it('knows technology, names and bytes, and not the order of members', () => {
    const digest = (technology: 'snp' | 'tdx', parts: Record<string, Uint8Array>): string =>
      hex(evidenceDigestOf({ technology, parts }));
    const one = Uint8Array.of(1);
    const two = Uint8Array.of(2);
    assert.equal(digest('snp', { a: one, b: two }), digest('snp', { b: two, a: one }));
    const different = [
      digest('snp', { a: one, b: two }),
      digest('tdx', { a: one, b: two }),
      digest('snp', { a: two, b: one }),
      digest('snp', { a: one }),
      digest('snp', { ab: one, c: two }),
    ];
    assert.equal(new Set(different).size, different.length);
  });
});

async function request(suite: EnvelopeSuite) {
  const recipient = await generateRecipient(suite);
  const sessionKey = signingKeyFromSeed(systemRandom.bytes(32));
  const brokerKey = signingKeyFromSeed(systemRandom.bytes(32));
  const statement: RequestStatement = {
    purpose: 'release',
    brokerId: brokerIdFromPublicKey(brokerKey.publicKey),
    tenant: 'acme',
    keyName: 'database',
    nonce: systemRandom.bytes(nonceBytes),
    suite,
    recipientPublicKey: recipient.publicKey,
    sessionPublicKey: sessionKey.publicKey,
    evidenceDigest: systemRandom.bytes(32),
    bodyDigest: systemRandom.bytes(32),
  };
  checkRequestSignature(statement, signRequest(sessionKey, statement));
  return { statement, recipient, brokerKey };
}

function statementOf({ statement }: Vector): RequestStatement {
  return {
    purpose: statement['purpose']!,
    brokerId: bytes(statement['brokerId']!),
    tenant: statement['tenant']!,
    keyName: statement['keyName']!,
    nonce: bytes(statement['nonce']!),
    suite: statement['suite'] as EnvelopeSuite,
    recipientPublicKey: bytes(statement['recipientPublicKey']!),
    sessionPublicKey: bytes(statement['sessionPublicKey']!),
    evidenceDigest: bytes(statement['evidenceDigest']!),
    bodyDigest: bytes(statement['bodyDigest']!),
  };
}

async function open(vector: Vector, statement: RequestStatement): Promise<Uint8Array> {
  const { suite } = vector.envelope;
  const envelope: Envelope = {
    suite,
    encapsulated: bytes(vector.envelope.encapsulated),
    ciphertext: bytes(vector.envelope.ciphertext),
    signature: bytes(vector.envelope.signature),
  };
  const publicKey = (await recipientKeys(vector)) ?? statement.recipientPublicKey;
  const recipient = await recipientFromPrivateKey(suite, bytes(vector.recipientPrivateKey), publicKey);
  return await recipient.open(envelope, statement, bytes(vector.brokerPublicKey));
}

/** The statement of one vector names another key than the recipient has. */
async function recipientKeys(vector: Vector): Promise<Uint8Array | undefined> {
  if (!vector.comment.includes('recipientPublicKey')) return undefined;
  const right = JSON.parse(readFileSync(new URL(`${vector.envelope.suite}.json`, folder), 'utf8')) as Vector;
  return bytes(right.statement['recipientPublicKey']!);
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString('hex');
}

function throws(action: () => unknown, code: ErrorCode): void {
  assert.throws(action, (error) => isCaissonError(error, code));
}

async function rejects(action: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(action, (error) => isCaissonError(error, code));
}
