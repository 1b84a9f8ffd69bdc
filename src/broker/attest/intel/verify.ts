/**
 * Who signed an Intel quote, and what Intel says of the platform (spec/attestation-intel.md, "Checks"). The numbers in comments are those
 * of the page. SGX and TDX share all of it but the check of the TDX module, which tdx/verify.ts brings as `checkModule`.
 */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { toHex } from '../../../lib/hex.ts';
import type { Technology } from '../../../wire/evidence.ts';
import type { VerifyContext } from '../verifier.ts';
import { splitPem, untrusted, verifyChain, type Certificate, type Origin } from '../x509/certificates.ts';
import { isRevoked } from '../x509/crl.ts';
import { verifiedCollateral, type IntelCollateral } from './collateral.ts';
import { pckAuthority, pckPlatform, type PckPlatform } from './pck.ts';
import type { Certification, EnclaveReport, IntelQuote } from './quote.ts';
import { intelRoots, rootDigest, type IntelRoot } from './roots.ts';
import { evaluateTcb, type PlatformSvns, type TcbVerdict } from './tcb-evaluation.ts';
import type { QeIdentity, TcbInfo } from './tcb-info.ts';

export interface IntelVerification {
  readonly platform: PckPlatform;
  readonly qeReport: EnclaveReport;
  readonly tcb: TcbVerdict;
  /** The lower of TCB info and QE identity: both must be at least so new. */
  readonly evaluationNumber: number;
  readonly basis: readonly { readonly name: string; readonly value: string }[];
}

export interface IntelOptions {
  readonly technology: 'sgx' | 'tdx';
  /** Whose extra roots count: of evidence that carries an Intel quote inside, its own technology. */
  readonly rootsOf: Technology;
  readonly tdx?: PlatformSvns['tdx'];
  readonly checkModule?: (info: TcbInfo) => void;
}

interface PckChain {
  readonly pck: Certificate;
  readonly intermediate: Certificate;
  readonly root: IntelRoot;
}

const attributesDebug = 0x02;

export async function verifyIntelQuote(
  quote: IntelQuote,
  context: VerifyContext,
  options: IntelOptions,
): Promise<IntelVerification> {
  const { technology } = options;
  const chain = await pckChain(quote, context, options.rootsOf); // 1
  const platform = pckPlatform(chain.pck);
  const authority = pckAuthority(chain.intermediate);
  const { intermediate, root } = chain;
  const target = { technology, fmspc: platform.fmspc, authority, intermediate, root };
  const collateral = await verifiedCollateral(target, context); // 2, 3
  checkRevocation(chain, collateral); // 4
  checkQeReport(quote, chain.pck.publicKey); // 5, 6
  checkQeIdentity(quote.qeReport, collateral.qeIdentity, technology); // 7
  checkQuoteSignature(quote); // 8
  checkTcbInfoFits(platform, collateral.tcbInfo, technology); // 9
  options.checkModule?.(collateral.tcbInfo); // 10
  const { componentSvns, pceSvn } = platform;
  const svns = { componentSvns, pceSvn, qeIsvSvn: quote.qeReport.isvSvn };
  const tcb = evaluateTcb(collateral.tcbInfo, collateral.qeIdentity, {
    ...svns,
    ...(options.tdx === undefined ? {} : { tdx: options.tdx }),
  });
  return {
    ...{ platform, qeReport: quote.qeReport, tcb },
    evaluationNumber: Math.min(collateral.tcbInfo.evaluationNumber, collateral.qeIdentity.evaluationNumber),
    basis: [{ name: 'root', value: `${root.name} ${rootDigest(root)}` }, ...collateral.basis],
  };
}

/** Leaf, authority, root: from the quote, or where it only names the platform, from collateral. */
async function pckChain(quote: IntelQuote, context: VerifyContext, rootsOf: Technology): Promise<PckChain> {
  const { certification } = quote;
  const origin: Origin = certification.kind === 'chain' ? 'evidence' : 'collateral';
  const given =
    certification.kind === 'chain'
      ? splitPem(certification.pem, origin)
      : await fetchedChain(pckName(certification, quote.header.qeId), context);
  const trusted = intelRoots(rootsOf, context);
  const [leaf, ...intermediates] = given;
  const roots = trusted.map(({ certificate }) => certificate);
  const { path, root } = verifyChain({ leaf: leaf!, intermediates, roots, now: context.now, origin });
  if (path.length !== 3)
    throw untrusted(origin, 'pck-chain', 'the chain of a PCK certificate is not of three certificates');
  const named = trusted.find(({ certificate }) => Buffer.compare(certificate.der, root.der) === 0)!;
  return { pck: path[0]!, intermediate: path[1]!, root: named };
}

async function fetchedChain(name: string, context: VerifyContext): Promise<Certificate[]> {
  const { bytes, issuerChain } = await context.collateral.get(name);
  const [pck, ...others] = splitPem(bytes, 'collateral');
  return [pck!, ...others, ...(issuerChain === undefined ? [] : splitPem(issuerChain, 'collateral'))];
}

/** `intel/pck/<qe id>/<cpu svn>/<pce svn>/<pce id>/<ppid>`, each as the bytes of the quote in hexadecimal. */
export function pckName({ ppid, cpuSvn, pceSvn, pceId }: Certification & { kind: 'ppid' }, qeId: Uint8Array): string {
  return ['intel/pck', ...[qeId, cpuSvn, pceSvn, pceId, ppid].map(toHex)].join('/');
}

function checkRevocation({ pck, intermediate }: PckChain, { rootCrl, pckCrl }: IntelCollateral): void {
  const { origin } = pck;
  if (isRevoked(rootCrl, intermediate))
    throw untrusted(origin, 'intermediate-revoked', 'the authority that issued a PCK certificate has been revoked');
  if (isRevoked(pckCrl, pck)) throw untrusted(origin, 'pck-revoked', 'a PCK certificate has been revoked');
}

export function checkQeReport({ qeReport, ...quote }: IntelQuote, pck: KeyObject): void {
  if (!isSigned(qeReport.bytes, quote.qeReportSignature, pck))
    throw untrusted('evidence', 'qe-report-signature', 'the signature of the quoting enclave report does not hold');
  const digest = createHash('sha256').update(quote.attestationKey).update(quote.qeAuthentication).digest();
  const expected = Buffer.concat([digest, Buffer.alloc(32)]);
  if (Buffer.compare(expected, qeReport.reportData) !== 0)
    throw untrusted('evidence', 'attestation-key', 'the quoting enclave vouches for another attestation key');
}

export function checkQeIdentity(report: EnclaveReport, identity: QeIdentity, technology: 'sgx' | 'tdx'): void {
  if (identity.id !== (technology === 'sgx' ? 'QE' : 'TD_QE'))
    throw untrusted('collateral', 'qe-identity-id', 'a QE identity is of another quoting enclave');
  const mismatch = (field: string): Error =>
    untrusted('evidence', `qe-${field}`, `the quoting enclave of a quote is not the one of Intel: ${field} differs`);
  if (((report.miscSelect & identity.miscSelectMask) ^ identity.miscSelect) !== 0) throw mismatch('misc-select');
  const isEqual = identity.attributes.every(
    (byte, index) => (report.attributes[index]! & identity.attributesMask[index]!) === byte,
  );
  if (!isEqual) throw mismatch('attributes');
  if ((report.attributes[0]! & attributesDebug) !== 0) throw mismatch('debug');
  if (Buffer.compare(report.mrSigner, identity.mrSigner) !== 0) throw mismatch('mr-signer');
  if (report.isvProductId !== identity.isvProductId) throw mismatch('isv-prod-id');
}

export function checkQuoteSignature({ attestationKey, signedBytes, signature }: IntelQuote): void {
  if (!isSigned(signedBytes, signature, pointKey(attestationKey)))
    throw untrusted('evidence', 'quote-signature', 'the signature of a quote does not hold');
}

function checkTcbInfoFits(platform: PckPlatform, info: TcbInfo, technology: 'sgx' | 'tdx'): void {
  const isFitting =
    info.id === (technology === 'sgx' ? 'SGX' : 'TDX') &&
    info.fmspc === platform.fmspc &&
    info.pceId === platform.pceId;
  if (!isFitting) throw untrusted('collateral', 'tcb-info-platform', 'a TCB info is of another platform');
}

function pointKey(point: Uint8Array): KeyObject {
  const coordinate = (from: number): string => Buffer.from(point.subarray(from, from + 32)).toString('base64url');
  try {
    return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: coordinate(0), y: coordinate(32) }, format: 'jwk' });
  } catch (error) {
    throw untrusted(
      'evidence',
      'attestation-key-point',
      'the attestation key of a quote is no point of its curve',
      error,
    );
  }
}

function isSigned(bytes: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  if (key.asymmetricKeyType !== 'ec') return false;
  return verify('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' }, signature);
}
