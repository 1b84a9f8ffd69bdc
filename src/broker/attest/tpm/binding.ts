/**
 * What binds an attestation key to a genuine TPM (spec/attestation-tpm.md, "Attestation key" and "Endorsement key"): the
 * credential that this TPM opened, or the certificate of a platform that knows its keys.
 */
import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { assert } from '../../../lib/assert.ts';
import { parseDer, contextTag } from '../../../wire/der.ts';
import { evidenceInvalid, type Evidence } from '../../../wire/evidence.ts';
import { rootName, spkiOf, trustedRoots, type TrustedRoots } from '../trusted-roots.ts';
import type { VerifyContext } from '../verifier.ts';
import {
  distinguishedName,
  extensionOids,
  parseCertificate,
  splitDer,
  untrusted,
  verifyChain,
  type Certificate,
} from '../x509/certificates.ts';

export interface Binding {
  readonly kind: 'activation' | 'ak-certificate';
  /** Of the root that vouches for the endorsement key, else for the attestation key. */
  readonly rootName: string;
  readonly endorsementKey: KeyObject | undefined;
  /** Of the endorsement key's certificate: what its maker says of the TPM, by object identifier. */
  readonly hardware: Readonly<Record<string, string>>;
}

const ekUsage = '2.23.133.8.1';
const akUsage = '2.23.133.8.3';

interface Endorsement {
  readonly key: KeyObject;
  readonly rootName: string;
  readonly hardware: Readonly<Record<string, string>>;
}

/** `evidence-untrusted` unless a root vouches for the key of this name. */
export function verifyBinding(
  evidence: Evidence,
  attestationKey: { readonly name: Uint8Array; readonly publicKey: KeyObject },
  context: VerifyContext,
): Binding {
  const roots = trustedRoots('tpm', context);
  const { activation, akCertificate, ekCertificate } = evidence.parts;
  const certifiedBy =
    akCertificate === undefined
      ? undefined
      : verifyAkCertificate(akCertificate, attestationKey.publicKey, roots, context);
  const endorsement =
    activation === undefined && ekCertificate === undefined ? undefined : verifyEndorsement(evidence, roots, context);
  if (activation !== undefined && endorsement !== undefined) {
    checkActivation(activation, attestationKey.name, endorsement.key, context);
    return {
      ...{ kind: 'activation', rootName: endorsement.rootName },
      ...{ endorsementKey: endorsement.key, hardware: endorsement.hardware },
    };
  }
  // An endorsement key's certificate that no activation ties to this attestation key says nothing about it.
  if (certifiedBy !== undefined)
    return { kind: 'ak-certificate', rootName: certifiedBy, endorsementKey: undefined, hardware: {} };
  throw untrusted('evidence', 'ak-binding', 'nothing shows that the attestation key lives in a genuine TPM');
}

function checkActivation(
  shown: Uint8Array,
  akName: Uint8Array,
  endorsementKey: KeyObject,
  { activation }: VerifyContext,
): void {
  if (activation === undefined || !equalBytes(shown, activation.secret))
    throw untrusted('evidence', 'activation', 'the TPM did not open the credential of this challenge');
  if (!equalBytes(akName, activation.akName))
    throw untrusted('evidence', 'activation-ak', 'the credential was made for another attestation key');
  if (!equalBytes(spkiOf(endorsementKey), activation.ekPublic))
    throw untrusted('evidence', 'ek-match', 'the credential was made for another endorsement key');
}

function verifyEndorsement(evidence: Evidence, roots: TrustedRoots, context: VerifyContext): Endorsement {
  const { ekCertificate, ekIntermediates } = evidence.parts;
  if (ekCertificate === undefined) return pinnedEndorsement(roots, context);
  const leaf = parseCertificate(ekCertificate, 'evidence');
  const intermediates = ekIntermediates === undefined ? [] : splitDer(ekIntermediates, 'evidence');
  const root = verifyChainTo(leaf, intermediates, roots, context);
  const maySign = leaf.extension(extensionOids.keyUsage) !== undefined && leaf.allows('digitalSignature');
  checkUsage(leaf, ekUsage, 'ek-usage', !maySign);
  return { key: leaf.publicKey, rootName: root, hardware: hardwareOf(leaf) };
}

/** An endorsement key that the operator trusts by itself. */
function pinnedEndorsement(roots: TrustedRoots, { activation }: VerifyContext): Endorsement {
  const pinned = roots.keys.find(({ der }) => activation !== undefined && equalBytes(der, activation.ekPublic));
  if (pinned === undefined)
    throw untrusted('evidence', 'ek-root', 'the endorsement key has no certificate, and is not itself a root');
  return { key: pinned.key, rootName: pinned.name, hardware: {} };
}

function verifyAkCertificate(
  bytes: Uint8Array,
  attestationKey: KeyObject,
  roots: TrustedRoots,
  context: VerifyContext,
): string {
  const [leaf, ...intermediates] = splitDer(bytes, 'evidence');
  assert(leaf !== undefined, 'bytes that are there hold a certificate or are refused');
  const root = verifyChainTo(leaf, intermediates, roots, context);
  checkUsage(leaf, akUsage, 'ak-usage', leaf.allows('digitalSignature'));
  if (!leaf.publicKey.equals(attestationKey))
    throw untrusted('evidence', 'ak-match', 'the certified key is not the attestation key');
  return root;
}

function verifyChainTo(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  roots: TrustedRoots,
  { now }: VerifyContext,
): string {
  const certificates = roots.certificates.map(({ certificate }) => certificate);
  const { root } = verifyChain({ leaf, intermediates, roots: certificates, now, origin: 'evidence' });
  return rootName(roots, root);
}

/** An extended key usage must name `purpose`; where there is none, `otherwise` says whether that is enough. */
function checkUsage(certificate: Certificate, purpose: string, check: string, otherwise: boolean): void {
  const usages = certificate.extension(extensionOids.extendedKeyUsage);
  const isAllowed = usages === undefined ? otherwise : purposes(usages).includes(purpose);
  if (certificate.authority === undefined && isAllowed) return;
  throw untrusted('evidence', check, 'a certificate is not made for such a key');
}

function purposes(value: Uint8Array): readonly string[] {
  return readExtension(() => [...parseDer(value).sequence().rest()].map((purpose) => purpose.oid()));
}

/** The directory name among the alternative names (EK Credential Profile, "Subject Alternative Name"). */
function hardwareOf(certificate: Certificate): Readonly<Record<string, string>> {
  const value = certificate.extension(extensionOids.subjectAlternativeName);
  if (value === undefined) return {};
  return readExtension(() => {
    for (const name of parseDer(value).sequence().rest())
      if (name.tag === contextTag(4, 'constructed')) return distinguishedName(name.explicit(4).bytes, 'evidence');
    return {};
  });
}

function readExtension<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw evidenceInvalid('an extension of a certificate cannot be read', { check: 'certificate-format' }, error);
  }
}
