/**
 * Roots that the broker's operator configures (spec/attestation.md, "Roots"): certificates and bare
 * public keys, each with the name that a verdict rests on.
 *
 * A root is parsed once, however often evidence is verified; a verifier tells which kinds it takes.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { CaissonError } from '../../lib/errors.ts';
import type { Technology } from '../../wire/evidence.ts';
import type { TrustedRoot, VerifyContext } from './verifier.ts';
import { parseCertificate, type Certificate } from './x509/certificates.ts';

export interface RootCertificate {
  readonly name: string;
  readonly certificate: Certificate;
}

export interface RootKey {
  readonly name: string;
  /** SPKI. */
  readonly der: Uint8Array;
  readonly key: KeyObject;
}

export interface TrustedRoots {
  readonly certificates: readonly RootCertificate[];
  readonly keys: readonly RootKey[];
}

type ParsedRoot = RootCertificate | RootKey;

const parsedRoots = new WeakMap<TrustedRoot, ParsedRoot>();

/** `configuration-invalid` where one of this technology is neither a certificate nor a public key. */
export function trustedRoots(technology: Technology, { extraRoots }: VerifyContext): TrustedRoots {
  const certificates: RootCertificate[] = [];
  const keys: RootKey[] = [];
  for (const root of extraRoots) {
    if (root.technology !== technology) continue;
    const parsed = parsedRoots.get(root) ?? parse(root);
    parsedRoots.set(root, parsed);
    if ('certificate' in parsed) certificates.push(parsed);
    else keys.push(parsed);
  }
  return { certificates, keys };
}

/** The name of the root that a chain ended in. */
export function rootName(roots: TrustedRoots, certificate: Certificate): string {
  const found = roots.certificates.find((root) => Buffer.compare(root.certificate.der, certificate.der) === 0);
  return found?.name ?? '';
}

/** The key as the DER of its SPKI. */
export function spkiOf(key: KeyObject): Uint8Array {
  return key.export({ type: 'spki', format: 'der' });
}

function parse({ name, der, technology }: TrustedRoot): ParsedRoot {
  const key = publicKeyOrUndefined(der);
  if (key !== undefined) return { name, der: spkiOf(key), key };
  try {
    return { name, certificate: parseCertificate(der, 'evidence') };
  } catch (cause) {
    throw new CaissonError('invalid', 'configuration-invalid', `the root ${name} is no certificate and no public key`, {
      remedy: 'Configure it as one certificate, or one public key (SPKI), in DER or PEM.',
      details: { technology },
      cause,
    });
  }
}

function publicKeyOrUndefined(der: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}
