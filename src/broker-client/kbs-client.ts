/**
 * A workload's side of the KBS protocol (spec/kbs.md): challenge, evidence, token, and resources sealed to a key that lives
 * as long as the token.
 *
 * Invariants: nothing is believed but what TLS vouches for; a resource is sealed to a key that only this process has;
 * an ended session is replaced once for a request, then the error is told; each exchange ends within its time.
 */
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { EvidenceSource } from '../attester/evidence-source.ts';
import { brokerAnswerMillisecondsMax } from '../lib/broker-limits.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { evidenceToKbs, sentTechnologies } from '../wire/kbs/evidence.ts';
import { openJwe } from '../wire/kbs/jwe.ts';
import type { TeePublicKey } from '../wire/kbs/jwe.ts';
import {
  kbsAnswerBytesMax,
  kbsAnswerDepthMax,
  kbsAttested,
  kbsChallenge,
  kbsErrorTypes,
  kbsJwe,
  kbsRefusal,
  kbsSecretBytes,
} from '../wire/kbs/kbs-schema.ts';
import { kbsReportData } from '../wire/kbs/runtime-data.ts';
import { parseRequestJson } from '../wire/request-json.ts';
import { HttpsRequests, untrusted } from './https-requests.ts';
import type { BrokerResponse, BrokerTrust } from './https-requests.ts';
import type { z } from 'zod';

export interface KbsClientOptions {
  readonly url: string;
  readonly trust: BrokerTrust;
  readonly source: () => Promise<EvidenceSource>;
  readonly clock: Clock;
}

interface Attested {
  readonly token: string;
  readonly privateKey: KeyObject;
}

const prefix = '/kbs/v0';
const version = '0.4.0';
const hash = 'sha384';
const cookiePattern = /^(kbs-session-id=[\x21-\x3a\x3c-\x7e]{1,256})(?:;|$)/;
const detailCharactersMax = 300;
const noBody = new Uint8Array(0);

export class KbsClient {
  readonly #options: KbsClientOptions;
  readonly #requests: HttpsRequests;
  #attested: Promise<Attested> | undefined;

  constructor(options: KbsClientOptions) {
    this.#options = options;
    this.#requests = new HttpsRequests(options.url, options.trust);
  }

  get url(): string {
    return this.#requests.url;
  }

  /** The secret at `repository/type/tag`; it belongs to the caller. */
  async resource(path: string): Promise<Uint8Array> {
    const shaken = this.#attest();
    const attested = await shaken;
    try {
      return await this.#fetch(attested, path);
    } catch (error) {
      if (!isEnded(error)) throw error;
      // Tokens end, a KBS that was started anew knows none, and one that denies may want newer evidence.
      if (this.#attested === shaken) this.#attested = undefined;
      return this.#fetch(await this.#attest(), path);
    }
  }

  close(): void {
    this.#attested = undefined;
    this.#requests.close();
  }

  /** Whoever asks meanwhile waits for the same evidence; what failed is tried anew by the next. */
  #attest(): Promise<Attested> {
    if (this.#attested !== undefined) return this.#attested;
    const pending = this.#shake();
    this.#attested = pending;
    pending.catch(() => {
      if (this.#attested === pending) this.#attested = undefined;
    });
    return pending;
  }

  async #fetch({ token, privateKey }: Attested, path: string): Promise<Uint8Array> {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await this.#ask('GET', `${prefix}/resource/${path}`, noBody, headers);
    const secret = openJwe(this.#read(kbsJwe, answer), privateKey);
    if (secret.length >= kbsSecretBytes.min && secret.length <= kbsSecretBytes.max) return secret;
    const length = secret.length;
    secret.fill(0);
    throw new CaissonError(
      'invalid',
      'broker-refused',
      `the resource ${path} at ${this.url} has ${length} bytes: that is no secret for a volume`,
      { remedy: `Put a random secret of ${kbsSecretBytes.min} to ${kbsSecretBytes.max} bytes there, best 32.` },
    );
  }

  async #shake(): Promise<Attested> {
    const source = await this.#options.source();
    const { technology } = source;
    if (!sentTechnologies.includes(technology)) {
      throw new CaissonError('invalid', 'unsupported', `evidence of ${technology} cannot be shown to a KBS from here`, {
        remedy: `Use a machine with ${sentTechnologies.join(', ')}, or a broker of Caisson (broker:…).`,
      });
    }
    const challenged = await this.#ask(
      'POST',
      `${prefix}/auth`,
      encode({ version, tee: technology, 'extra-params': { 'supported-hash-algorithms': [hash] } }),
    );
    const challenge = this.#read(kbsChallenge, challenged);
    this.#checkHash(challenge['extra-params']);
    const cookie = this.#cookieOf(challenged);
    const { privateKey, jwk } = newKey();
    const runtimeData = { nonce: challenge.nonce, 'tee-pubkey': jwk };
    const evidence = await source.gather(kbsReportData(technology, runtimeData, ''));
    const body = encode({
      'init-data': null,
      'runtime-data': runtimeData,
      'tee-evidence': { primary_evidence: evidenceToKbs(evidence), additional_evidence: '' },
    });
    const { token } = this.#read(kbsAttested, await this.#ask('POST', `${prefix}/attest`, body, { cookie }));
    return { token, privateKey };
  }

  #checkHash(extra: unknown): void {
    const selected =
      typeof extra === 'object' && extra !== null && 'selected-hash-algorithm' in extra
        ? extra['selected-hash-algorithm']
        : hash;
    if (selected === hash) return;
    throw new CaissonError('invalid', 'unsupported', `the KBS at ${this.url} wants another hash than ${hash}`, {
      remedy: 'Have it choose sha384, which every release of the protocol has.',
    });
  }

  #cookieOf({ headers }: BrokerResponse): string {
    const [, cookie] = (headers['set-cookie'] ?? []).map((text) => cookiePattern.exec(text)).find(Boolean) ?? [];
    if (cookie !== undefined) return cookie;
    throw untrusted(this.url, 'its challenge comes without the cookie kbs-session-id');
  }

  /** Within its time as a whole: an answer that trickles is none. */
  async #ask(
    method: 'GET' | 'POST',
    path: string,
    body: Uint8Array,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<BrokerResponse> {
    const cancel = this.#options.clock.after(brokerAnswerMillisecondsMax, () => this.#requests.close());
    try {
      return await this.#requests.ask(method, path, body, headers);
    } finally {
      cancel();
    }
  }

  #read<Schema extends z.ZodType>(schema: Schema, { status, body }: BrokerResponse): z.output<Schema> {
    let value: unknown;
    try {
      value = parseRequestJson(body, 'the answer', { bytesMax: kbsAnswerBytesMax, depthMax: kbsAnswerDepthMax });
    } catch (cause) {
      if (isPassing(status)) throw this.#refusal(status, '', 'it says nothing more');
      throw untrusted(this.url, `it answered ${status} with something that no KBS says`, cause);
    }
    const parsed = schema.safeParse(value);
    if (status === 200 && parsed.success) return parsed.data;
    if (status === 200)
      throw untrusted(this.url, 'its answer has another form than version 0.4.0 of the protocol says');
    const refusal = kbsRefusal.safeParse(value);
    if (refusal.success) throw this.#refusal(status, refusal.data.type, refusal.data.detail);
    if (isPassing(status)) throw this.#refusal(status, '', 'it says nothing more');
    throw untrusted(this.url, `it answered ${status} without an error that a KBS knows`);
  }

  #refusal(status: number, type: string, detail: string): CaissonError {
    const name = type.startsWith(`${kbsErrorTypes}/`) ? type.substring(kbsErrorTypes.length + 1) : type;
    // Written by somebody else, for a terminal of ours.
    const plain = `${name === '' ? '' : `${name}: `}${detail}`.replaceAll(/\p{C}+/gu, ' ');
    const shown = plain.substring(0, detailCharactersMax);
    return new CaissonError(
      isPassing(status) ? 'transient' : 'denied',
      'broker-refused',
      `the KBS at ${this.url} refuses (${status}): ${shown}`,
      {
        remedy: 'Check the path of the resource and the policy of the KBS; its log says more.',
        details: { url: this.url, status, type: name.substring(0, detailCharactersMax) },
      },
    );
  }
}

function newKey(): { readonly privateKey: KeyObject; readonly jwk: TeePublicKey } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  return { privateKey, jwk: { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x, y } };
}

function isEnded(error: unknown): boolean {
  return isCaissonError(error, 'broker-refused') && error.details['status'] === 401;
}

function isPassing(status: number): boolean {
  return status === 429 || status >= 500;
}

function encode(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
