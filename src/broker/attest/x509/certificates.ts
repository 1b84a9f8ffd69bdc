/**
 * Certificates and their chains (spec/attestation.md, "Certificates"): what node:crypto does not show or check.
 *
 *   parseCertificate(der, origin)            one certificate, strict DER; `extension(oid)`, names and serial as bytes and texts
 *   splitPem(text, origin)                   the certificates of a PEM bundle, as DER; nothing else may stand between them
 *   splitDer(bytes, origin)                  DER certificates one after another
 *   verifyChain({ leaf, intermediates, roots, now, origin })
 *                                            finds and checks the path from `leaf` to one of `roots`, which are trusted as
 *                                            bytes; returns the path, leaf first, root last. Options: `knownCritical` (more
 *                                            extensions that may be critical), `requireCa` (the leaf issues certificates itself)
 *   distinguishedName(certificate.subject)   `{ CN: …, O: … }` of a name's bytes
 *   untrusted(origin, check, message)        the error for a check of yours on the same chain
 *
 * `origin` says who vouches: of `evidence`, refusals are `evidence-invalid` (bytes) and `evidence-untrusted` (all else); of
 * `collateral`, `collateral-untrusted` and, for dates, `collateral-stale`. `details.check` names the check: certificate-format,
 * certificate-issuer, certificate-signature, certificate-algorithm, certificate-dates, certificate-ca, certificate-usage,
 * certificate-path-length, certificate-extensions, certificate-root. Certificates of a bundle that are not on the path do not count.
 * Revocation lists: crl.ts beside this file.
 *
 * A certificate of a chain that held is remembered for a while, by the digest of all its bytes: how it reads, and whose key its
 * signature fits. Neither changes. Everything that may (dates, roots, revocation, what is allowed) is checked each time anew.
 */
import { X509Certificate, type KeyObject } from 'node:crypto';
import { sha256Of } from '../../../crypto/digest.ts';
import { CaissonError } from '../../../lib/errors.ts';
import { toHex } from '../../../lib/hex.ts';
import {
  certificateBytesMax,
  certificateExtensionsMax,
  certificatesKnownMax,
  chainCertificatesMax,
  pemCertificatesMax,
} from '../../../lib/limits.ts';
import { RecentlyUsed } from '../../../lib/recently-used.ts';
import { contextTag, DerFields, derTag, parseDer, type DerValue } from '../../../wire/der.ts';

/** Whose bytes these are, and so what a refusal is called. */
export type Origin = 'evidence' | 'collateral';

export interface Extension {
  readonly isCritical: boolean;
  /** What the octet string holds: DER, of a few vendors raw bytes. */
  readonly value: Uint8Array;
}

export interface Certificate {
  readonly der: Uint8Array;
  /** SHA-256 of `der`, in hexadecimal. */
  readonly digest: string;
  readonly origin: Origin;
  /** Names as DER: compared as bytes. */
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  /** The magnitude, lower-case hexadecimal. */
  readonly serial: string;
  /** Milliseconds since 1970; the certificate holds from the first to the second, both included. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly signatureAlgorithm: string;
  readonly publicKey: KeyObject;
  readonly x509: X509Certificate;
  readonly extensions: ReadonlyMap<string, Extension>;
  /** basicConstraints: undefined where it is no CA. */
  readonly authority: { readonly pathLengthMax: number | undefined } | undefined;
  /** True where key usage allows it, or there is no such extension. */
  allows(usage: KeyUsage): boolean;
  extension(oid: string): Uint8Array | undefined;
}

/** The bits of RFC 5280, 4.2.1.3. */
const keyUsageBits = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;
export type KeyUsage = keyof typeof keyUsageBits;

export const extensionOids = {
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAlternativeName: '2.5.29.17',
} as const;

/** What `verifyChain` looks at itself, or what says nothing about who may issue what. */
const knownCriticalAlways: readonly string[] = Object.values(extensionOids);

/** SHA-2 and the curves and RSA forms that vendors sign certificates with. Not SHA-1, not MD5. */
const soundAlgorithms: ReadonlySet<string> = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.10',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
]);

interface Known {
  readonly certificate: Certificate;
  /** Digest of the certificate whose key its signature fits; undefined of a root, where nobody asked. */
  readonly issuer: string | undefined;
}

const known = new RecentlyUsed<Known>(certificatesKnownMax);

function placeOf({ digest, origin }: Pick<Certificate, 'digest' | 'origin'>): string {
  return `${origin} ${digest}`;
}

export function parseCertificate(der: Uint8Array, origin: Origin): Certificate {
  if (der.length > certificateBytesMax)
    throw malformed(origin, `a certificate is larger than ${certificateBytesMax} bytes`);
  const digest = toHex(sha256Of(der));
  const found = known.get(placeOf({ digest, origin }));
  if (found !== undefined) return found.certificate;
  try {
    // A copy: what is remembered keeps nothing else of the message that it came in, and nobody else can change it.
    return parse(Uint8Array.from(der), digest, origin);
  } catch (error) {
    if (error instanceof CaissonError && error.code !== 'format-invalid') throw error;
    throw malformed(origin, 'a certificate cannot be read', error);
  }
}

function parse(der: Uint8Array, digest: string, origin: Origin): Certificate {
  const outer = parseDer(der).sequence();
  const body = outer.next().sequence();
  const outerAlgorithm = outer.next();
  outer.next().bitStringBytes();
  outer.end();
  if (body.optional(contextTag(0, 'constructed'))?.explicit(0).number() !== 2)
    throw malformed(origin, 'a certificate is not of version 3');
  const serial = toHex(body.next().unsignedBytes());
  const algorithm = body.next();
  if (Buffer.compare(algorithm.bytes, outerAlgorithm.bytes) !== 0)
    throw malformed(origin, 'a certificate names two signature algorithms');
  const issuer = body.next();
  const validity = body.next().sequence();
  const notBefore = validity.next().time();
  const notAfter = validity.next().time();
  validity.end();
  const subject = body.next();
  issuer.sequence();
  subject.sequence();
  body.next().sequence();
  body.optional(contextTag(1, 'primitive'));
  body.optional(contextTag(2, 'primitive'));
  const extensions = parseExtensions(body.optional(contextTag(3, 'constructed'))?.explicit(3), origin);
  body.end();
  const usage = extensions.get(extensionOids.keyUsage);
  const allowedBits = usage === undefined ? () => true : parseDer(usage.value).bits();
  const x509 = new X509Certificate(der);
  return {
    ...{
      der,
      digest,
      origin,
      subject: subject.bytes,
      issuer: issuer.bytes,
      serial,
      notBefore,
      notAfter,
      extensions,
      x509,
    },
    signatureAlgorithm: algorithm.sequence().next().oid(),
    publicKey: x509.publicKey,
    authority: parseAuthority(extensions.get(extensionOids.basicConstraints)),
    allows: (wanted) => allowedBits(keyUsageBits[wanted]),
    extension: (oid) => extensions.get(oid)?.value,
  };
}

/** The extensions of a certificate, a list or one of its entries: each once. */
export function parseExtensions(value: DerValue | undefined, origin: Origin): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  for (const item of value?.sequence().rest() ?? []) {
    const fields = item.sequence();
    const oid = fields.next().oid();
    const isCritical = fields.optional(derTag.boolean)?.boolean() ?? false;
    const bytes = fields.next().octetString();
    fields.end();
    if (extensions.has(oid)) throw malformed(origin, `the extension ${oid} is there twice`);
    if (extensions.size === certificateExtensionsMax) throw malformed(origin, 'there are too many extensions');
    extensions.set(oid, { isCritical, value: bytes });
  }
  return extensions;
}

function parseAuthority(extension: Extension | undefined): Certificate['authority'] {
  if (extension === undefined) return undefined;
  const fields = parseDer(extension.value).sequence();
  const isAuthority = fields.optional(derTag.boolean)?.boolean() ?? false;
  const pathLengthMax = fields.optional(derTag.integer)?.number();
  fields.end();
  return isAuthority ? { pathLengthMax } : undefined;
}

export interface ChainOptions {
  readonly leaf: Certificate;
  /** In any order; one that does not belong to the path is not looked at. */
  readonly intermediates: readonly Certificate[];
  /** Trusted as they are. */
  readonly roots: readonly Certificate[];
  readonly now: number;
  readonly origin: Origin;
  /** Object identifiers of extensions that the caller checks, and that may be critical therefore. */
  readonly knownCritical?: readonly string[];
  /** The leaf is itself an authority. */
  readonly requireCa?: boolean;
}

export interface VerifiedChain {
  /** Leaf first, root last. */
  readonly path: readonly Certificate[];
  readonly root: Certificate;
}

export function verifyChain(options: ChainOptions): VerifiedChain {
  const { leaf, origin } = options;
  const path: Certificate[] = [leaf];
  if (options.requireCa === true) checkAuthority(leaf, 0, origin);
  for (;;) {
    const certificate = path[path.length - 1]!;
    checkItself(certificate, options);
    if (isRoot(certificate, options.roots)) {
      remember(path);
      return { path, root: certificate };
    }
    if (path.length === chainCertificatesMax)
      throw untrusted(origin, 'certificate-path-length', 'a chain of certificates is too long');
    const issuer = issuerOf(certificate, path, options);
    // RFC 5280, 4.2.1.9: the authorities that stand between this one and the leaf.
    checkAuthority(issuer, path.length - 1, origin);
    path.push(issuer);
  }
}

/** The issuer of `certificate`: a root before any other, and among several of one name the one whose key fits. */
function issuerOf(certificate: Certificate, path: readonly Certificate[], options: ChainOptions): Certificate {
  const { origin, roots, intermediates } = options;
  if (Buffer.compare(certificate.subject, certificate.issuer) === 0)
    throw untrusted(origin, 'certificate-root', 'a chain of certificates ends in a root that is not trusted');
  const candidates = [...roots, ...intermediates].filter(
    (candidate) => Buffer.compare(candidate.subject, certificate.issuer) === 0 && !path.includes(candidate),
  );
  if (candidates.length === 0)
    throw untrusted(origin, 'certificate-issuer', 'the issuer of a certificate is not among those given');
  const issuer = candidates.find((candidate) => isSignedBy(certificate, candidate));
  if (issuer !== undefined) return issuer;
  throw untrusted(origin, 'certificate-signature', 'the signature of a certificate does not hold');
}

function checkItself(certificate: Certificate, { now, origin, knownCritical = [] }: ChainOptions): void {
  if (!soundAlgorithms.has(certificate.signatureAlgorithm))
    throw untrusted(origin, 'certificate-algorithm', 'a certificate is signed in a way that is not trusted');
  checkDates(certificate, now, origin);
  for (const [oid, { isCritical }] of certificate.extensions)
    if (isCritical && !knownCriticalAlways.includes(oid) && !knownCritical.includes(oid))
      throw untrusted(origin, 'certificate-extensions', `a certificate has the unknown critical extension ${oid}`);
}

function checkDates({ notBefore, notAfter }: Certificate, now: number, origin: Origin): void {
  if (now >= notBefore && now <= notAfter) return;
  const message = now < notBefore ? 'a certificate is not valid yet' : 'a certificate has expired';
  throw origin === 'collateral' ? stale('certificate-dates', message) : untrusted(origin, 'certificate-dates', message);
}

function checkAuthority(issuer: Certificate, below: number, origin: Origin): void {
  if (issuer.authority === undefined)
    throw untrusted(origin, 'certificate-ca', 'a certificate was issued by one that is no authority');
  if (!issuer.allows('keyCertSign'))
    throw untrusted(origin, 'certificate-usage', 'the key of an issuer may not sign certificates');
  if (issuer.authority.pathLengthMax !== undefined && below > issuer.authority.pathLengthMax)
    throw untrusted(origin, 'certificate-path-length', 'there are more authorities below an issuer than it allows');
}

function isRoot(certificate: Certificate, roots: readonly Certificate[]): boolean {
  return roots.some((root) => Buffer.compare(root.der, certificate.der) === 0);
}

/** Of a chain that ended in a root that is trusted: nobody else's certificates take the room. */
function remember(path: readonly Certificate[]): void {
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1]?.digest ?? known.get(placeOf(certificate))?.issuer;
    known.put(placeOf(certificate), { certificate, issuer });
  }
}

function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  if (known.get(placeOf(certificate))?.issuer === issuer.digest) return true;
  try {
    return certificate.x509.verify(issuer.publicKey);
  } catch {
    return false; // a key of another kind than the signature
  }
}

/** DER certificates one after another. */
export function splitDer(bytes: Uint8Array, origin: Origin): Certificate[] {
  const certificates: Certificate[] = [];
  try {
    for (const { bytes: der } of new DerFields(bytes, 0).rest()) {
      if (certificates.length === pemCertificatesMax) throw malformed(origin, 'there are too many certificates');
      certificates.push(parseCertificate(der, origin));
    }
  } catch (error) {
    if (error instanceof CaissonError && error.code !== 'format-invalid') throw error;
    throw malformed(origin, 'certificates cannot be told apart', error);
  }
  return certificates;
}

/** The certificates of a PEM bundle. Only line ends and the zero byte that quotes end in may stand around them. */
export function splitPem(bytes: Uint8Array, origin: Origin): Certificate[] {
  if (bytes.length > pemCertificatesMax * certificateBytesMax * 2) throw malformed(origin, 'the PEM is too large');
  const text = Buffer.from(bytes).toString('latin1');
  const block = /\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*/y;
  const certificates: Certificate[] = [];
  while (block.lastIndex < text.length) {
    const start = block.lastIndex;
    const base64 = block.exec(text)?.[1]?.replaceAll(/\s/g, '');
    if (base64 === undefined) {
      if (/^\0+$/.test(text.substring(start))) break;
      throw malformed(origin, 'there is something other than certificates in the PEM');
    }
    const der = Buffer.from(base64, 'base64');
    if (der.toString('base64') !== base64) throw malformed(origin, 'a block of the PEM is not base64');
    if (certificates.length === pemCertificatesMax) throw malformed(origin, 'there are too many certificates');
    certificates.push(parseCertificate(Uint8Array.from(der), origin));
  }
  if (certificates.length === 0) throw malformed(origin, 'there is no certificate in the PEM');
  return certificates;
}

const attributeNames: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
};

/** The attributes of a name, under their short names or object identifiers. One that is there twice is refused. */
export function distinguishedName(name: Uint8Array, origin: Origin): Readonly<Record<string, string>> {
  const attributes: Record<string, string> = {};
  try {
    for (const relative of parseDer(name).sequence().rest())
      for (const attribute of relative.set().rest()) {
        const fields = attribute.sequence();
        const oid = fields.next().oid();
        const key = attributeNames[oid] ?? oid;
        if (Object.hasOwn(attributes, key)) throw malformed(origin, `a name has two attributes ${key}`);
        attributes[key] = fields.next().text();
        fields.end();
      }
  } catch (error) {
    if (error instanceof CaissonError && error.code !== 'format-invalid') throw error;
    throw malformed(origin, 'a name cannot be read', error);
  }
  return attributes;
}

/** Bytes that no issuer produces. */
export function malformed(
  origin: Origin,
  message: string,
  cause?: unknown,
  check = 'certificate-format',
): CaissonError {
  const options = { details: { check }, ...(cause === undefined ? {} : { cause }) };
  return origin === 'evidence'
    ? new CaissonError('invalid', 'evidence-invalid', message, options)
    : new CaissonError('integrity', 'collateral-untrusted', message, options);
}

/** Where the maker is not known; TPMs have so many makers that a broker starts with none. */
const makerChecks = new Set(['certificate-issuer', 'certificate-root', 'ek-root']);
const makerRemedy =
  'If you trust its maker, give the broker the certificates, root and intermediates, in "extraRoots".';

/** A signature, chain, name or hash that does not hold. */
export function untrusted(origin: Origin, check: string, message: string, cause?: unknown): CaissonError {
  const code = origin === 'evidence' ? 'evidence-untrusted' : 'collateral-untrusted';
  return new CaissonError('integrity', code, message, {
    details: { check },
    ...(makerChecks.has(check) ? { remedy: makerRemedy } : {}),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Collateral outside its dates, or older than the caller allows. */
export function stale(
  check: string,
  message: string,
  details: Readonly<Record<string, string | number>> = {},
): CaissonError {
  return new CaissonError('integrity', 'collateral-stale', message, {
    remedy: 'Fetch the collateral anew; check the clock of the broker.',
    details: { check, ...details },
  });
}
