/**
 * TPMT_PUBLIC and TPM2B_PUBLIC (Part 2, 12.2.4 and 12.2.5): the public area of an object of a TPM, for
 * RSA and ECC keys and for sealed data (keyed hash).
 *
 * The name of an object is its name algorithm and that hash over its public area exactly as it is
 * encoded (Part 1, "Names"); so a parsed area keeps its bytes, and `nameOf` never encodes anew.
 */
import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { evidenceInvalid } from '../evidence.ts';
import { Algorithm, digestBytesMax, tpmCurve, tpmHash, type TpmCurve, type TpmHash } from './algorithms.ts';
import { leftPadded, TpmReader, TpmWriter, type RefuseBytes } from './codec.ts';

/** TPMA_OBJECT (Part 2, 8.3). */
export const ObjectAttribute = {
  fixedTpm: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  noDictionaryAttack: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

/** TPMT_SYM_DEF_OBJECT; undefined is TPM_ALG_NULL. */
export type SymmetricDefinition = { readonly algorithm: number; readonly keyBits: number; readonly mode: number };

/** TPMT_RSA_SCHEME, TPMT_ECC_SCHEME, TPMT_KEYEDHASH_SCHEME; undefined is TPM_ALG_NULL. */
export type KeyScheme = {
  readonly algorithm: number;
  /** Zero for RSAES, which has none. */
  readonly hash: number;
  /** Of ECDAA the count, of XOR the key derivation function. */
  readonly parameter?: number;
};

export interface RsaPublic {
  readonly type: 'rsa';
  readonly symmetric: SymmetricDefinition | undefined;
  readonly scheme: KeyScheme | undefined;
  readonly keyBits: number;
  /** Zero stands for 65537. */
  readonly exponent: number;
  /** Empty in a template. */
  readonly modulus: Uint8Array;
}

export interface EccPublic {
  readonly type: 'ecc';
  readonly symmetric: SymmetricDefinition | undefined;
  readonly scheme: KeyScheme | undefined;
  readonly curve: TpmCurve;
  readonly keyDerivation: KeyScheme | undefined;
  /** Empty in a template. */
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

export interface KeyedHashPublic {
  readonly type: 'keyed-hash';
  readonly scheme: KeyScheme | undefined;
  /** Empty in a template. */
  readonly unique: Uint8Array;
}

export interface PublicArea {
  readonly nameHash: TpmHash;
  readonly attributes: number;
  readonly policy: Uint8Array;
  readonly object: RsaPublic | EccPublic | KeyedHashPublic;
}

export interface ParsedPublicArea extends PublicArea {
  /** TPMT_PUBLIC as it was read: what the name is computed over. */
  readonly encoded: Uint8Array;
}

const rsaBitsMax = 4096;
/** What zero stands for; a smaller one makes forgeries easier, and no TPM has it. */
const exponentMin = 65_537;

/** TPM2B_PUBLIC: a length, then the area, and nothing after it. Keys without their numbers are refused. */
export function parsePublic(bytes: Uint8Array, refuse?: RefuseBytes): ParsedPublicArea {
  const reader = new TpmReader(bytes, 'TPM2B_PUBLIC', refuse);
  const area = reader.sized(0xffff);
  reader.end();
  return parsePublicArea(area, refuse);
}

/** TPMT_PUBLIC. */
export function parsePublicArea(bytes: Uint8Array, refuse?: RefuseBytes): ParsedPublicArea {
  const reader = new TpmReader(bytes, 'TPMT_PUBLIC', refuse);
  const type = reader.u16();
  const nameHash = tpmHash(reader.u16());
  if (nameHash === undefined) throw reader.invalid('the name algorithm is not known');
  const attributes = reader.u32();
  const policy = reader.sized(digestBytesMax);
  if (policy.length !== 0 && policy.length !== nameHash.digestBytes)
    throw reader.invalid(`a policy of ${policy.length} bytes is no digest of the name algorithm`);
  const object = readObject(reader, type);
  reader.end();
  return { nameHash, attributes, policy, object, encoded: bytes };
}

/** TPMT_PUBLIC; also of a template, whose numbers are empty. */
export function encodePublicArea({ nameHash, attributes, policy, object }: PublicArea): Uint8Array {
  const writer = new TpmWriter().u16(typeNumbers[object.type]).u16(nameHash.id).u32(attributes).sized(policy);
  switch (object.type) {
    case 'rsa':
      writeScheme(writeSymmetric(writer, object.symmetric), object.scheme);
      return writer.u16(object.keyBits).u32(object.exponent).sized(object.modulus).finish();
    case 'ecc':
      writeScheme(writeSymmetric(writer, object.symmetric), object.scheme).u16(object.curve.id);
      return writeScheme(writer, object.keyDerivation).sized(object.x).sized(object.y).finish();
    case 'keyed-hash':
      return writeScheme(writer, object.scheme).sized(object.unique).finish();
  }
}

export function encodePublic(area: PublicArea): Uint8Array {
  return new TpmWriter().sized(encodePublicArea(area)).finish();
}

/** TPM2B_NAME without its length: the name algorithm and the digest of the encoded area. */
export function nameOf(area: ParsedPublicArea): Uint8Array {
  const digest = createHash(area.nameHash.name).update(area.encoded).digest();
  return new TpmWriter().u16(area.nameHash.id).bytes(digest).finish();
}

/** The qualified name of an object: `parent` is the qualified name of what it was made under, or a hierarchy's handle. */
export function qualifiedNameOf(area: ParsedPublicArea, parent: Uint8Array): Uint8Array {
  const digest = createHash(area.nameHash.name).update(parent).update(nameOf(area)).digest();
  return new TpmWriter().u16(area.nameHash.id).bytes(digest).finish();
}

/** As node:crypto uses it. `evidence-invalid` for what is no key, or a point that is not on its curve. */
export function publicKeyOf({ object }: PublicArea): KeyObject {
  try {
    return createPublicKey({ key: jsonWebKey(object), format: 'jwk' });
  } catch (cause) {
    throw evidenceInvalid('TPMT_PUBLIC: its numbers are no public key', {}, cause);
  }
}

const typeNumbers = { rsa: Algorithm.rsa, ecc: Algorithm.ecc, 'keyed-hash': Algorithm.keyedHash } as const;

function readObject(reader: TpmReader, type: number): PublicArea['object'] {
  switch (type) {
    case Algorithm.rsa: {
      const symmetric = readSymmetric(reader);
      const scheme = readScheme(reader, [Algorithm.rsaSsa, Algorithm.rsaPss, Algorithm.rsaEs, Algorithm.oaep]);
      const keyBits = reader.u16();
      if (keyBits === 0 || keyBits > rsaBitsMax) throw reader.invalid(`an RSA key of ${keyBits} bits`);
      const exponent = reader.u32();
      if (exponent !== 0 && (exponent < exponentMin || exponent % 2 === 0))
        throw reader.invalid(`an RSA key with the exponent ${exponent}`);
      const modulus = reader.sized(keyBits / 8);
      if (modulus.length !== keyBits / 8 || modulus[0]! < 0x80)
        throw reader.invalid(`the modulus does not have ${keyBits} bits`);
      return { type: 'rsa', symmetric, scheme, keyBits, exponent, modulus };
    }
    case Algorithm.ecc: {
      const symmetric = readSymmetric(reader);
      const schemes = [Algorithm.ecdsa, Algorithm.ecdh, Algorithm.ecDaa, Algorithm.ecSchnorr];
      const scheme = readScheme(reader, schemes);
      const curve = tpmCurve(reader.u16());
      if (curve === undefined) throw reader.invalid('the curve is not known');
      const keyDerivation = readScheme(reader, keyDerivations);
      const x = reader.sized(curve.coordinateBytes);
      const y = reader.sized(curve.coordinateBytes);
      if (x.length === 0 || y.length === 0) throw reader.invalid('the point is empty');
      return { type: 'ecc', symmetric, scheme, curve, keyDerivation, x, y };
    }
    case Algorithm.keyedHash: {
      const scheme = readScheme(reader, [Algorithm.hmac, Algorithm.xor]);
      return { type: 'keyed-hash', scheme, unique: reader.sized(digestBytesMax) };
    }
    default:
      throw reader.invalid(`objects of type ${type} are not read`);
  }
}

/** MGF1, KDF1 of SP 800-56A, KDF2, KDF1 of SP 800-108. */
const keyDerivations: readonly number[] = [0x0007, 0x0020, 0x0021, 0x0022];

function readSymmetric(reader: TpmReader): SymmetricDefinition | undefined {
  const algorithm = reader.u16();
  if (algorithm === Algorithm.null) return undefined;
  if (algorithm !== Algorithm.aes) throw reader.invalid(`the symmetric algorithm ${algorithm} is not known`);
  return { algorithm, keyBits: reader.u16(), mode: reader.u16() };
}

function writeSymmetric(writer: TpmWriter, symmetric: SymmetricDefinition | undefined): TpmWriter {
  if (symmetric === undefined) return writer.u16(Algorithm.null);
  return writer.u16(symmetric.algorithm).u16(symmetric.keyBits).u16(symmetric.mode);
}

function readScheme(reader: TpmReader, known: readonly number[]): KeyScheme | undefined {
  const algorithm = reader.u16();
  if (algorithm === Algorithm.null) return undefined;
  if (!known.includes(algorithm)) throw reader.invalid(`the scheme ${algorithm} is not known`);
  if (algorithm === Algorithm.rsaEs) return { algorithm, hash: 0 };
  const hash = reader.u16();
  return hasParameter(algorithm) ? { algorithm, hash, parameter: reader.u16() } : { algorithm, hash };
}

function writeScheme(writer: TpmWriter, scheme: KeyScheme | undefined): TpmWriter {
  if (scheme === undefined) return writer.u16(Algorithm.null);
  writer.u16(scheme.algorithm);
  if (scheme.algorithm === Algorithm.rsaEs) return writer;
  writer.u16(scheme.hash);
  return hasParameter(scheme.algorithm) ? writer.u16(scheme.parameter ?? 0) : writer;
}

function hasParameter(algorithm: number): boolean {
  return algorithm === Algorithm.ecDaa || algorithm === Algorithm.xor;
}

function jsonWebKey(object: PublicArea['object']): Record<string, string> {
  switch (object.type) {
    case 'rsa': {
      const exponent = new TpmWriter().u32(object.exponent === 0 ? exponentMin : object.exponent).finish();
      return { kty: 'RSA', n: base64Url(object.modulus), e: base64Url(trimmed(exponent)) };
    }
    case 'ecc': {
      const { curve } = object;
      const [x, y] = [leftPadded(object.x, curve.coordinateBytes), leftPadded(object.y, curve.coordinateBytes)];
      return { kty: 'EC', crv: curve.name, x: base64Url(x), y: base64Url(y) };
    }
    case 'keyed-hash':
      return {};
  }
}

function trimmed(value: Uint8Array): Uint8Array {
  return value.subarray(value.findIndex((byte) => byte !== 0));
}

function base64Url(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString('base64url');
}
