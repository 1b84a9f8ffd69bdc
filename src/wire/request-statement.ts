/**
 * Request statement: what a request is, in one byte string that both sides build from what they know
 * (spec/broker-api.md, "Request statement"). The session key signs it, and its digest binds the answer.
 */
import { sha256 } from '../crypto/digest.ts';
import { publicKeyBytes, verifySignature } from '../crypto/signature.ts';
import type { SigningKey } from '../crypto/signature.ts';
import { assert } from '../lib/assert.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Evidence } from './evidence.ts';
import { reportDataOf } from './report-data.ts';
import type { RequestKeys } from './report-data.ts';

export const brokerIdBytes = 32;
const digestBytes = 32;
const nameBytesMax = 64;

const encoder = new TextEncoder();
const requestLabel = encoder.encode('caisson request v1\0');
const brokerLabel = encoder.encode('caisson broker id v1\0');
const evidenceLabel = encoder.encode('caisson evidence v1\0');

export interface RequestStatement extends RequestKeys {
  /** Of the broker that is meant: by the workload the one it knows, by a broker its own. */
  readonly brokerId: Uint8Array;
  readonly tenant: string;
  readonly keyName: string;
  readonly evidenceDigest: Uint8Array;
  readonly bodyDigest: Uint8Array;
}

/** `proof-invalid` where a field has another length or form than the specification says. */
export function encodeStatement(statement: RequestStatement): Uint8Array {
  assert(statement.brokerId.length === brokerIdBytes, 'a broker id has 32 bytes');
  return new ByteWriter()
    .bytes(requestLabel)
    .block(encoder.encode(statement.purpose))
    .bytes(statement.brokerId)
    .block(nameBytes(statement.tenant, 'tenant'))
    .block(nameBytes(statement.keyName, 'key name'))
    .bytes(reportDataOf(statement))
    .bytes(statement.evidenceDigest, digestBytes)
    .bytes(statement.bodyDigest, digestBytes)
    .finish();
}

/** What stands for the request in the envelope, in the answer's signature and in the release log. */
export function requestDigest(statement: RequestStatement): Uint8Array {
  return sha256(encodeStatement(statement));
}

export function signRequest(sessionKey: SigningKey, statement: RequestStatement): Uint8Array {
  return sessionKey.sign(encodeStatement(statement));
}

/** `proof-invalid` unless the holder of the session key signed exactly this request. */
export function checkRequestSignature(statement: RequestStatement, signature: Uint8Array): void {
  if (verifySignature(statement.sessionPublicKey, encodeStatement(statement), signature)) return;
  throw new CaissonError(
    'denied',
    'proof-invalid',
    'the request is not signed by the session key that the evidence names',
    {
      remedy:
        'Sign the statement of this request, with the id of this broker, by the key that the report data was made with.',
    },
  );
}

/** The id of the broker that signs tree heads and answers with this Ed25519 key. */
export function brokerIdFromPublicKey(publicKey: Uint8Array): Uint8Array {
  assert(publicKey.length === publicKeyBytes, 'an Ed25519 public key has 32 bytes');
  return sha256(brokerLabel, publicKey);
}

export function evidenceDigestOf(evidence: Evidence): Uint8Array {
  const writer = new ByteWriter().bytes(evidenceLabel).block(encoder.encode(evidence.technology));
  const parts = Object.entries(evidence.parts).toSorted(([left], [right]) => (left < right ? -1 : 1));
  for (const [name, bytes] of parts) writer.block(encoder.encode(name)).block(bytes);
  return sha256(writer.finish());
}

function nameBytes(name: string, what: string): Uint8Array {
  const bytes = encoder.encode(name);
  if (bytes.length > 0 && bytes.length <= nameBytesMax) return bytes;
  throw new CaissonError('denied', 'proof-invalid', `the ${what} has not 1 to ${nameBytesMax} bytes`);
}
