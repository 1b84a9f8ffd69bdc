/** Verifier of Arm CCA tokens (spec/attestation-cca.md). */
import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { checkEvidence, requiredPart, type Evidence } from '../../../wire/evidence.ts';
import { verifySign1 } from '../cose/sign1.ts';
import { trustedRoots } from '../trusted-roots.ts';
import type { VerifiedEvidence, Verifier, VerifyContext } from '../verifier.ts';
import { untrusted } from '../x509/certificates.ts';
import { ccaClaims, ccaDefinitions } from './claims.ts';
import { parseCcaToken, type PlatformToken } from './token.ts';

export const verifier: Verifier = {
  technology: 'cca',
  definitions: ccaDefinitions,
  verify: async (evidence, context) => verifyCca(evidence, context),
};

function verifyCca(evidence: Evidence, context: VerifyContext): VerifiedEvidence {
  checkEvidence(evidence);
  const token = parseCcaToken(requiredPart(evidence, 'token'));
  const { platform, realm } = token;
  const rootName = verifyPlatform(platform, context);
  if (!verifySign1(realm.sign1, realm.publicKey))
    throw untrusted('evidence', 'realm-signature', "the realm token is not signed by the realm's key");
  if (!equalBytes(realm.publicKeyDigest, platform.challenge))
    throw untrusted('evidence', 'realm-binding', "the platform did not vouch for this realm's key");
  return {
    technology: 'cca',
    reportData: realm.challenge,
    claims: ccaClaims(token, rootName),
    basis: [{ name: 'root', value: rootName }],
  };
}

/** The name of the configured key that signed. */
function verifyPlatform({ sign1 }: PlatformToken, context: VerifyContext): string {
  const { keys, certificates } = trustedRoots('cca', context);
  const candidates: readonly { readonly name: string; readonly key: KeyObject }[] = [
    ...keys,
    ...certificates.map(({ name, certificate }) => ({ name, key: certificate.publicKey })),
  ];
  const root = candidates.find(({ key }) => verifySign1(sign1, key));
  if (root !== undefined) return root.name;
  throw untrusted('evidence', 'platform-signature', 'the platform token is not signed by a key that is trusted');
}
