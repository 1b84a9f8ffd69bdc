/**
 * From an endorsement key up to a pinned root of AMD, and what AMD has revoked (spec/attestation-snp.md,
 * "Chain and revocation"). Intermediates and lists are collateral; what is wrong with them is an error of
 * the collateral, what they say of the endorsement key is one of the evidence.
 */
import type { Technology } from '../../../wire/evidence.ts';
import type { CollateralSource } from '../collateral.ts';
import type { RootCertificate } from '../trusted-roots.ts';
import type { VerifyContext } from '../verifier.ts';
import { splitPem, stale, untrusted, verifyChain } from '../x509/certificates.ts';
import type { Certificate } from '../x509/certificates.ts';
import { verifyCrl } from '../x509/crl.ts';
import type { Crl } from '../x509/crl.ts';
import type { EndorsementKey } from './endorsement-key.ts';
import { productFacts } from './products.ts';
import type { Product } from './products.ts';
import { commonName, rootsOf } from './roots.ts';

export type EndorsementKind = 'vcek' | 'vlek';

/** Names of collateral. The lists of both kinds are of the ARK, and published apart. */
const collateralNames = {
  vcek: { chain: 'cert-chain', crl: 'crl' },
  vlek: { chain: 'vlek-chain', crl: 'vlek-crl' },
} as const;

export interface CertifiedPath {
  readonly root: RootCertificate;
  readonly intermediate: Certificate;
}

/** Refuses unless AMD certified `key` for its product, and all of the path is within its dates. Asks nothing of revocation. */
export async function verifyCertification(
  { certificate, product }: EndorsementKey,
  kind: EndorsementKind,
  technology: Technology,
  context: VerifyContext,
): Promise<CertifiedPath> {
  const { now } = context;
  const path = await verifiedIntermediate(product, kind, technology, context);
  const { origin } = certificate;
  verifyChain({ leaf: certificate, intermediates: [], roots: [path.intermediate], now, origin });
  return path;
}

/** Refuses unless a list of the root, of which the broker knows that it is recent, names nothing of the path. */
export async function verifyNotRevoked(
  { certificate, product }: EndorsementKey,
  kind: EndorsementKind,
  { root, intermediate }: CertifiedPath,
  context: VerifyContext,
): Promise<{ readonly name: string; readonly value: string }> {
  const name = `amd/${product}/${collateralNames[kind].crl}`;
  const { crl, obtainedAt } = await verifiedCrl(name, root.certificate, context);
  if (crl.revoked.has(intermediate.serial))
    throw untrusted(
      'evidence',
      'chain-revoked',
      `AMD has revoked the certificate of ${commonName(intermediate) ?? kind}`,
    );
  if (crl.revoked.has(certificate.serial))
    throw untrusted('evidence', 'vek-revoked', `AMD has revoked the ${kind} that signed the report`);
  const [issued, until, obtained] = [crl.thisUpdate, crl.nextUpdate, obtainedAt].map((time) =>
    new Date(time).toISOString(),
  );
  return { name, value: `issued ${issued}, until ${until}, obtained ${obtained}` };
}

async function verifiedIntermediate(
  product: Product,
  kind: EndorsementKind,
  technology: Technology,
  context: VerifyContext,
): Promise<CertifiedPath> {
  const { now, collateral } = context;
  const { bytes } = await collateral.get(`amd/${product}/${collateralNames[kind].chain}`);
  const prefix = kind === 'vcek' ? 'SEV-' : 'SEV-VLEK-';
  const name = `${prefix}${productFacts[product].name}`;
  const intermediate = splitPem(bytes, 'collateral').find((certificate) => commonName(certificate) === name);
  if (intermediate === undefined)
    throw untrusted('collateral', 'chain-form', `the chain of AMD holds no certificate of ${name}`);
  const roots = rootsOf(product, technology, context);
  const path = verifyChain({
    ...{ leaf: intermediate, intermediates: [], now, origin: 'collateral', requireCa: true },
    roots: roots.map(({ certificate }) => certificate),
  });
  return { intermediate, root: roots.find(({ certificate }) => certificate === path.root)! };
}

/** AMD issues a list about once a year: its age counts from when AMD was last asked for it. */
async function verifiedCrl(
  name: string,
  issuer: Certificate,
  context: Pick<VerifyContext, 'now' | 'collateralAgeMax'> & { readonly collateral: CollateralSource },
): Promise<{ readonly crl: Crl; readonly obtainedAt: number }> {
  const { now, collateralAgeMax, collateral } = context;
  const { bytes, obtainedAt } = await collateral.get(name);
  const crl = verifyCrl({ crl: bytes, issuer, now });
  if (now - obtainedAt > collateralAgeMax)
    throw stale('crl-age', `the list of what AMD has revoked was obtained longer ago than is allowed`, {
      collateral: name,
      obtainedAt: new Date(obtainedAt).toISOString(),
    });
  return { crl, obtainedAt };
}
