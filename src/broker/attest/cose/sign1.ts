/**
 * COSE_Sign1 (RFC 9052, 4.2; spec/attestation-nitro.md, "COSE_Sign1"): one signature by one key over a payload.
 */
import { verify, type KeyObject } from 'node:crypto';
import { encode } from 'cborg';
import type { CaissonError } from '../../../lib/errors.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { decodeCbor, Tagged } from './cbor.ts';

export interface Sign1 {
  /** As IANA numbers COSE algorithms. */
  readonly algorithm: number;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  /** Sig_structure: what the signature covers. */
  readonly signedBytes: Uint8Array;
}

/** Whether the tag 18 must be there, or may. */
export type Sign1Tag = 'required' | 'optional';

const sign1Tag = 18;
const header = { algorithm: 1, critical: 2 } as const;
const none = new Uint8Array(0);

export function parseSign1(bytes: Uint8Array, what: string, tag: Sign1Tag): Sign1 {
  const value = decodeCbor(bytes, what, [sign1Tag]);
  const untagged = value instanceof Tagged ? (value.value as unknown) : value;
  if (tag === 'required' && untagged === value) throw malformed(what, 'it has not the tag of COSE_Sign1');
  if (!Array.isArray(untagged) || untagged.length !== 4) throw malformed(what, 'it is no list of four');
  const [protectedBytes, unprotected, payload, signature] = untagged as readonly unknown[];
  if (!(protectedBytes instanceof Uint8Array) || !(unprotected instanceof Map))
    throw malformed(what, 'its headers are not as they should be');
  if (!(payload instanceof Uint8Array) || payload.length === 0 || !(signature instanceof Uint8Array))
    throw malformed(what, 'its payload or signature is missing');
  const protectedHeader = decodeCbor(protectedBytes, `${what}, protected header`);
  if (!(protectedHeader instanceof Map)) throw malformed(what, 'its protected header is no map');
  if (unprotected.has(header.algorithm)) throw malformed(what, 'it names an algorithm that nobody signed');
  if (protectedHeader.has(header.critical) || unprotected.has(header.critical))
    throw malformed(what, 'it has headers that must be understood, and are not');
  const algorithm: unknown = protectedHeader.get(header.algorithm);
  if (typeof algorithm !== 'number') throw malformed(what, 'it names no algorithm');
  const signedBytes = encode(['Signature1', protectedBytes, none, payload]);
  return { algorithm, payload, signature, signedBytes };
}

interface SignatureAlgorithm {
  readonly algorithm: number;
  readonly hash: string;
}

/** ES256, ES384 and ES512 (RFC 9053, 2.1), each for the curve of its size alone. */
const algorithmOfCurve: Readonly<Record<string, SignatureAlgorithm>> = {
  prime256v1: { algorithm: -7, hash: 'sha256' },
  secp384r1: { algorithm: -35, hash: 'sha384' },
  secp521r1: { algorithm: -36, hash: 'sha512' },
};

/** Whether `key` signed it. False too for an algorithm that is not the one of this key, and for a signature of another length. */
export function verifySign1({ algorithm, signature, signedBytes }: Sign1, key: KeyObject): boolean {
  const expected = algorithmOfCurve[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (expected === undefined || expected.algorithm !== algorithm) return false;
  return verify(expected.hash, signedBytes, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

function malformed(what: string, message: string): CaissonError {
  return evidenceInvalid(`${what}: ${message}`, { check: 'cose-form' });
}
