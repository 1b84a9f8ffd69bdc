/** Arm CCA tokens (spec/attestation-cca.md): bytes to fields, trusts nothing. */
import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { CborMap, decodeCbor, Tagged } from '../cose/cbor.ts';
import { parseSign1, type Sign1 } from '../cose/sign1.ts';

export interface SoftwareComponent {
  readonly type: string;
  readonly measurement: Uint8Array;
  readonly signer: Uint8Array;
}

export interface PlatformToken {
  readonly sign1: Sign1;
  readonly challenge: Uint8Array;
  readonly profile: string;
  readonly instanceId: Uint8Array;
  readonly implementationId: Uint8Array;
  readonly lifecycle: string;
  readonly components: readonly SoftwareComponent[];
  readonly config: Uint8Array;
}

export interface RealmToken {
  readonly sign1: Sign1;
  readonly challenge: Uint8Array;
  readonly personalization: Uint8Array;
  readonly hashAlgorithm: string;
  readonly publicKey: KeyObject;
  /** Of field 44237 as it came, by the hash that the realm names. */
  readonly publicKeyDigest: Uint8Array;
  readonly initialMeasurement: Uint8Array;
  readonly extensibleMeasurements: readonly Uint8Array[];
}

export interface CcaToken {
  readonly platform: PlatformToken;
  readonly realm: RealmToken;
}

const ccaTag = 399;
const Key = {
  platformToken: 44_234,
  realmToken: 44_241,
  challenge: 10,
  instanceId: 256,
  profile: 265,
  lifecycle: 2395,
  implementationId: 2396,
  components: 2399,
  config: 2401,
  platformHash: 2402,
  personalization: 44_235,
  realmHash: 44_236,
  realmPublicKey: 44_237,
  initialMeasurement: 44_238,
  extensibleMeasurements: 44_239,
  realmPublicKeyHash: 44_240,
} as const;
const Component = { type: 1, measurement: 2, signer: 5 } as const;

const tokenBytesMax = 64 * 1024;
const textCharactersMax = 128;
const configBytesMax = 4096;
const keyBytesMax = 512;
const componentsMax = 32;
const digestBytesMax = 64;
const challengeBytes = 64;
const digestLengths: readonly number[] = [32, 48, 64];

const platformProfiles: readonly string[] = ['tag:arm.com,2023:cca_platform#1.0.0', 'http://arm.com/CCA-SSD/1.0.0'];
const realmProfile = 'tag:arm.com,2023:realm#1.0.0';

/** By the highest four bits; the lowest eight are the implementation's, the others zero. */
const lifecycles: readonly string[] = [
  ...['unknown', 'assembly-and-test', 'provisioning', 'secured'],
  ...['non-platform-debug', 'recoverable-platform-debug', 'decommissioned'],
];

const hashes: Readonly<Record<string, { readonly name: string; readonly digestBytes: number }>> = {
  'sha-256': { name: 'sha256', digestBytes: 32 },
  'sha-384': { name: 'sha384', digestBytes: 48 },
  'sha-512': { name: 'sha512', digestBytes: 64 },
};

export function parseCcaToken(bytes: Uint8Array): CcaToken {
  const outer = decodeCbor(bytes, 'the token', [ccaTag]);
  const inner: unknown = outer instanceof Tagged ? outer.value : undefined;
  const fields = new CborMap(inner, 'the token', 'token-form');
  if (fields.keys().length !== 2) throw fields.invalid('it holds something other than two tokens');
  return {
    platform: parsePlatform(fields.bytes(Key.platformToken, 1, tokenBytesMax)),
    realm: parseRealm(fields.bytes(Key.realmToken, 1, tokenBytesMax)),
  };
}

function parsePlatform(bytes: Uint8Array): PlatformToken {
  const what = 'the platform token';
  const sign1 = parseSign1(bytes, what, 'required');
  const fields = new CborMap(decodeCbor(sign1.payload, what), what, 'platform-form');
  const profile = fields.text(Key.profile, textCharactersMax);
  if (!platformProfiles.includes(profile)) throw fields.invalid('its profile is not known');
  const instanceId = fields.bytes(Key.instanceId, 33, 33);
  if (instanceId[0] !== 1) throw fields.invalid('its instance id is of another kind');
  const state = fields.number(Key.lifecycle, 0x60ff);
  const lifecycle = (state & 0x0f00) === 0 ? lifecycles[state >> 12] : undefined;
  if (lifecycle === undefined) throw fields.invalid('its lifecycle is not known');
  fields.text(Key.platformHash, textCharactersMax);
  return {
    ...{ sign1, profile, instanceId, lifecycle },
    challenge: digest(fields, Key.challenge),
    implementationId: fields.bytes(Key.implementationId, 32, 32),
    components: fields.list(Key.components, 1, componentsMax).map(parseComponent),
    config: fields.bytes(Key.config, 0, configBytesMax),
  };
}

function parseComponent(value: unknown): SoftwareComponent {
  const fields = new CborMap(value, 'a software component', 'platform-form');
  return {
    type: fields.text(Component.type, textCharactersMax),
    measurement: digest(fields, Component.measurement),
    signer: digest(fields, Component.signer),
  };
}

function parseRealm(bytes: Uint8Array): RealmToken {
  const what = 'the realm token';
  const sign1 = parseSign1(bytes, what, 'required');
  const fields = new CborMap(decodeCbor(sign1.payload, what), what, 'realm-form');
  const hasProfile = fields.has(Key.profile);
  if (hasProfile && fields.text(Key.profile, textCharactersMax) !== realmProfile)
    throw fields.invalid('its profile is not known');
  const { digestBytes } = hashOf(fields, Key.realmHash);
  const keyBytes = fields.bytes(Key.realmPublicKey, 1, keyBytesMax);
  const measurements = fields.bytesList(Key.extensibleMeasurements, 4, 4, digestBytesMax);
  if (measurements.some((measurement) => measurement.length !== digestBytes))
    throw fields.invalid('its measurements are not as long as its hash');
  return {
    sign1,
    challenge: fields.bytes(Key.challenge, challengeBytes, challengeBytes),
    personalization: fields.bytes(Key.personalization, 64, 64),
    hashAlgorithm: fields.text(Key.realmHash, textCharactersMax),
    publicKey: hasProfile ? coseKey(keyBytes) : rawPoint(keyBytes, fields),
    publicKeyDigest: createHash(hashOf(fields, Key.realmPublicKeyHash).name).update(keyBytes).digest(),
    initialMeasurement: fields.bytes(Key.initialMeasurement, digestBytes, digestBytes),
    extensibleMeasurements: measurements,
  };
}

function digest(fields: CborMap, key: number): Uint8Array {
  const bytes = fields.bytes(key, 0, digestBytesMax);
  if (digestLengths.includes(bytes.length)) return bytes;
  throw fields.invalid(`the field ${key} is no digest`);
}

function hashOf(fields: CborMap, key: number): { readonly name: string; readonly digestBytes: number } {
  const text = fields.text(key, textCharactersMax);
  const hash = Object.hasOwn(hashes, text) ? hashes[text] : undefined;
  if (hash === undefined) throw fields.invalid(`the field ${key} names no hash that is known`);
  return hash;
}

const curves = [
  { number: 1, name: 'P-256', coordinateBytes: 32 },
  { number: 2, name: 'P-384', coordinateBytes: 48 },
  { number: 3, name: 'P-521', coordinateBytes: 66 },
] as const;
type Curve = (typeof curves)[number];

/** 04, x, y: the curve follows from the length. */
function rawPoint(bytes: Uint8Array, fields: CborMap): KeyObject {
  const curve = curves.find(({ coordinateBytes }) => bytes.length === 1 + 2 * coordinateBytes);
  if (curve === undefined || bytes[0] !== 4) throw fields.invalid('its key is no point');
  const { coordinateBytes } = curve;
  return keyOf(curve, bytes.subarray(1, 1 + coordinateBytes), bytes.subarray(1 + coordinateBytes), fields);
}

/** RFC 9052, 7, and RFC 9053, 7.1.1. */
function coseKey(bytes: Uint8Array): KeyObject {
  const fields = new CborMap(decodeCbor(bytes, "the realm's key"), "the realm's key", 'realm-form');
  const known: readonly unknown[] = [1, 3, -1, -2, -3];
  if (fields.number(1, 2) !== 2 || fields.keys().some((key) => !known.includes(key)))
    throw fields.invalid('it is no public key on a curve');
  const number = fields.number(-1, 3);
  const curve = curves.find((candidate) => candidate.number === number);
  if (curve === undefined) throw fields.invalid('its curve is not known');
  const { coordinateBytes } = curve;
  const coordinate = (key: number): Uint8Array => fields.bytes(key, coordinateBytes, coordinateBytes);
  return keyOf(curve, coordinate(-2), coordinate(-3), fields);
}

function keyOf(curve: Curve, x: Uint8Array, y: Uint8Array, fields: CborMap): KeyObject {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  try {
    return createPublicKey({ key: { kty: 'EC', crv: curve.name, x: text(x), y: text(y) }, format: 'jwk' });
  } catch {
    throw fields.invalid('its key is not on its curve');
  }
}
