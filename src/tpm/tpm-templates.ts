/**
 * Public areas that TPMs make keys from. A primary key follows from the seed of its hierarchy and its template alone:
 * the same template gives the same key on every call, so that nothing has to be stored.
 */
import { Algorithm, tpmCurve, tpmHash } from '../wire/tpm/algorithms.ts';
import { ObjectAttribute } from '../wire/tpm/public-area.ts';
import type { PublicArea } from '../wire/tpm/public-area.ts';
import { assert } from '../lib/assert.ts';

const { fixedTpm, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy, noDictionaryAttack } =
  ObjectAttribute;
const { restricted, decrypt, sign } = ObjectAttribute;
const aes128Cfb = { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb } as const;
const nothing = new Uint8Array(0);
const sha256Hash = known(tpmHash(Algorithm.sha256));
const p256 = known(tpmCurve(0x0003));

/** TCG TPM v2.0 Provisioning Guidance, 7.5.1: the storage key, here on P-256 since that is made at once. */
export const storageKeyTemplate: PublicArea = {
  nameHash: sha256Hash,
  attributes: fixedTpm | fixedParent | sensitiveDataOrigin | userWithAuth | noDictionaryAttack | restricted | decrypt,
  policy: nothing,
  object: {
    type: 'ecc',
    symmetric: aes128Cfb,
    scheme: undefined,
    curve: p256,
    keyDerivation: undefined,
    x: new Uint8Array(32),
    y: new Uint8Array(32),
  },
};

/** PolicySecret(endorsement): TCG EK Credential Profile, "EK Authorization Policies", PolicyA with SHA-256. */
const endorsementPolicy = Uint8Array.from(
  Buffer.from('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 'hex'),
);
const endorsementAttributes = fixedTpm | fixedParent | sensitiveDataOrigin | adminWithPolicy | restricted | decrypt;

/** TCG EK Credential Profile, template L-1: the key of certificate 0x01C00002. */
export const endorsementRsaTemplate: PublicArea = {
  nameHash: sha256Hash,
  attributes: endorsementAttributes,
  policy: endorsementPolicy,
  object: {
    type: 'rsa',
    symmetric: aes128Cfb,
    scheme: undefined,
    keyBits: 2048,
    exponent: 0,
    modulus: new Uint8Array(256),
  },
};

/** Template L-2: the key of certificate 0x01C0000A. */
export const endorsementEccTemplate: PublicArea = {
  nameHash: sha256Hash,
  attributes: endorsementAttributes,
  policy: endorsementPolicy,
  object: { ...storageKeyTemplate.object, type: 'ecc' } as PublicArea['object'],
};

/** Signs what the TPM itself made, and nothing else: a restricted key. */
export const attestationKeyTemplate: PublicArea = {
  nameHash: sha256Hash,
  attributes: fixedTpm | fixedParent | sensitiveDataOrigin | userWithAuth | noDictionaryAttack | restricted | sign,
  policy: nothing,
  object: {
    type: 'ecc',
    symmetric: undefined,
    scheme: { algorithm: Algorithm.ecdsa, hash: Algorithm.sha256 },
    curve: p256,
    keyDerivation: undefined,
    x: nothing,
    y: nothing,
  },
};

/** A secret that opens under `policy` alone. With a PIN the TPM counts wrong tries. */
export function sealedTemplate(policy: Uint8Array, hasPin: boolean): PublicArea {
  return {
    nameHash: sha256Hash,
    attributes: fixedTpm | fixedParent | (hasPin ? 0 : noDictionaryAttack),
    policy,
    object: { type: 'keyed-hash', scheme: undefined, unique: nothing },
  };
}

function known<T>(value: T | undefined): T {
  assert(value !== undefined, 'an algorithm that Caisson knows');
  return value;
}
