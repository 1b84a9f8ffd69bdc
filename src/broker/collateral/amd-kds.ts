/**
 * AMD's key distribution service as a source of collateral (spec/attestation-snp.md, "Key distribution service").
 *
 * The service allows an address about one request in ten seconds. So requests go one at a time, the same
 * one for all who want it, with waits in between when it says "too many"; once it was given up, nobody
 * waits for it for a while. An answer is looked at before it may be cached: a VCEK is kept for ever, and
 * the page of some gateway in its place would be too. Whether AMD signed it is for the verifier to see.
 */
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';
import { fromHex, toHex } from '../../lib/hex.ts';
import {
  kdsAttemptsMax,
  kdsBackoffMilliseconds,
  kdsBackoffMillisecondsMax,
  kdsRestMilliseconds,
  kdsWaitingMax,
} from '../../lib/limits.ts';
import type { Collateral, CollateralSource } from '../attest/collateral.ts';
import { parseEndorsementKey } from '../attest/snp/endorsement-key.ts';
import { productFacts, products, tcbBytes, tcbVersion } from '../attest/snp/products.ts';
import type { Product, TcbComponent } from '../attest/snp/products.ts';
import { splitPem } from '../attest/x509/certificates.ts';
import { parseCrl } from '../attest/x509/crl.ts';
import { httpExchange } from './http-source.ts';
import type { HttpOptions } from './http-source.ts';

const amdKdsUrl = 'https://kdsintf.amd.com';

export interface KdsAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: Uint8Array;
}

export interface AmdKdsOptions {
  /** Without a slash at its end. */
  readonly url: string;
  /** One GET, bounded in time and size; throws where there is no answer. */
  readonly ask: (url: string) => Promise<KdsAnswer>;
  readonly clock: Clock;
}

export interface AmdServiceOptions extends HttpOptions {
  /** A cache of one's own that speaks as AMD's service does; AMD's where it is not given. */
  readonly baseUrl?: string;
}

export function amdService({ baseUrl = amdKdsUrl, ...options }: AmdServiceOptions): CollateralSource {
  const ask = async (address: string): Promise<KdsAnswer> => {
    const { status, headers, bytes } = await httpExchange(new URL(address), options);
    return { status, retryAfter: headers['retry-after'], body: bytes };
  };
  return new AmdKds({ url: baseUrl.replace(/\/+$/, ''), ask, clock: options.clock });
}

/** What never changes once it was published: the certificate of one chip at one version. */
export function isImmutableAmdCollateral(name: string): boolean {
  return /^amd\/[a-z]+\/vcek\//.test(name);
}

export class AmdKds implements CollateralSource {
  readonly #options: AmdKdsOptions;
  readonly #asked = new Map<string, Promise<Collateral>>();
  #last: Promise<unknown> = Promise.resolve();
  #restsUntil = -Infinity;

  constructor(options: AmdKdsOptions) {
    this.#options = options;
  }

  async get(name: string): Promise<Collateral> {
    const question = questionOf(name);
    const underWay = this.#asked.get(name);
    if (underWay !== undefined) return await underWay;
    if (this.#asked.size === kdsWaitingMax) throw passing(name, `${kdsWaitingMax} requests wait for it already`);
    const answer = this.#last.then(async () => await this.#askPatiently(name, question));
    this.#last = answer.catch(() => undefined);
    this.#asked.set(name, answer);
    try {
      return await answer;
    } finally {
      this.#asked.delete(name);
    }
  }

  async #askPatiently(name: string, question: Question): Promise<Collateral> {
    const { clock } = this.#options;
    if (clock.monotonic() < this.#restsUntil) throw passing(name, 'it was given up a moment ago');
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#askOnce(name, question);
      if (!('refusal' in outcome)) return outcome;
      if (attempt === kdsAttemptsMax) {
        this.#restsUntil = clock.monotonic() + kdsRestMilliseconds;
        throw outcome.refusal;
      }
      await pause(clock, waitMilliseconds(attempt, outcome.retryAfter));
    }
  }

  /** Throws what asking again cannot change. */
  async #askOnce(name: string, { path, check }: Question): Promise<Collateral | Refusal> {
    const { url, ask, clock } = this.#options;
    let answer: KdsAnswer;
    try {
      answer = await ask(`${url}${path}`);
    } catch (error) {
      if (isCaissonError(error) && error.kind !== 'transient') throw error;
      return { refusal: passing(name, messageOf(error), error), retryAfter: undefined };
    }
    const { status, retryAfter, body } = answer;
    if (status === 200) {
      checkAnswer(name, body, check);
      return { bytes: body, obtainedAt: clock.wall() };
    }
    if (status === 429) return { refusal: passing(name, 'it takes no more requests now'), retryAfter };
    if (status >= 500) return { refusal: passing(name, `it answers ${status}`), retryAfter };
    throw notThere(name, `AMD's key distribution service answers ${status}`);
  }
}

interface Refusal {
  readonly refusal: CaissonError;
  readonly retryAfter: string | undefined;
}

interface Question {
  readonly path: string;
  /** Throws where an answer cannot be what was asked for. */
  readonly check: (bytes: Uint8Array) => void;
}

function questionOf(name: string): Question {
  const [vendor, productName, kind = '', ...rest] = name.split('/');
  const product = products.find((known) => known === productName);
  const isAmd = vendor === 'amd' && product !== undefined;
  const question = !isAmd
    ? undefined
    : kind === 'vcek'
      ? vcekQuestion(product, rest)
      : listQuestion(product, kind, rest);
  if (question === undefined) throw notThere(name, 'AMD publishes nothing of this name');
  return question;
}

function listQuestion(product: Product, kind: string, rest: readonly string[]): Question | undefined {
  const { name } = productFacts[product];
  const chain = (bytes: Uint8Array): unknown => splitPem(bytes, 'collateral');
  const questions: Readonly<Record<string, Question>> = {
    'cert-chain': { path: `/vcek/v1/${name}/cert_chain`, check: chain },
    'vlek-chain': { path: `/vlek/v1/${name}/cert_chain`, check: chain },
    crl: { path: `/vcek/v1/${name}/crl`, check: parseCrl },
    'vlek-crl': { path: `/vlek/v1/${name}/crl`, check: parseCrl },
  };
  return rest.length === 0 && Object.hasOwn(questions, kind) ? questions[kind] : undefined;
}

/** Names of the query, in the order in which AMD writes them. */
const parameters: readonly (readonly [TcbComponent, string])[] = [
  ['fmc', 'fmcSPL'],
  ['bootloader', 'blSPL'],
  ['tee', 'teeSPL'],
  ['snp', 'snpSPL'],
  ['microcode', 'ucodeSPL'],
];

function vcekQuestion(product: Product, rest: readonly string[]): Question | undefined {
  const { name, hardwareIdBytes } = productFacts[product];
  const [hardwareIdText = '', tcbText = '', ...more] = rest;
  const hardwareId = fromHex(hardwareIdText, hardwareIdBytes);
  const raw = fromHex(tcbText, tcbBytes);
  if (hardwareId === undefined || raw === undefined || more.length > 0) return undefined;
  const tcb = tcbVersion(product, raw, 'requested');
  const query = parameters.flatMap(([component, parameter]) => {
    const value = tcb.get(component);
    return value === undefined ? [] : [`${parameter}=${String(value).padStart(2, '0')}`];
  });
  return {
    path: `/vcek/v1/${name}/${toHex(hardwareId)}?${query.join('&')}`,
    check: (bytes) => {
      const key = parseEndorsementKey(bytes, 'collateral');
      const isSame =
        key.product === product &&
        Buffer.compare(key.hardwareId ?? Uint8Array.of(), hardwareId) === 0 &&
        [...tcb].every(([component, value]) => key.tcb.get(component) === value);
      if (!isSame) throw new Error('it is of another chip or version');
    },
  };
}

function checkAnswer(name: string, body: Uint8Array, check: Question['check']): void {
  try {
    check(body);
  } catch (cause) {
    const message = `what AMD's key distribution service answers is not ${name}: ${messageOf(cause)}`;
    throw new CaissonError('integrity', 'collateral-untrusted', message, {
      remedy: 'Look at what answers in its place: a proxy, or a wrong address in the configuration.',
      details: { collateral: name, check: 'kds-answer' },
      cause,
    });
  }
}

/** Twice as long after each attempt; what the service asks for instead, as far as it is seconds and within the bound. */
function waitMilliseconds(attempt: number, retryAfter: string | undefined): number {
  const backoff = kdsBackoffMilliseconds * 2 ** (attempt - 1);
  const asked = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) * 1000 : 0;
  return Math.min(Math.max(backoff, asked), kdsBackoffMillisecondsMax);
}

function pause(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => void clock.after(milliseconds, resolve));
}

function passing(name: string, why: string, cause?: unknown): CaissonError {
  return new CaissonError(
    'transient',
    'collateral-missing',
    `AMD's key distribution service does not give ${name}: ${why}`,
    {
      remedy: 'Try again later, or give the broker a bundle of collateral; workloads may send their VCEK along.',
      details: { collateral: name },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

function notThere(name: string, why: string): CaissonError {
  return new CaissonError('invalid', 'collateral-missing', `there is no ${name}: ${why}`, {
    details: { collateral: name },
  });
}
