/**
 * A workload's side of the broker API (spec/broker-api.md, spec/broker-http.md): challenge, evidence,
 * release, and requests under the session that a release opens.
 *
 * Invariants: every request has keys of its own; an answer is believed for the broker's signature or the session's
 * MAC, whatever TLS said; a request is repeated only where that cannot do it twice; no key is given out before the
 * broker has proved that its release is in the log.
 */
import { equalBytes } from '../crypto/digest.ts';
import { signingKeyFromSeed } from '../crypto/signature.ts';
import type { EvidenceSource } from '../attester/evidence-source.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { brokerAttemptsMax, brokerJsonDepthMax, brokerRetryMilliseconds } from '../lib/broker-limits.ts';
import { envelopePlaintextBytesMax } from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';
import { challengeAnswer, releaseAnswer, releasedShape, workloadOperations } from '../wire/broker-schema.ts';
import type { OutageRule } from '../wire/broker-schema.ts';
import { generateRecipient } from '../wire/envelope.ts';
import { envelopeSuiteDefault } from '../wire/envelope-suites.ts';
import type { EnvelopeSuite } from '../wire/envelope-suites.ts';
import { releaseBodyDigest } from '../wire/release-body.ts';
import type { ReleaseBody } from '../wire/release-body.ts';
import { reportDataOf } from '../wire/report-data.ts';
import { brokerIdFromPublicKey, evidenceDigestOf, requestDigest, signRequest } from '../wire/request-statement.ts';
import type { SignedHead } from '../wire/release-log.ts';
import type { RequestStatement } from '../wire/request-statement.ts';
import { parseRequestJson } from '../wire/request-json.ts';
import {
  answerMac,
  requestMac,
  sessionCounterHeader,
  sessionHeader,
  sessionMacBytes,
  sessionMacHeader,
} from '../wire/session-mac.ts';
import { readAnswer } from './answers.ts';
import { HttpsRequests, untrusted } from './https-requests.ts';
import type { BrokerResponse, BrokerTrust } from './https-requests.ts';
import { checkReceipt } from './release-receipt.ts';
import type { ExpectedLine } from './release-receipt.ts';
import type { z } from 'zod';

export interface BrokerClientOptions {
  readonly url: string;
  readonly trust: BrokerTrust;
  /** The broker that is meant; undefined: whichever TLS vouches for. */
  readonly brokerId: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

export interface ReleaseAsk extends ReleaseBody {
  readonly tenant: string;
  readonly key: string;
  readonly suite?: EnvelopeSuite | undefined;
}

export interface Released {
  /** 32 bytes; whoever gets it wipes it. */
  readonly key: Uint8Array;
  readonly keyId: Uint8Array;
  readonly brokerId: Uint8Array;
  readonly created: boolean;
  readonly session: ClientSession;
  readonly outage: OutageRule;
  readonly logIndex: number;
  /** Signed by the broker, of the log that has line `logIndex`. */
  readonly head: SignedHead;
}

export interface ClientSession {
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
  readonly expiresAt: number;
  /** Of the last request. */
  counter: number;
}

export class BrokerClient {
  readonly #options: BrokerClientOptions;
  readonly #requests: HttpsRequests;

  constructor(options: BrokerClientOptions) {
    this.#options = options;
    const isIdKnown = options.brokerId !== undefined && options.trust.authority === undefined;
    this.#requests = new HttpsRequests(options.url, { ...options.trust, isIdKnown });
  }

  get url(): string {
    return this.#requests.url;
  }

  /** The whole way to a key: challenge, evidence, release. */
  async release(ask: ReleaseAsk, source: EvidenceSource): Promise<Released> {
    const { random } = this.#options;
    const { tenant, key: keyName, suite = envelopeSuiteDefault, volumeId, anchors, create } = ask;
    const challenge = await this.#challenge(tenant, source);
    const recipient = await generateRecipient(suite);
    const seed = random.bytes(32);
    const sessionKey = signingKeyFromSeed(seed);
    seed.fill(0);
    const keys = {
      ...{ purpose: 'release', nonce: challenge.nonce, suite },
      ...{ recipientPublicKey: recipient.publicKey, sessionPublicKey: sessionKey.publicKey },
    };
    const evidence = await source.gather(reportDataOf(keys), challenge.credential);
    const statement: RequestStatement = {
      ...keys,
      ...{ tenant, keyName, brokerId: challenge.brokerId },
      evidenceDigest: evidenceDigestOf(evidence),
      bodyDigest: releaseBodyDigest({ volumeId, anchors, create }),
    };
    const body = {
      ...{ tenant, key: keyName, suite, nonce: toHex(challenge.nonce) },
      evidence: {
        technology: evidence.technology,
        parts: Object.fromEntries(Object.entries(evidence.parts).map(([name, bytes]) => [name, toBase64(bytes)])),
      },
      recipientPublicKey: toBase64(recipient.publicKey),
      sessionPublicKey: toHex(sessionKey.publicKey),
      ...(volumeId === undefined ? {} : { volumeId: toHex(volumeId) }),
      ...(anchors === undefined ? {} : { anchors }),
      ...(create === undefined ? {} : { create }),
      signature: toHex(signRequest(sessionKey, statement)),
    };
    // Never repeated: the nonce is taken by whichever try arrives, and the next one is a new release.
    const response = await this.#requests.ask('POST', '/v1/release', encode(body));
    const line = { tenant, request: requestDigest(statement), facts: { key: keyName } };
    const answer = await this.#answerOf(response, challenge.brokerPublicKey, line);
    const plain = await recipient.open(answer.envelope, statement, answer.brokerPublicKey);
    try {
      return await this.#logged(this.#released(plain, challenge.brokerId), challenge.brokerPublicKey, line);
    } finally {
      plain.fill(0);
    }
  }

  /** A request under a session. `session-missing` where it has ended; the caller shows evidence again. */
  async ask<Schema extends z.ZodType>(
    session: ClientSession,
    path: string,
    request: object,
    answer: Schema,
    isRepeatable: boolean,
  ): Promise<z.output<Schema>> {
    const body = encode(request);
    const attempt = async (): Promise<z.output<Schema>> => {
      const counter = ++session.counter;
      const mac = requestMac(session.secret, { id: session.id, counter, method: 'POST', path, body });
      const response = await this.#requests.ask('POST', path, body, {
        [sessionHeader]: toHex(session.id),
        [sessionCounterHeader]: String(counter),
        [sessionMacHeader]: toHex(mac),
      });
      this.#checkMac(session, mac, response);
      return readAnswer(answer, response, this.url);
    };
    return isRepeatable ? this.#repeating(attempt) : attempt();
  }

  close(): void {
    this.#requests.close();
  }

  async #challenge(tenant: string, source: EvidenceSource): Promise<z.output<typeof challengeAnswer>> {
    const prepared = await source.prepare?.();
    const body = {
      ...{ tenant, technology: source.technology },
      ...(prepared === undefined
        ? {}
        : {
            prepare: {
              akPublic: toBase64(prepared.akPublic),
              ...(prepared.ekCertificate === undefined
                ? { ekPublic: toBase64(prepared.ekPublic) }
                : { ekCertificate: toBase64(prepared.ekCertificate) }),
            },
          }),
    };
    const response = await this.#repeating(() => this.#requests.ask('POST', '/v1/challenge', encode(body)));
    const challenge = readAnswer(challengeAnswer, response, this.url);
    const { brokerId = challenge.brokerId } = this.#options;
    const isMeant =
      equalBytes(brokerId, challenge.brokerId) &&
      equalBytes(brokerId, brokerIdFromPublicKey(challenge.brokerPublicKey));
    if (isMeant) return challenge;
    throw untrusted(this.url, `its identity is ${toHex(challenge.brokerId)}, not ${toHex(brokerId)}`);
  }

  /** A refusal is thrown with what its own line proves, `holds` or `missing`: it is a refusal either way. */
  async #answerOf(
    response: BrokerResponse,
    publicKey: Uint8Array,
    line: Omit<ExpectedLine, 'index' | 'kind'>,
  ): Promise<z.output<typeof releaseAnswer>> {
    try {
      return readAnswer(releaseAnswer, response, this.url);
    } catch (error) {
      if (!isCaissonError(error) || typeof error.details['logIndex'] !== 'number') throw error;
      const refusal = { ...line, index: error.details['logIndex'], kind: 'refusal' } as const;
      const logProof = await this.#receipt(publicKey, refusal).then(
        () => 'holds',
        () => 'missing',
      );
      const { remedy, details } = error;
      const options = { ...(remedy === undefined ? {} : { remedy }), details: { ...details, logProof }, cause: error };
      throw new CaissonError(error.kind, error.code, error.message, options);
    }
  }

  /** The key is wiped unless the log has its line. */
  async #logged(
    released: Omit<Released, 'head'>,
    publicKey: Uint8Array,
    line: Omit<ExpectedLine, 'index' | 'kind'>,
  ): Promise<Released> {
    const { logIndex: index, keyId, session } = released;
    const facts = { ...line.facts, keyId: toHex(keyId), session: toHex(session.id) };
    try {
      return { ...released, head: await this.#receipt(publicKey, { ...line, index, kind: 'release', facts }) };
    } catch (error) {
      released.key.fill(0);
      session.secret.fill(0);
      throw error;
    }
  }

  /** Asked apart from the answer, which need not wait for it: the key is not used before. */
  async #receipt(publicKey: Uint8Array, line: ExpectedLine): Promise<SignedHead> {
    const { path, answer } = workloadOperations.logReceipt;
    const body = encode({ index: line.index, request: toHex(line.request) });
    const response = await this.#repeating(async () => {
      const given = await this.#requests.ask('POST', path, body);
      readAnswer(answer, given, this.url);
      return given;
    });
    return checkReceipt(response.body, publicKey, line, this.url);
  }

  #released(plain: Uint8Array, brokerId: Uint8Array): Omit<Released, 'head'> {
    const bounds = { bytesMax: envelopePlaintextBytesMax, depthMax: brokerJsonDepthMax };
    const parsed = releasedShape.safeParse(parseRequestJson(plain, 'the released key', bounds));
    const isWhole = parsed.success && parsed.data.key.length === 32 && parsed.data.session.secret.length === 32;
    if (!isWhole) throw untrusted(this.url, 'the released key has another form than this version of Caisson expects');
    const { session, ...rest } = parsed.data;
    return { ...rest, brokerId, session: { ...session, counter: 0 } };
  }

  /** Without a MAC only what changes nothing is believed: go away, come back, show evidence. */
  #checkMac({ secret }: ClientSession, macOfRequest: Uint8Array, { status, headers, body }: BrokerResponse): void {
    const given = headers[sessionMacHeader];
    const mac = typeof given === 'string' ? fromHex(given, sessionMacBytes) : undefined;
    if (mac === undefined && (status === 401 || status === 429 || status === 503)) return;
    if (mac !== undefined && equalBytes(mac, answerMac(secret, macOfRequest, status, body))) return;
    throw untrusted(this.url, 'its answer is not under the MAC of the session');
  }

  async #repeating<Value>(attempt: () => Promise<Value>): Promise<Value> {
    for (let tried = 1; ; tried++) {
      try {
        return await attempt();
      } catch (error) {
        const isPassing = isCaissonError(error, 'broker-unreachable') || isCaissonError(error, 'rate-limited');
        if (!isPassing || tried === brokerAttemptsMax) throw error;
        await pause(this.#options.clock, brokerRetryMilliseconds * 2 ** tried);
      }
    }
  }
}

function pause(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => void clock.after(milliseconds, resolve));
}

function encode(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** A broker id as people give it. */
export function parseBrokerId(text: string): Uint8Array {
  const id = fromHex(text, 32);
  if (id !== undefined) return id;
  throw new CaissonError('invalid', 'argument-invalid', 'the identity of a broker is 64 hexadecimal digits', {
    remedy: 'Take the broker id that "caisson broker run" prints.',
  });
}
