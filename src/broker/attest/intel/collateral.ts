/**
 * Intel's collateral for one platform, verified (spec/attestation-intel.md, "Signed collateral", "Revocation"): the lists first, then the
 * certificate that signs TCB info and QE identity, then both documents.
 */
import type { KeyObject } from 'node:crypto';
import type { Collateral } from '../collateral.ts';
import type { VerifyContext } from '../verifier.ts';
import { distinguishedName, splitPem, stale, untrusted, verifyChain, type Certificate } from '../x509/certificates.ts';
import { isRevoked, verifyCrl, type Crl } from '../x509/crl.ts';
import type { PckAuthority } from './pck.ts';
import type { IntelRoot } from './roots.ts';
import { checkDocumentDates, dateText, readSigned } from './signed-json.ts';
import { readQeIdentity, readTcbInfo, type QeIdentity, type TcbInfo } from './tcb-info.ts';

export interface IntelCollateral {
  readonly tcbInfo: TcbInfo;
  readonly qeIdentity: QeIdentity;
  readonly rootCrl: Crl;
  readonly pckCrl: Crl;
  readonly basis: readonly { readonly name: string; readonly value: string }[];
}

export interface IntelPlatform {
  readonly technology: 'sgx' | 'tdx';
  readonly fmspc: string;
  readonly authority: PckAuthority;
  /** Verified: the authority that issued the PCK certificate, and the root of both. */
  readonly intermediate: Certificate;
  readonly root: IntelRoot;
}

export async function verifiedCollateral(platform: IntelPlatform, context: VerifyContext): Promise<IntelCollateral> {
  const { technology, fmspc, authority, root } = platform;
  const { now, collateralAgeMax: ageMax } = context;
  const [rootList, pckList, tcb, identity] = await Promise.all([
    context.collateral.get('intel/root-crl'),
    context.collateral.get(`intel/pck-crl/${authority}`),
    context.collateral.get(`intel/${technology}/tcb/${fmspc}`),
    context.collateral.get(`intel/${technology}/qe-identity`),
  ]);
  const rootCrl = verifyCrl({ crl: rootList.bytes, issuer: root.certificate, now });
  // Intel signs this list once a year: how old it may be is a question of when it was fetched.
  if (now - rootList.obtainedAt > ageMax)
    throw stale('crl-age', 'the revocation list of the root was fetched longer ago than is allowed', {
      obtainedAt: dateText(rootList.obtainedAt),
    });
  const pckCrl = verifyCrl({ crl: pckList.bytes, issuer: platform.intermediate, now, ageMax });
  const tcbInfo = readSigned(tcb.bytes, 'tcbInfo', 'tcb-info', signerOf(tcb, root, rootCrl, now), readTcbInfo);
  checkDocumentDates(tcbInfo, 'tcb-info', now, ageMax);
  const key = signerOf(identity, root, rootCrl, now);
  const qeIdentity = readSigned(identity.bytes, 'enclaveIdentity', 'qe-identity', key, readQeIdentity);
  checkDocumentDates(qeIdentity, 'qe-identity', now, ageMax);
  return { tcbInfo, qeIdentity, rootCrl, pckCrl, basis: basisOf(tcbInfo, qeIdentity, rootCrl, pckCrl) };
}

/** The key that signs documents: issued by the root of the quote itself, named for it, not revoked. */
function signerOf({ issuerChain }: Collateral, root: IntelRoot, rootCrl: Crl, now: number): KeyObject {
  if (issuerChain === undefined)
    throw untrusted('collateral', 'tcb-signer', 'a signed document came without the chain of its signer');
  const [leaf, ...intermediates] = splitPem(issuerChain, 'collateral');
  const roots = [root.certificate];
  const { path } = verifyChain({ leaf: leaf!, intermediates, roots, now, origin: 'collateral' });
  const isSigner = distinguishedName(leaf!.subject, 'collateral')['CN']?.includes('SGX TCB Signing') === true;
  if (path.length !== 2 || !isSigner || !leaf!.allows('digitalSignature'))
    throw untrusted('collateral', 'tcb-signer', 'a document is signed by a certificate that is not for that');
  if (isRevoked(rootCrl, leaf!))
    throw untrusted('collateral', 'tcb-signer-revoked', 'the certificate that signs TCB levels has been revoked');
  return leaf!.publicKey;
}

function basisOf(
  tcbInfo: TcbInfo,
  qeIdentity: QeIdentity,
  rootCrl: Crl,
  pckCrl: Crl,
): readonly { readonly name: string; readonly value: string }[] {
  return [
    { name: 'tcb-info', value: `${tcbInfo.fmspc}, ${tcbInfo.evaluationNumber}, ${dateText(tcbInfo.issueDate)}` },
    {
      name: 'qe-identity',
      value: `${qeIdentity.id}, ${qeIdentity.evaluationNumber}, ${dateText(qeIdentity.issueDate)}`,
    },
    { name: 'root-crl', value: dateText(rootCrl.thisUpdate) },
    { name: 'pck-crl', value: dateText(pckCrl.thisUpdate) },
  ];
}
