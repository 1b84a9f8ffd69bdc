/**
 * Certificate revocation lists, version 2 (RFC 5280, 5; spec/attestation.md, "Revocation lists").
 *
 *   parseCrl(der)                              a list; trusts nothing
 *   verifyCrl({ crl, issuer, now, ageMax })    signature by `issuer` (ECDSA, RSA with PKCS #1 or PSS), its name, its right to sign
 *                                              lists, thisUpdate <= now <= nextUpdate, not older than `ageMax` milliseconds
 *                                              (leave it out where a vendor issues lists once a year), critical extensions
 *   isRevoked(crl, certificate)                whether the list names the serial of `certificate`, which must have its issuer
 *
 * Lists are collateral always: refusals are `collateral-untrusted` and `collateral-stale`, `details.check` is crl-format, crl-issuer,
 * crl-usage, crl-algorithm, crl-signature, crl-extensions, crl-dates or crl-age. What a revoked certificate means is for the caller
 * to say. A list without nextUpdate, a partial or delta list and an indirect one are refused: nobody whose evidence is read here issues them.
 */
import { constants, verify, type KeyObject } from 'node:crypto';
import { assert } from '../../../lib/assert.ts';
import { CaissonError } from '../../../lib/errors.ts';
import { toHex } from '../../../lib/hex.ts';
import { contextTag, derTag, parseDer, type DerFields, type DerValue } from '../../../wire/der.ts';
import { malformed, parseExtensions, stale, untrusted, type Certificate, type Extension } from './certificates.ts';

export interface Crl {
  readonly issuer: Uint8Array;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Serials as `Certificate.serial`. */
  readonly revoked: ReadonlySet<string>;
  readonly extensions: ReadonlyMap<string, Extension>;
  /** What the signature covers. */
  readonly signedBytes: Uint8Array;
  readonly algorithm: DerValue;
  readonly signature: Uint8Array;
}

/** crlNumber and authorityKeyIdentifier say nothing that the checks below would miss. */
const knownCritical: readonly string[] = ['2.5.29.20', '2.5.29.35'];
/** Of entries: reason and date of the invalidity. The entry counts whatever they say. */
const knownEntryCritical: readonly string[] = ['2.5.29.21', '2.5.29.24'];

export function parseCrl(der: Uint8Array): Crl {
  try {
    return parse(der);
  } catch (error) {
    if (error instanceof CaissonError && error.code !== 'format-invalid') throw error;
    throw crlMalformed('a revocation list cannot be read', error);
  }
}

function parse(der: Uint8Array): Crl {
  const outer = parseDer(der).sequence();
  const signed = outer.next();
  const algorithm = outer.next();
  const signature = outer.next().bitStringBytes();
  outer.end();
  const body = signed.sequence();
  if (body.next().number() !== 1) throw crlMalformed('a revocation list is not of version 2');
  if (Buffer.compare(body.next().bytes, algorithm.bytes) !== 0)
    throw crlMalformed('a revocation list names two signature algorithms');
  const issuer = body.next();
  issuer.sequence();
  const thisUpdate = body.next().time();
  const next = body.optional(derTag.utcTime) ?? body.optional(derTag.generalizedTime);
  if (next === undefined) throw crlMalformed('a revocation list does not say when the next one comes');
  const revoked = parseEntries(body.optional(derTag.sequence)?.sequence());
  const extensions = parseExtensions(body.optional(contextTag(0, 'constructed'))?.explicit(0), 'collateral');
  body.end();
  const nextUpdate = next.time();
  return {
    ...{ issuer: issuer.bytes, thisUpdate, nextUpdate, revoked, extensions, algorithm, signature },
    signedBytes: signed.bytes,
  };
}

function parseEntries(entries: DerFields | undefined): ReadonlySet<string> {
  const revoked = new Set<string>();
  for (const entry of entries?.rest() ?? []) {
    const fields = entry.sequence();
    revoked.add(toHex(fields.next().unsignedBytes()));
    fields.next().time();
    const extensions = parseExtensions(fields.optional(derTag.sequence), 'collateral');
    fields.end();
    checkCritical(extensions, knownEntryCritical);
  }
  return revoked;
}

export interface CrlOptions {
  readonly crl: Uint8Array;
  /** Already verified by the caller. */
  readonly issuer: Certificate;
  readonly now: number;
  /** Milliseconds since `thisUpdate`. */
  readonly ageMax?: number;
}

export function verifyCrl(options: CrlOptions): Crl {
  const { issuer, now, ageMax = Infinity } = options;
  const crl = parseCrl(options.crl);
  if (Buffer.compare(crl.issuer, issuer.subject) !== 0)
    throw untrusted('collateral', 'crl-issuer', 'a revocation list is of another issuer');
  if (!issuer.allows('cRLSign'))
    throw untrusted('collateral', 'crl-usage', 'the key of an issuer may not sign revocation lists');
  checkSignature(crl, issuer.publicKey);
  checkCritical(crl.extensions, knownCritical);
  checkCrlDates(crl, now, ageMax);
  return crl;
}

/** For a list whose signature was checked before and that is used again later. */
export function checkCrlDates({ thisUpdate, nextUpdate }: Crl, now: number, ageMax: number): void {
  const dates = { thisUpdate: new Date(thisUpdate).toISOString(), nextUpdate: new Date(nextUpdate).toISOString() };
  if (now < thisUpdate) throw stale('crl-dates', 'a revocation list is not valid yet', dates);
  if (now > nextUpdate) throw stale('crl-dates', 'a revocation list has expired', dates);
  if (now - thisUpdate > ageMax) throw stale('crl-age', 'a revocation list is older than is allowed', dates);
}

export function isRevoked(crl: Crl, certificate: Certificate): boolean {
  assert(Buffer.compare(crl.issuer, certificate.issuer) === 0, 'a list speaks of certificates of its own issuer');
  return crl.revoked.has(certificate.serial);
}

function checkCritical(extensions: ReadonlyMap<string, Extension>, known: readonly string[]): void {
  for (const [oid, { isCritical }] of extensions)
    if (isCritical && !known.includes(oid))
      throw untrusted('collateral', 'crl-extensions', `a revocation list has the unknown critical extension ${oid}`);
}

const hashes: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const ecdsa: Readonly<Record<string, string>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};
const rsa: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
};
const rsaPss = '1.2.840.113549.1.1.10';
const mgf1 = '1.2.840.113549.1.1.8';

function checkSignature({ algorithm, signedBytes, signature }: Crl, key: KeyObject): void {
  let isRight: boolean;
  try {
    const fields = algorithm.sequence();
    const oid = fields.next().oid();
    const kind = key.asymmetricKeyType;
    if (oid in ecdsa && kind === 'ec') isRight = verify(ecdsa[oid], signedBytes, key, signature);
    else if (oid in rsa && kind === 'rsa') isRight = verify(rsa[oid], signedBytes, key, signature);
    else if (oid === rsaPss && (kind === 'rsa' || kind === 'rsa-pss')) {
      const { hash, saltLength } = pssParameters(fields.next());
      isRight = verify(hash, signedBytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, signature);
    } else throw untrusted('collateral', 'crl-algorithm', 'a revocation list is signed in a way that is not trusted');
  } catch (error) {
    if (error instanceof CaissonError && error.code !== 'format-invalid') throw error;
    throw untrusted('collateral', 'crl-signature', 'the signature of a revocation list cannot be read', error);
  }
  if (!isRight) throw untrusted('collateral', 'crl-signature', 'the signature of a revocation list does not hold');
}

/** RFC 4055, 3.1. The hash of the mask must be that of the message, as everybody has it. */
function pssParameters(value: DerValue): { hash: string; saltLength: number } {
  const fields = value.sequence();
  const hash = hashOf(fields.next().explicit(0));
  const mask = fields.next().explicit(1).sequence();
  const isMgf1 = mask.next().oid() === mgf1;
  const maskHash = hashOf(mask.next());
  const saltLength = fields.next().explicit(2).number();
  const trailer = fields.optional(contextTag(3, 'constructed'))?.explicit(3).number() ?? 1;
  fields.end();
  if (hash === undefined || !isMgf1 || maskHash !== hash || trailer !== 1)
    throw untrusted('collateral', 'crl-algorithm', 'a revocation list is signed in a way that is not trusted');
  return { hash, saltLength };
}

function hashOf(value: DerValue): string | undefined {
  const fields = value.sequence();
  const oid = fields.next().oid();
  fields.optional(derTag.null)?.null();
  fields.end();
  return hashes[oid];
}

function crlMalformed(message: string, cause?: unknown): CaissonError {
  return malformed('collateral', message, cause, 'crl-format');
}
