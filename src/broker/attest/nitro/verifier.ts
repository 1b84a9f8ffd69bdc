/** Verifier of AWS Nitro attestation documents (spec/attestation-nitro.md). */
import { nitroDocumentAgeMillisecondsMax, nitroDocumentEarlyMillisecondsMax } from '../../../lib/limits.ts';
import { checkEvidence, requiredPart, type Evidence } from '../../../wire/evidence.ts';
import { verifySign1 } from '../cose/sign1.ts';
import { trustedRoots, type RootCertificate } from '../trusted-roots.ts';
import type { VerifiedEvidence, Verifier, VerifyContext } from '../verifier.ts';
import { parseCertificate, untrusted, verifyChain, type Certificate } from '../x509/certificates.ts';
import { nitroClaims, nitroDefinitions } from './claims.ts';
import { parseNitroDocument, type NitroDocument } from './document.ts';
import { awsNitroRoot, awsNitroRootName } from './root.ts';

export const verifier: Verifier = {
  technology: 'nitro',
  definitions: nitroDefinitions,
  verify: async (evidence, context) => verifyNitro(evidence, context),
};

const pinned: RootCertificate = {
  name: awsNitroRootName,
  certificate: parseCertificate(awsNitroRoot, 'evidence'),
};

function verifyNitro(evidence: Evidence, context: VerifyContext): VerifiedEvidence {
  checkEvidence(evidence);
  const document = parseNitroDocument(requiredPart(evidence, 'document'));
  const { leaf, rootName } = verifyCertificates(document, context);
  if (!verifySign1(document.sign1, leaf.publicKey))
    throw untrusted('evidence', 'cose-signature', 'the document is not signed by the key of its certificate');
  const age = context.now - document.timestamp;
  if (age > nitroDocumentAgeMillisecondsMax || age < -nitroDocumentEarlyMillisecondsMax)
    throw untrusted('evidence', 'document-time', 'the document was not made just now');
  return {
    technology: 'nitro',
    reportData: document.userData ?? document.nonce ?? new Uint8Array(0),
    claims: nitroClaims(document),
    basis: [{ name: 'root', value: rootName }],
  };
}

function verifyCertificates(
  document: NitroDocument,
  context: VerifyContext,
): { readonly leaf: Certificate; readonly rootName: string } {
  const leaf = parseCertificate(document.certificate, 'evidence');
  const authorities = document.authorities.map((der) => parseCertificate(der, 'evidence'));
  const first = authorities[0]!;
  const roots = [pinned, ...trustedRoots('nitro', context).certificates];
  const root = roots.find(({ certificate }) => isSame(certificate, first));
  if (root === undefined)
    throw untrusted('evidence', 'nitro-root', 'the chain of the document does not begin at a root that is trusted');
  const { path } = verifyChain({
    ...{ leaf, intermediates: authorities, roots: [root.certificate], now: context.now, origin: 'evidence' },
  });
  // What verified must be what the security module vouched with: all of it, in its order.
  const expected = [leaf, ...authorities.toReversed()];
  if (path.length !== expected.length || !path.every((certificate, index) => isSame(certificate, expected[index]!)))
    throw untrusted('evidence', 'cabundle-order', 'the authorities of the document are not its chain in order');
  return { leaf, rootName: root.name };
}

function isSame(left: Certificate, right: Certificate): boolean {
  return Buffer.compare(left.der, right.der) === 0;
}
