/**
 * A workload with a TPM that asks a broker for keys and advances anchors, as the wire has it; how its requests reach the broker
 * is given. Evidence is really signed, and each is of a machine that the broker has not seen before.
 */
import { signingKeyFromSeed } from '../src/crypto/signature.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { fromHex, toHex } from '../src/lib/hex.ts';
import { generateRecipient } from '../src/wire/envelope.ts';
import type { EnvelopeSuite } from '../src/wire/envelope-suites.ts';
import { releaseBodyDigest } from '../src/wire/release-body.ts';
import { carriedReportData, reportDataOf } from '../src/wire/report-data.ts';
import { evidenceDigestOf, signRequest } from '../src/wire/request-statement.ts';
import { requestMac } from '../src/wire/session-mac.ts';
import { dates, fakeTpmEvidence } from '../test/support/fake-tpm-evidence.ts';

/** Fails unless the broker answers with success. */
export type Post = (place: string, body: string, headers?: Record<string, string>) => Promise<Record<string, unknown>>;

export interface AskerSession {
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
  /** Of the last request. */
  counter: number;
}

export interface SessionRequest {
  readonly body: string;
  readonly headers: Record<string, string>;
}

export const releasePath = '/v1/release';
export const advancePath = '/v1/anchors/advance';

const volumes = 64;
const policy = `caisson-policy: 1
name: main
profiles:
  main:
    technology: tpm
    rules: {tpm.binding: ak-certificate}
    waive: {tpm.manufacturer: benchmark, tpm.pcr.sha256.0: benchmark, tpm.pcr.sha256.4: benchmark, tpm.pcr.sha256.7: benchmark}
release: {may-advance-anchor: true}
`;

/** A tenant with a policy and a key, which is what askers ask for. */
export async function setUpBroker(post: Post, adminToken: string): Promise<void> {
  const headers = { authorization: `Bearer ${adminToken}` };
  const admin = (operation: string, request: object): Promise<unknown> =>
    post(`/v1/admin/${operation}`, JSON.stringify(request), headers);
  await admin('tenant-add', { tenant: 'acme' });
  await admin('policy-put', { tenant: 'acme', name: 'main', text: policy });
  await admin('key-create', { tenant: 'acme', key: 'data', policy: 'main' });
}

export class BrokerAsker {
  readonly #post: Post;
  readonly #brokerId: Uint8Array;
  readonly #dates: typeof dates;

  /** `valid`: the dates of the certificates that are shown. */
  constructor(post: Post, brokerId: Uint8Array, valid = dates) {
    this.#post = post;
    this.#brokerId = brokerId;
    this.#dates = valid;
  }

  async releaseRequest(suite: EnvelopeSuite): Promise<string> {
    return (await this.#makeRelease(suite)).body;
  }

  async openSession(): Promise<AskerSession> {
    const { body, open } = await this.#makeRelease('x25519', true);
    return open(await this.#post(releasePath, body));
  }

  advanceRequest(session: AskerSession): SessionRequest {
    const { id, secret } = session;
    const counter = ++session.counter;
    const volumeId = new Uint8Array(16).fill(counter % volumes);
    volumeId.set(id.subarray(0, 8));
    const body = JSON.stringify({
      states: [
        {
          ...{ volumeId: toHex(volumeId), epoch: 1, manifestNumber: 1, manifestDigest: '11'.repeat(32) },
          ...{ sequence: counter, chain: '22'.repeat(16) },
        },
      ],
    });
    const bytes = new TextEncoder().encode(body);
    const mac = requestMac(secret, { id, counter, method: 'POST', path: advancePath, body: bytes });
    return {
      body,
      headers: { 'caisson-session': toHex(id), 'caisson-counter': String(counter), 'caisson-mac': toHex(mac) },
    };
  }

  async #makeRelease(suite: EnvelopeSuite, wantsAnchors = false): Promise<MadeRelease> {
    const challenge = await this.#post('/v1/challenge', '{"tenant":"acme","technology":"tpm"}');
    const recipient = await generateRecipient(suite);
    const sessionKey = signingKeyFromSeed(systemRandom.bytes(32));
    const nonce = fromHex(String(challenge['nonce']), 32) ?? new Uint8Array(32);
    const keys = {
      ...{ purpose: 'release', nonce, suite },
      ...{ recipientPublicKey: recipient.publicKey, sessionPublicKey: sessionKey.publicKey },
    };
    const extraData = carriedReportData('tpm', reportDataOf(keys));
    const made = fakeTpmEvidence({ attest: { extraData }, dates: this.#dates });
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
    const open = async (answer: Record<string, unknown>): Promise<AskerSession> => {
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
        counter: 0,
      };
    };
    return { body, open };
  }
}

interface MadeRelease {
  readonly body: string;
  readonly open: (answer: Record<string, unknown>) => Promise<AskerSession>;
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function mapValues<From, To>(values: Readonly<Record<string, From>>, change: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));
}
