/**
 * Intel's collateral from Intel's service (PCS) or a caching one of a data centre (PCCS), both in version 4 of the interface
 * (spec/attestation-intel.md, "Collateral"). They differ in where the root's list is, and in what a caching service sends as text.
 */
import { CaissonError } from '../../lib/errors.ts';
import type { Collateral, CollateralSource } from '../attest/collateral.ts';
import { httpGet, type HttpAnswer, type HttpOptions } from './http-source.ts';

export const intelPcsUrl = 'https://api.trustedservices.intel.com';
const intelRootListUrl = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der';

export interface IntelServiceOptions extends HttpOptions {
  /** Such as https://pccs.example:8081; Intel's own where it is not given. */
  readonly baseUrl?: string;
  /** Where the list of the root is; of a caching service its own, of Intel's the one that is published. */
  readonly rootListUrl?: string;
  /** Intel gives PCK certificates only to subscribers. */
  readonly subscriptionKey?: string;
}

interface Question {
  readonly url: URL;
  /** The header that carries the chain of the signer. */
  readonly chainHeader?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function intelService(options: IntelServiceOptions): CollateralSource {
  const base = new URL(options.baseUrl ?? intelPcsUrl);
  return {
    async get(name) {
      const question = questionFor(name, base, options);
      if (question === undefined) throw missing(name);
      const answer = await httpGet(question.url, {
        ...options,
        headers: { ...options.headers, ...question.headers },
      });
      return collateralOf(answer, question, name, options.clock.wall());
    },
  };
}

function questionFor(name: string, base: URL, options: IntelServiceOptions): Question | undefined {
  const at = (path: string, query: Readonly<Record<string, string>> = {}): URL => {
    const url = new URL(`${base.pathname.replace(/\/+$/, '')}${path}`, base);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    return url;
  };
  const document = /^intel\/(sgx|tdx)\/(?:tcb\/([0-9a-f]{12})|qe-identity)$/.exec(name);
  if (document !== null) {
    const [, technology = '', fmspc] = document;
    const root = `/${technology}/certification/v4`;
    return fmspc === undefined
      ? { url: at(`${root}/qe/identity`), chainHeader: 'sgx-enclave-identity-issuer-chain' }
      : { url: at(`${root}/tcb`, { fmspc }), chainHeader: 'tcb-info-issuer-chain' };
  }
  const list = /^intel\/pck-crl\/(processor|platform)$/.exec(name);
  if (list !== null) {
    const query = { ca: list[1]!, encoding: 'der' };
    return { url: at('/sgx/certification/v4/pckcrl', query), chainHeader: 'sgx-pck-crl-issuer-chain' };
  }
  if (name === 'intel/root-crl') {
    const isIntel = base.href === new URL(intelPcsUrl).href;
    const published = isIntel ? intelRootListUrl : undefined;
    const url = options.rootListUrl ?? published;
    return { url: url === undefined ? at('/sgx/certification/v4/rootcacrl') : new URL(url) };
  }
  return pckQuestion(name, (query) => at('/sgx/certification/v4/pckcert', query), options);
}

/** Only PPIDs that are encrypted for Intel (types 2 and 3) can be asked for. */
function pckQuestion(
  name: string,
  at: (query: Readonly<Record<string, string>>) => URL,
  { subscriptionKey }: IntelServiceOptions,
): Question | undefined {
  const parts =
    /^intel\/pck\/([0-9a-f]{32})\/([0-9a-f]{32})\/([0-9a-f]{4})\/([0-9a-f]{4})\/([0-9a-f]{512}|[0-9a-f]{768})$/;
  const match = parts.exec(name);
  if (match === null) return undefined;
  const [, qeid = '', cpusvn = '', pcesvn = '', pceid = '', ppid = ''] = match;
  return {
    url: at({ encrypted_ppid: ppid, cpusvn, pcesvn, pceid, qeid }),
    chainHeader: 'sgx-pck-certificate-issuer-chain',
    ...(subscriptionKey === undefined ? {} : { headers: { 'ocp-apim-subscription-key': subscriptionKey } }),
  };
}

function collateralOf(answer: HttpAnswer, { chainHeader }: Question, name: string, obtainedAt: number): Collateral {
  const bytes = name.endsWith('crl') || name.startsWith('intel/pck-crl/') ? listBytes(answer.bytes) : answer.bytes;
  if (chainHeader === undefined) return { bytes, obtainedAt };
  const header = answer.headers[chainHeader];
  const issuerChain = typeof header === 'string' ? decodedChain(header) : undefined;
  return issuerChain === undefined ? { bytes, obtainedAt } : { bytes, issuerChain, obtainedAt };
}

/** A caching service sends lists as hexadecimal text in place of DER. */
function listBytes(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1').trim();
  return /^(?:[0-9a-f]{2})+$/i.test(text) ? Uint8Array.from(Buffer.from(text, 'hex')) : bytes;
}

/** Its size is bounded by what Node takes as headers of one answer, 16 KiB. */
function decodedChain(header: string): Uint8Array {
  let text: string;
  try {
    text = decodeURIComponent(header);
  } catch {
    throw unreadable('the chain of a signer is not encoded as it should be');
  }
  return new TextEncoder().encode(text);
}

function unreadable(message: string): CaissonError {
  return new CaissonError('integrity', 'collateral-untrusted', message, { details: { check: 'issuer-chain' } });
}

function missing(name: string): CaissonError {
  return new CaissonError('invalid', 'collateral-missing', 'Intel has no collateral of this name', {
    details: { name: name.substring(0, 100) },
  });
}
