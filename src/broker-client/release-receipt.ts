/**
 * The proof that an answer of the broker is a line of its release log (spec/broker-http.md, "Receipts"): what a
 * workload checks before it uses a key. Pure: bytes in, the signed head or `broker-untrusted` out.
 */
import { equalBytes } from '../crypto/digest.ts';
import { isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { checkProof } from '../wire/log-proof.ts';
import type { LoggedEntry, SignedHead } from '../wire/release-log.ts';
import { untrusted } from './https-requests.ts';

export interface ExpectedLine {
  readonly kind: 'release' | 'refusal';
  readonly index: number;
  readonly tenant: string;
  /** Digest of the request statement, 32 bytes: nobody else made this request. */
  readonly request: Uint8Array;
  /** More facts that the line must have. */
  readonly facts: Readonly<Record<string, string>>;
}

/** The head, signed by the broker whose key this is, of a log that has the line. */
export function checkReceipt(bytes: Uint8Array, publicKey: Uint8Array, line: ExpectedLine, url: string): SignedHead {
  const proof = readProof(bytes, publicKey, url);
  if (proof.kind !== 'inclusion' || !equalBytes(proof.publicKey, publicKey) || !isMeant(proof.entry, line))
    throw untrusted(url, 'its log does not have the line of this answer');
  return proof.head;
}

function readProof(bytes: Uint8Array, publicKey: Uint8Array, url: string): ReturnType<typeof checkProof> {
  try {
    return checkProof(bytes, publicKey);
  } catch (error) {
    if (isCaissonError(error)) throw untrusted(url, `its log does not prove this answer: ${error.message}`, error);
    throw error;
  }
}

function isMeant(entry: LoggedEntry, { kind, index, tenant, request, facts }: ExpectedLine): boolean {
  const wanted = { ...facts, request: toHex(request) };
  return (
    entry.kind === kind &&
    entry.index === index &&
    entry.tenant === tenant &&
    Object.entries(wanted).every(([name, value]) => entry.facts[name] === value)
  );
}
