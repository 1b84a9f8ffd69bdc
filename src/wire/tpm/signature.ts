/**
 * TPMT_SIGNATURE (Part 2, 11.3.4) of the schemes that prove something to others: RSASSA, RSAPSS, ECDSA.
 */
import { constants, verify, type KeyObject } from 'node:crypto';
import { Algorithm, tpmHash, type TpmHash } from './algorithms.ts';
import { leftPadded, TpmReader, TpmWriter, type RefuseBytes } from './codec.ts';

export type TpmSignature =
  | { readonly scheme: 'rsassa' | 'rsapss'; readonly hash: TpmHash; readonly signature: Uint8Array }
  | { readonly scheme: 'ecdsa'; readonly hash: TpmHash; readonly r: Uint8Array; readonly s: Uint8Array };

/** RSA of 4096 bits. */
const rsaBytesMax = 512;
/** P-521. */
const coordinateBytesMax = 66;

/** Bytes of one number of an ECDSA signature, by the curve's name in node:crypto. */
const scalarBytes: Readonly<Record<string, number>> = { prime256v1: 32, secp384r1: 48, secp521r1: 66 };

export function parseSignature(bytes: Uint8Array, refuse?: RefuseBytes): TpmSignature {
  const reader = new TpmReader(bytes, 'TPMT_SIGNATURE', refuse);
  const algorithm = reader.u16();
  const hash = tpmHash(reader.u16());
  if (hash === undefined) throw reader.invalid('the hash is not known');
  const signature = readSignature(reader, algorithm, hash);
  reader.end();
  return signature;
}

export function encodeSignature(signature: TpmSignature): Uint8Array {
  const writer = new TpmWriter();
  if (signature.scheme === 'ecdsa')
    return writer.u16(Algorithm.ecdsa).u16(signature.hash.id).sized(signature.r).sized(signature.s).finish();
  const algorithm = signature.scheme === 'rsassa' ? Algorithm.rsaSsa : Algorithm.rsaPss;
  return writer.u16(algorithm).u16(signature.hash.id).sized(signature.signature).finish();
}

/** Whether `key` made it over `message`. False too where key and scheme do not belong together, and for weak hashes. */
export function verifySignature(key: KeyObject, message: Uint8Array, signature: TpmSignature): boolean {
  if (!signature.hash.isStrong) return false;
  if (signature.scheme === 'ecdsa') {
    const length = scalarBytes[key.asymmetricKeyDetails?.namedCurve ?? ''];
    if (length === undefined) return false;
    const r = leftPadded(signature.r, length);
    const s = leftPadded(signature.s, length);
    if (r === undefined || s === undefined) return false;
    return verify(signature.hash.name, message, { key, dsaEncoding: 'ieee-p1363' }, Buffer.concat([r, s]));
  }
  if (key.asymmetricKeyType !== 'rsa') return false;
  // TPMs differ in the length of the salt: as long as fits in older ones, as the digest in newer ones.
  const padding =
    signature.scheme === 'rsassa'
      ? { padding: constants.RSA_PKCS1_PADDING }
      : { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
  return verify(signature.hash.name, message, { key, ...padding }, signature.signature);
}

function readSignature(reader: TpmReader, algorithm: number, hash: TpmHash): TpmSignature {
  switch (algorithm) {
    case Algorithm.rsaSsa:
      return { scheme: 'rsassa', hash, signature: reader.sized(rsaBytesMax) };
    case Algorithm.rsaPss:
      return { scheme: 'rsapss', hash, signature: reader.sized(rsaBytesMax) };
    case Algorithm.ecdsa:
      return { scheme: 'ecdsa', hash, r: reader.sized(coordinateBytesMax), s: reader.sized(coordinateBytesMax) };
    default:
      throw reader.invalid(`signatures of scheme ${algorithm} are not read`);
  }
}
