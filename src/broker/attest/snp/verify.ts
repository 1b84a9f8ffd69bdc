/**
 * Who signed this report? (spec/attestation-snp.md): finds the endorsement key that the report names,
 * follows it to a pinned root, and holds both against each other. Used for bare SNP guests and, below a
 * paravisor, for Azure's.
 */
import { verify as verifySignature } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { CaissonError } from '../../../lib/errors.ts';
import { toHex } from '../../../lib/hex.ts';
import type { Technology } from '../../../wire/evidence.ts';
import type { VerifiedEvidence, VerifyContext } from '../verifier.ts';
import { untrusted } from '../x509/certificates.ts';
import type { Origin } from '../x509/certificates.ts';
import { verifyCertification, verifyNotRevoked } from './chain.ts';
import type { CertifiedPath, EndorsementKind } from './chain.ts';
import { parseEndorsementKey } from './endorsement-key.ts';
import type { EndorsementKey } from './endorsement-key.ts';
import { productFacts, tcbVersion } from './products.ts';
import type { Product, TcbVersion } from './products.ts';
import { isZero, tcbKinds } from './report.ts';
import type { SnpReport, TcbKind } from './report.ts';
import { commonName } from './roots.ts';

/** A certificate that came along, if one did: trusted by its signature alone. */
export type GivenKeys = Readonly<Partial<Record<EndorsementKind, Uint8Array>>>;

export interface VerifiedReport {
  readonly report: SnpReport;
  readonly product: Product;
  readonly signingKey: EndorsementKind;
  readonly tcb: Readonly<Record<TcbKind, TcbVersion>>;
  /** Undefined where the platform masks it. */
  readonly chipId: Uint8Array | undefined;
  readonly cspId: string | undefined;
  readonly basis: VerifiedEvidence['basis'];
}

/** `rootsOf`: whose extra roots count; evidence that carries a report inside names its own technology. */
export async function verifySnpReport(
  report: SnpReport,
  given: GivenKeys,
  context: VerifyContext,
  rootsOf: Technology,
): Promise<VerifiedReport> {
  const { verified, key, path } = await authenticateReport(report, given, context, rootsOf);
  const crl = await verifyNotRevoked(key, verified.signingKey, path, context);
  return { ...verified, basis: [...verified.basis, crl] };
}

/**
 * All but revocation, for which AMD must have been asked lately: what a report of any age says, as whose
 * word. No verdict rests on this alone.
 */
export async function authenticateReport(
  report: SnpReport,
  given: GivenKeys,
  context: VerifyContext,
  rootsOf: Technology,
): Promise<{ readonly verified: VerifiedReport; readonly key: EndorsementKey; readonly path: CertifiedPath }> {
  const kind = signingKind(report);
  const key = await endorsementKey(report, kind, given, context);
  const { product, certificate, cspId } = key;
  if (report.product !== undefined && report.product !== product)
    throw vekMismatch(certificate.origin, 'vek-product', `is for ${product}, the report of ${report.product}`);
  const tcb = Object.fromEntries(tcbKinds.map((name) => [name, tcbVersion(product, report.tcb[name], name)])) as Record<
    TcbKind,
    TcbVersion
  >;
  const hardwareId = checkedHolder(key, kind);
  checkTcb(key, tcb.reported);
  const chipId = isZero(report.chipId) ? undefined : report.chipId;
  if (hardwareId !== undefined && chipId !== undefined) checkChip(key, hardwareId, chipId);
  const path = await verifyCertification(key, kind, rootsOf, context);
  checkReportSignature(report, key);
  const basis = [
    { name: 'root', value: path.root.name },
    { name: 'endorsement key', value: `${kind}, valid until ${new Date(certificate.notAfter).toISOString()}` },
  ];
  return { verified: { report, product, tcb, signingKey: kind, cspId, chipId, basis }, key, path };
}

function signingKind({ signingKey, masksChipKey }: SnpReport): EndorsementKind {
  if (signingKey === 'vlek' || (signingKey === 'vcek' && !masksChipKey)) return signingKey;
  throw new CaissonError('integrity', 'evidence-untrusted', 'no key of AMD has signed this report', {
    remedy: 'The host keeps its firmware from signing (MASK_CHIP_KEY, no VLEK): run the workload elsewhere.',
    details: { check: 'report-unsigned' },
  });
}

async function endorsementKey(
  report: SnpReport,
  kind: EndorsementKind,
  given: GivenKeys,
  { collateral }: VerifyContext,
): Promise<EndorsementKey> {
  const bytes = given[kind];
  if (bytes !== undefined) return parseEndorsementKey(bytes, 'evidence');
  const name = vcekCollateralName(report, kind);
  const found = await collateral.get(name);
  return parseEndorsementKey(found.bytes, 'collateral');
}

function vcekCollateralName({ product, chipId, tcb }: SnpReport, kind: EndorsementKind): string {
  if (kind === 'vlek') throw keyMissing('a VLEK is of a provider, and is only to be had from its hosts');
  if (isZero(chipId)) throw keyMissing('the report does not say of which chip it is');
  if (product === undefined) throw keyMissing('a report of version 2 does not say of which product it is');
  const hardwareId = chipId.subarray(0, productFacts[product].hardwareIdBytes);
  return `amd/${product}/vcek/${toHex(hardwareId)}/${toHex(tcb.reported)}`;
}

function keyMissing(message: string): CaissonError {
  return new CaissonError(
    'invalid',
    'collateral-missing',
    `the certificate of the signing key is missing: ${message}`,
    {
      remedy: 'Send the certificate table of the host (auxblob) with the report.',
      details: { check: 'vek-missing' },
    },
  );
}

/** The hardware id of a VCEK; a VLEK has none. */
function checkedHolder(
  { certificate, hardwareId, cspId }: EndorsementKey,
  kind: EndorsementKind,
): Uint8Array | undefined {
  const { origin } = certificate;
  if (commonName(certificate) !== `SEV-${kind.toUpperCase()}`)
    throw untrusted(origin, 'vek-kind', `the certificate is not of a ${kind}, which signed the report`);
  const isOfChip = hardwareId !== undefined && cspId === undefined;
  const isOfProvider = hardwareId === undefined && cspId !== undefined;
  if (kind === 'vcek' ? !isOfChip : !isOfProvider)
    throw untrusted(origin, 'vek-holder', 'a VCEK is of a chip and a VLEK of a provider; this one says otherwise');
  return hardwareId;
}

function checkTcb({ certificate, tcb }: EndorsementKey, reported: TcbVersion): void {
  for (const [component, certified] of tcb)
    if (reported.get(component) !== certified)
      throw vekMismatch(certificate.origin, 'vek-tcb', `is for ${component} ${certified}, the report of another one`);
}

/** A chip that masks its id names none; then its VCEK vouches for "a genuine chip" and no more. */
function checkChip({ certificate, product }: EndorsementKey, hardwareId: Uint8Array, chipId: Uint8Array): void {
  if (!equalBytes(hardwareId, chipId.subarray(0, productFacts[product].hardwareIdBytes)))
    throw vekMismatch(certificate.origin, 'vek-chip', 'is of another chip than the report');
}

function vekMismatch(origin: Origin, check: string, message: string): CaissonError {
  return untrusted(origin, check, `the certificate of the endorsement key ${message}`);
}

function checkReportSignature({ signed, signature }: SnpReport, { certificate }: EndorsementKey): void {
  const { publicKey: key } = certificate;
  const isP384 = key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'secp384r1';
  if (!isP384) throw untrusted(certificate.origin, 'vek-key', 'the endorsement key is not of the curve P-384');
  if (!verifySignature('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }, signature))
    throw untrusted('evidence', 'report-signature', 'the signature of the report does not hold');
}
