/**
 * What an attestation key must be, and where in its TPM it lies (spec/attestation-tpm.md, "Attestation key").
 */
import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { Algorithm, tpmCurves, tpmHash } from '../../../wire/tpm/algorithms.ts';
import { TpmWriter } from '../../../wire/tpm/codec.ts';
import {
  encodePublicArea,
  ObjectAttribute,
  parsePublicArea,
  qualifiedNameOf,
  type KeyScheme,
  type ParsedPublicArea,
  type PublicArea,
} from '../../../wire/tpm/public-area.ts';
import type { TpmSignature } from '../../../wire/tpm/signature.ts';
import { untrusted } from '../x509/certificates.ts';

const rsaBitsMin = 2048;

const attributesSet =
  ObjectAttribute.restricted |
  ObjectAttribute.sign |
  ObjectAttribute.fixedTpm |
  ObjectAttribute.fixedParent |
  ObjectAttribute.sensitiveDataOrigin;
const attributesClear = ObjectAttribute.decrypt | ObjectAttribute.encryptedDuplication;

const schemeNumbers = { rsassa: Algorithm.rsaSsa, rsapss: Algorithm.rsaPss, ecdsa: Algorithm.ecdsa } as const;

/** `evidence-untrusted` unless a TPM lets such a key sign nothing but what it made itself, in just this way. */
export function checkAttestationKey(area: ParsedPublicArea, signature: TpmSignature): void {
  const { object, attributes, nameHash } = area;
  if (object.type === 'keyed-hash' || (object.type === 'rsa' && object.keyBits < rsaBitsMin))
    throw untrusted('evidence', 'ak-type', 'the attestation key is no key, or too short');
  if (!nameHash.isStrong)
    throw untrusted('evidence', 'ak-name-hash', `the attestation key is named by ${nameHash.name}`);
  if ((attributes & attributesSet) !== attributesSet || (attributes & attributesClear) !== 0)
    throw untrusted('evidence', 'ak-attributes', 'the attestation key may sign what its TPM did not make, or move');
  if (!isScheme(object.scheme, signature))
    throw untrusted('evidence', 'ak-scheme', 'the signature is of another scheme than the attestation key has');
}

export type AkParent = 'endorsement-key' | 'endorsement' | 'owner' | 'platform' | 'null' | 'unknown';

/** Where the key lies, as its qualified name says. `evidence-untrusted` for a signer that cannot be this key. */
export function attestationKeyParent(
  area: ParsedPublicArea,
  qualifiedSigner: Uint8Array,
  endorsementKey: KeyObject | undefined,
): AkParent {
  const [high = 0, low = 0] = qualifiedSigner;
  if (high * 256 + low !== area.nameHash.id || qualifiedSigner.length !== 2 + area.nameHash.digestBytes)
    throw untrusted('evidence', 'qualified-signer', 'the signer that the quote names is not such a key');
  for (const [parent, handle] of hierarchies)
    if (equalBytes(qualifiedNameOf(area, handle), qualifiedSigner)) return parent;
  const parent = endorsementKey === undefined ? undefined : endorsementArea(endorsementKey);
  if (parent === undefined) return 'unknown';
  const isChild = equalBytes(qualifiedNameOf(area, qualifiedNameOf(parent, endorsementHandle)), qualifiedSigner);
  return isChild ? 'endorsement-key' : 'unknown';
}

const endorsementHandle = handleBytes(0x4000_000b);
const hierarchies: readonly (readonly [AkParent, Uint8Array])[] = [
  ['endorsement', endorsementHandle],
  ['owner', handleBytes(0x4000_0001)],
  ['platform', handleBytes(0x4000_000c)],
  ['null', handleBytes(0x4000_0007)],
];

function handleBytes(handle: number): Uint8Array {
  return new TpmWriter().u32(handle).finish();
}

function isScheme(scheme: KeyScheme | undefined, signature: TpmSignature): boolean {
  return scheme?.algorithm === schemeNumbers[signature.scheme] && scheme.hash === signature.hash.id;
}

/** PolicyA of the EK Credential Profile: PolicySecret of the endorsement hierarchy. */
const policyA = Buffer.from('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 'hex');

/** The public area of an endorsement key by the profile's templates L-1 and L-2; undefined for other kinds. */
function endorsementArea(key: KeyObject): ParsedPublicArea | undefined {
  const { kty, n = '', x = '', y = '', crv } = key.export({ format: 'jwk' });
  const attributes =
    ObjectAttribute.fixedTpm |
    ObjectAttribute.fixedParent |
    ObjectAttribute.sensitiveDataOrigin |
    ObjectAttribute.adminWithPolicy |
    ObjectAttribute.restricted |
    ObjectAttribute.decrypt;
  const common = {
    symmetric: { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb },
    scheme: undefined,
  };
  const modulus = Buffer.from(n, 'base64url');
  const curve = tpmCurves.find(({ name }) => name === crv);
  let object: PublicArea['object'];
  if (kty === 'RSA' && modulus.length === 256) object = { type: 'rsa', ...common, keyBits: 2048, exponent: 0, modulus };
  else if (curve?.name === 'P-256') {
    const point = { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') };
    object = { type: 'ecc', ...common, curve, keyDerivation: undefined, ...point };
  } else return undefined;
  return parsePublicArea(
    encodePublicArea({ nameHash: tpmHash(Algorithm.sha256)!, attributes, policy: policyA, object }),
  );
}
