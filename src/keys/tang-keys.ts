/**
 * What a Tang server publishes and is asked: its signed advertisement, and points of P-521 as JWK. Pure.
 *
 * The advertisement is believed only as far as a signature reaches that verifies under the signing key whose
 * thumbprint (RFC 7638, SHA-256) stands in the URL. Everything in it is bounded by the answer's size.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { p521 } from '@noble/curves/nist.js';
import { serviceAway, serviceRefuses } from './service-errors.ts';

export type Point = InstanceType<typeof p521.Point>;

/** A coordinate of P-521. */
export const coordinateBytes = 66;
export const compressedPointBytes = 1 + coordinateBytes;

type Fields = Readonly<Record<string, unknown>>;

/** The exchange key of an advertisement that the pinned key signed. */
export function exchangeKeyOf(advertisement: Fields, thumbprint: string): Point {
  const { payload } = advertisement;
  if (typeof payload !== 'string') throw noAdvertisement('it has no payload');
  const keys = keysOf(payload);
  const signer = keys.find((key) => hasUse(key, 'verify') && thumbprintOf(key) === thumbprint);
  if (signer === undefined) {
    const present = keys.filter((key) => hasUse(key, 'verify')).map(thumbprintOf);
    throw serviceRefuses(
      'tang',
      `it does not advertise a signing key ${thumbprint}, but ${present.toSpliced(4).join(', ') || 'none'}`,
      'If its keys were rotated, take the new thumbprint (tang-show-keys on the server) and add a key with it.',
    );
  }
  if (!signaturesOf(advertisement).some((signature) => isSignedBy(signer, payload, signature)))
    throw serviceRefuses(
      'tang',
      'its advertisement is not signed by the pinned key',
      'Somebody else answers, or changes what is answered.',
    );
  const exchange = keys.find((key) => hasUse(key, 'deriveKey') && key['alg'] === 'ECMR' && key['crv'] === 'P-521');
  const point = exchange === undefined ? undefined : pointFromJwk(exchange);
  if (point === undefined) throw noAdvertisement('it has no exchange key on P-521');
  return point;
}

/** RFC 7638: the required members in order, without blanks. */
export function thumbprintOf(key: Fields): string {
  const { crv, kty, x, y } = key;
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
}

export function jwkOf(point: Point): {
  readonly kty: 'EC';
  readonly crv: 'P-521';
  readonly x: string;
  readonly y: string;
} {
  const bytes = point.toBytes(false);
  const coordinate = (start: number): string =>
    Buffer.from(bytes.subarray(start, start + coordinateBytes)).toString('base64url');
  return { kty: 'EC', crv: 'P-521', x: coordinate(1), y: coordinate(1 + coordinateBytes) };
}

/** Undefined for anything that is no point of the curve. */
export function pointFromJwk({ kty, crv, x, y }: Fields): Point | undefined {
  if (kty !== 'EC' || crv !== 'P-521' || typeof x !== 'string' || typeof y !== 'string') return undefined;
  const [left, right] = [Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')];
  if (left.length !== coordinateBytes || right.length !== coordinateBytes) return undefined;
  return pointFromBytes(Buffer.concat([Uint8Array.of(4), left, right]));
}

/** Undefined for anything that is no point of the curve, and for the point at infinity. */
export function pointFromBytes(bytes: Uint8Array): Point | undefined {
  try {
    const point = p521.Point.fromBytes(bytes);
    point.assertValidity();
    return point;
  } catch {
    return undefined;
  }
}

function keysOf(payload: string): readonly Fields[] {
  const set = decoded(payload);
  const keys = set?.['keys'];
  if (!Array.isArray(keys)) throw noAdvertisement('its payload holds no keys');
  return keys.filter(isFields);
}

/** The general form, and the flattened one that a single signature has. */
function signaturesOf(advertisement: Fields): readonly Fields[] {
  const { signatures } = advertisement;
  return Array.isArray(signatures) ? signatures.filter(isFields) : [advertisement];
}

function isSignedBy(key: Fields, payload: string, { protected: head, signature }: Fields): boolean {
  if (typeof head !== 'string' || typeof signature !== 'string') return false;
  if (decoded(head)?.['alg'] !== 'ES512' || key['crv'] !== 'P-521') return false;
  try {
    const { kty, crv, x, y } = key;
    const publicKey = createPublicKey({ key: { kty, crv, x, y } as never, format: 'jwk' });
    const input = Buffer.from(`${head}.${payload}`);
    const options = { key: publicKey, dsaEncoding: 'ieee-p1363' as const };
    return verify('sha512', input, options, Buffer.from(signature, 'base64url'));
  } catch {
    return false;
  }
}

function hasUse(key: Fields, use: string): boolean {
  return Array.isArray(key['key_ops']) && key['key_ops'].includes(use);
}

function decoded(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function noAdvertisement(what: string): Error {
  return serviceAway('tang', `its advertisement cannot be used: ${what}`, {
    remedy: 'Check that the URL leads to a Tang server with keys (tangd-keygen).',
  });
}
