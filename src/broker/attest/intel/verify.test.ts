/** Each check of Intel evidence, with evidence that only this check refuses. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import {
  fakeModule,
  fakePlatform,
  intelEvidence,
  intelKey,
  intelNames,
  intelNow,
  intermediateCertificate,
  leafUsage,
  pckCertificate,
  pckCrl,
  platformExtension,
  qeIdentity,
  rootCertificateOnce,
  rootCrl,
  serials,
  signedDocument,
  signerCertificate,
  tcbInfo,
  tdReport,
  dateText,
  type FakeQuote,
} from '../../../../test/support/fake-intel.ts';

import { der, derOid, pem } from '../../../../test/support/fake-x509.ts';
import { CaissonError, type ErrorCode } from '../../../lib/errors.ts';

import type { Collateral } from '../collateral.ts';

import type { VerifyContext } from '../verifier.ts';
import {
  day,
  identity,
  info,
  levelOf,
  lists,
  tcbName,
  verify,
  type Changes,
  type Technology,
} from '../../../../test/support/intel-verification.ts';

interface Refusal {
  readonly check: string;
  readonly code: ErrorCode;
  readonly technology?: Technology;
  readonly what?: string;
  readonly quote?: FakeQuote;
  /** Pieces of collateral that replace the right ones, by name. */
  readonly collateral?: () => Changes;
  readonly context?: Partial<VerifyContext>;
}

const document = (text: string): Changes => ({ [tcbName('sgx')]: { bytes: signedDocument('tcbInfo', text) } });
const rootLists = (bytes: Uint8Array): Changes => ({ 'intel/root-crl': { bytes } });
const signers = (...chain: Uint8Array[]): Changes => ({ [tcbName('sgx')]: { issuerChain: pem(...chain) } });
const infoText = JSON.stringify(tcbInfo('sgx'));
const late = { issueDate: dateText(intelNow - 40 * day), nextUpdate: dateText(intelNow - day) };
const early = { issueDate: dateText(intelNow + day) };
const old = { issueDate: dateText(intelNow - 8 * day) };
const withExtension = (...extra: Uint8Array[]): Uint8Array =>
  pckCertificate({ extensions: [leafUsage, platformExtension(fakePlatform, extra)] });

const fifteen = Array.from({ length: 15 }, () => ({ svn: 0 }));

const quotes: readonly Refusal[] = [
  { check: 'quote-version', code: 'evidence-invalid', quote: { version: 4, teeType: 0 } },
  { check: 'quote-version', code: 'evidence-invalid', technology: 'tdx', quote: { version: 3 } },
  { check: 'quote-tee-type', code: 'evidence-invalid', quote: { teeType: 0x81 } },
  { check: 'quote-tee-type', code: 'evidence-invalid', technology: 'tdx', quote: { teeType: 0 } },
  { check: 'quote-key-type', code: 'evidence-invalid', quote: { keyType: 3 } },
  { check: 'quote-vendor', code: 'evidence-invalid', quote: { vendor: '00'.repeat(16) } },
  { check: 'quote-body', code: 'evidence-invalid', technology: 'tdx', quote: { version: 5, bodyType: 1 } },
  { check: 'quote-body', code: 'evidence-invalid', technology: 'tdx', quote: { version: 5, bodySize: 648 } },
  { check: 'quote-certification', code: 'evidence-invalid', technology: 'tdx', quote: { outerType: 5 } },
  { check: 'quote-certification', code: 'evidence-invalid', quote: { certificationType: 4 } },
  { check: 'quote-length', code: 'evidence-invalid', quote: { certificationType: 1 } },
  { check: 'quote-length', code: 'evidence-invalid', quote: { authentication: new Uint8Array(1025) } },
  { check: 'quote-trailing', code: 'evidence-invalid', quote: { trailing: Uint8Array.of(0, 0, 1) } },
  {
    check: 'qe-report-signature',
    code: 'evidence-untrusted',
    quote: { qeSigningKey: intelKey('stranger') },
  },
  {
    check: 'qe-report-signature',
    code: 'evidence-untrusted',
    what: 'of a certificate whose key is of another kind',
    quote: { pck: pckCertificate({ publicKey: generateKeyPairSync('ed25519').publicKey }) },
  },
  { check: 'attestation-key', code: 'evidence-untrusted', quote: { qeReportData: new Uint8Array(64) } },
  { check: 'attestation-key-point', code: 'evidence-untrusted', quote: { attestationKey: new Uint8Array(64).fill(1) } },
  { check: 'quote-signature', code: 'evidence-untrusted', quote: { quoteSigningKey: intelKey('stranger') } },
  { check: 'qe-misc-select', code: 'evidence-untrusted', quote: { qeReport: { miscSelect: 1 } } },
  { check: 'qe-attributes', code: 'evidence-untrusted', quote: { qeReport: { attributes: 0x01 } } },
  {
    check: 'qe-debug',
    code: 'evidence-untrusted',
    what: 'under a mask that lets it pass',
    quote: { qeReport: { attributes: 0x13 } },
    collateral: () => identity({ attributesMask: `F9${'FF'.repeat(7)}${'00'.repeat(8)}` }),
  },
  { check: 'qe-mr-signer', code: 'evidence-untrusted', quote: { qeReport: { mrSigner: '33'.repeat(32) } } },
  { check: 'qe-isv-prod-id', code: 'evidence-untrusted', quote: { qeReport: { isvProductId: 2 } } },
];

const certificates: readonly Refusal[] = [
  {
    check: 'certificate-signature',
    code: 'evidence-untrusted',
    quote: { pck: pckCertificate({ signingKey: intelKey('stranger') }) },
  },
  {
    check: 'certificate-dates',
    code: 'evidence-untrusted',
    quote: { pck: pckCertificate({ notAfter: intelNow - 1000 }) },
  },
  {
    check: 'pck-name',
    code: 'evidence-untrusted',
    quote: { pck: pckCertificate({ subject: intelNames.signer }) },
  },
  { check: 'pck-extension', code: 'evidence-invalid', quote: { pck: pckCertificate({ extensions: [leafUsage] }) } },
  {
    check: 'pck-extension',
    code: 'evidence-invalid',
    what: 'a field twice',
    quote: { pck: withExtension(der(0x30, derOid('1.2.840.113741.1.13.1.4'), der(4, Buffer.alloc(6)))) },
  },
  {
    check: 'pck-extension',
    code: 'evidence-invalid',
    what: 'fifteen components',
    quote: {
      pck: pckCertificate({
        extensions: [leafUsage, platformExtension({ ...fakePlatform, svns: fakePlatform.svns.toSpliced(15) })],
      }),
    },
  },
  ...(
    [
      ['a version of a component above 255', { svns: fakePlatform.svns.with(3, 256) }],
      ['a PCESVN above 65535', { pceSvn: 65_536 }],
      ['an FMSPC of five bytes', { fmspc: '00906ed500' }],
    ] as const
  ).map(([what, changes]) => ({
    check: 'pck-extension',
    code: 'evidence-invalid' as const,
    what,
    quote: { pck: pckCertificate({ extensions: [leafUsage, platformExtension({ ...fakePlatform, ...changes })] }) },
  })),
  {
    check: 'pck-chain',
    code: 'evidence-untrusted',
    what: 'issued by the root itself',
    quote: { pck: pckCertificate({ issuer: intelNames.root, signingKey: intelKey('root') }) },
  },
  {
    check: 'pck-authority',
    code: 'evidence-untrusted',
    quote: {
      certification: pem(
        pckCertificate({ issuer: intelNames.signer }),
        intermediateCertificate({ subject: intelNames.signer }),
        rootCertificateOnce(),
      ),
    },
  },
  {
    check: 'certificate-ca',
    code: 'evidence-untrusted',
    quote: {
      certification: pem(pckCertificate(), intermediateCertificate({ extensions: [leafUsage] }), rootCertificateOnce()),
    },
  },
  {
    check: 'certificate-root',
    code: 'evidence-untrusted',
    what: 'a root that nobody pinned',
    context: { extraRoots: [] },
  },
  {
    check: 'certificate-root',
    code: 'evidence-untrusted',
    what: 'a root that is trusted for another technology',
    context: { extraRoots: [{ technology: 'snp', name: 'other', der: rootCertificateOnce() }] },
  },
];

const collaterals: readonly Refusal[] = [
  {
    check: 'pck-revoked',
    code: 'evidence-untrusted',
    collateral: () => lists(pckCrl({ revoked: [0x4444, serials.pck] })),
  },
  {
    check: 'intermediate-revoked',
    code: 'evidence-untrusted',
    collateral: () => rootLists(rootCrl({ revoked: [serials.intermediate] })),
  },
  {
    check: 'tcb-signer-revoked',
    code: 'collateral-untrusted',
    collateral: () => rootLists(rootCrl({ revoked: [serials.signer] })),
  },
  { check: 'crl-format', code: 'collateral-untrusted', collateral: () => lists(Uint8Array.of(0)) },
  {
    check: 'crl-signature',
    code: 'collateral-untrusted',
    collateral: () => lists(pckCrl({ signingKey: intelKey('stranger') })),
  },
  {
    check: 'crl-signature',
    code: 'collateral-untrusted',
    what: 'the list of the root',
    collateral: () => rootLists(rootCrl({ signingKey: intelKey('stranger') })),
  },
  {
    check: 'crl-issuer',
    code: 'collateral-untrusted',
    collateral: () => lists(pckCrl({ issuer: intelNames.processor })),
  },
  {
    check: 'crl-dates',
    code: 'collateral-stale',
    collateral: () => lists(pckCrl({ nextUpdate: intelNow - 1000 })),
  },
  {
    check: 'crl-dates',
    code: 'collateral-stale',
    what: 'the list of the root',
    collateral: () => rootLists(rootCrl({ nextUpdate: intelNow - 1000 })),
  },
  {
    check: 'crl-age',
    code: 'collateral-stale',
    collateral: () => lists(pckCrl({ thisUpdate: intelNow - 8 * day })),
  },
  {
    check: 'crl-age',
    code: 'collateral-stale',
    what: 'the list of the root, fetched long ago',
    collateral: () => ({ 'intel/root-crl': { obtainedAt: intelNow - 8 * day } }),
  },
  { check: 'tcb-info-dates', code: 'collateral-stale', what: 'too late', collateral: () => info('sgx', late) },
  { check: 'tcb-info-dates', code: 'collateral-stale', what: 'too early', collateral: () => info('sgx', early) },
  { check: 'tcb-info-age', code: 'collateral-stale', collateral: () => info('sgx', old) },
  { check: 'qe-identity-dates', code: 'collateral-stale', what: 'too late', collateral: () => identity(late) },
  { check: 'qe-identity-dates', code: 'collateral-stale', what: 'too early', collateral: () => identity(early) },
  { check: 'qe-identity-age', code: 'collateral-stale', collateral: () => identity(old) },
  {
    check: 'tcb-info-signature',
    code: 'collateral-untrusted',
    collateral: () => ({
      [tcbName('sgx')]: { bytes: signedDocument('tcbInfo', tcbInfo('sgx'), intelKey('stranger')) },
    }),
  },
  {
    check: 'qe-identity-signature',
    code: 'collateral-untrusted',
    collateral: () => ({
      'intel/sgx/qe-identity': {
        bytes: signedDocument('enclaveIdentity', qeIdentity('sgx'), intelKey('stranger')),
      },
    }),
  },
  {
    check: 'tcb-info-signature',
    code: 'collateral-untrusted',
    what: 'serialised again',
    collateral: () => {
      const signed = Buffer.from(signedDocument('tcbInfo', infoText)).toString();
      return { [tcbName('sgx')]: { bytes: Buffer.from(signed.replace('"version":3', '"version": 3')) } };
    },
  },
  {
    check: 'tcb-info-format',
    code: 'collateral-untrusted',
    what: 'a member twice',
    collateral: () => document(infoText.replace('{', '{"fmspc":"000000000000",')),
  },
  {
    check: 'tcb-info-format',
    code: 'collateral-untrusted',
    what: 'something beside document and signature',
    collateral: () => {
      const signed = Buffer.from(signedDocument('tcbInfo', infoText)).toString();
      return { [tcbName('sgx')]: { bytes: Buffer.from(signed.replace(/}$/, ',"more":1}')) } };
    },
  },
  ...[
    { version: 4 },
    { id: 'XYZ' },
    { fmspc: '00906ed5000' },
    { fmspc: '00906ed5000x' },
    { issueDate: '2026-02-30T00:00:00Z' },
    { issueDate: '2026-06-14' },
    { tcbLevels: [{ ...levelOf('UpToDate'), tcb: { sgxtcbcomponents: fifteen, pcesvn: 0 } }] },
    { tcbLevels: Array.from({ length: 257 }, () => levelOf('UpToDate')) },
  ].map((changes) => ({
    check: 'tcb-info-format',
    code: 'collateral-untrusted' as const,
    what: JSON.stringify(changes).substring(0, 60),
    collateral: () => info('sgx', changes),
  })),
  { check: 'tcb-info-format', code: 'collateral-untrusted', collateral: () => info('sgx', { tcbType: 1 }) },
  { check: 'qe-identity-format', code: 'collateral-untrusted', collateral: () => identity({ version: 1 }) },
  {
    check: 'tcb-info-format',
    code: 'collateral-untrusted',
    technology: 'tdx',
    what: 'version 2 for TDX',
    collateral: () => info('tdx', { version: 2 }),
  },
  {
    check: 'tcb-info-platform',
    code: 'collateral-untrusted',
    what: 'another FMSPC',
    collateral: () => info('sgx', { fmspc: '00906ed50001' }),
  },
  {
    check: 'tcb-info-platform',
    code: 'collateral-untrusted',
    what: 'another PCEID',
    collateral: () => info('sgx', { pceId: '0001' }),
  },
  {
    check: 'tcb-info-platform',
    code: 'collateral-untrusted',
    what: 'the one of TDX',
    collateral: () => ({ [tcbName('sgx')]: { bytes: signedDocument('tcbInfo', tcbInfo('tdx')) } }),
  },
  {
    check: 'qe-identity-id',
    code: 'collateral-untrusted',
    collateral: () => identity({ id: 'TD_QE' }),
  },
  {
    check: 'qe-identity-id',
    code: 'collateral-untrusted',
    technology: 'tdx',
    collateral: () => identity({ id: 'QE' }, 'tdx'),
  },
  {
    check: 'tcb-status',
    code: 'collateral-untrusted',
    collateral: () =>
      info('sgx', { tcbLevels: [{ ...(tcbInfo('sgx')['tcbLevels'] as object[])[0], tcbStatus: 'Splendid' }] }),
  },
  {
    check: 'tcb-signer',
    code: 'collateral-untrusted',
    what: 'no chain',
    collateral: () => ({ [tcbName('sgx')]: { issuerChain: undefined } as unknown as Partial<Collateral> }),
  },
  {
    check: 'tcb-signer',
    code: 'collateral-untrusted',
    what: 'named for something else',
    collateral: () => signers(signerCertificate({ subject: intelNames.pck })),
  },
  {
    check: 'tcb-signer',
    code: 'collateral-untrusted',
    what: 'not issued by the root itself',
    collateral: () =>
      signers(
        signerCertificate({ issuer: intelNames.platform, signingKey: intelKey('intermediate') }),
        intermediateCertificate(),
      ),
  },
  {
    check: 'tcb-signer',
    code: 'collateral-untrusted',
    what: 'a key that may not sign',
    collateral: () =>
      signers(signerCertificate({ extensions: [{ oid: '2.5.29.15', value: Uint8Array.of(3, 2, 5, 0x20) }] })),
  },
  {
    check: 'certificate-signature',
    code: 'collateral-untrusted',
    what: 'the signer of another root',
    collateral: () => signers(signerCertificate({ signingKey: intelKey('stranger') })),
  },
  {
    check: 'certificate-dates',
    code: 'collateral-stale',
    collateral: () => signers(signerCertificate({ notAfter: intelNow - 1000 })),
  },
];

const modules: readonly Refusal[] = [
  {
    check: 'tdx-module-identity',
    code: 'evidence-untrusted',
    what: 'the document has no identities at all',
    collateral: () => info('tdx', { tdxModuleIdentities: undefined }),
  },
  {
    check: 'tdx-module-identity',
    code: 'evidence-untrusted',
    what: 'none of this version',
    quote: { body: tdReport({ teeTcbSvn: [9, 2, 9] }) },
  },
  { check: 'tdx-module-signer', code: 'evidence-untrusted', quote: { body: tdReport({ mrSignerSeam: 7 }) } },
  {
    check: 'tdx-module-signer',
    code: 'evidence-untrusted',
    what: 'of a module without a version',
    quote: { body: tdReport({ teeTcbSvn: [5, 0, 3] }) },
    collateral: () => info('tdx', { tdxModule: { ...fakeModule, mrsigner: '01'.repeat(48) } }),
  },
  ...(
    [
      ['in the report', 1, 0],
      ['in the document', 0, 1],
      ['in both', 1, 1],
    ] as const
  ).map(([what, inReport, inDocument]) => ({
    check: 'tdx-module-attributes',
    code: 'evidence-untrusted' as const,
    what,
    quote: { body: tdReport({ seamAttributes: inReport }) },
    collateral: () =>
      info('tdx', {
        tdxModuleIdentities: [
          { id: 'TDX_01', ...fakeModule, attributes: `0${inDocument}00000000000000`, tcbLevels: [] },
        ],
      }),
  })),
];

const refusals: readonly Refusal[] = [
  ...quotes,
  ...certificates,
  ...collaterals,
  ...modules.map((refusal) => ({ ...refusal, technology: 'tdx' as const })),
];

for (const [index, refusal] of refusals.entries()) {
  const { check, code, technology = 'sgx', what, quote, collateral, context } = refusal;
  test(`${technology} refuses: ${check}${what === undefined ? '' : `, ${what}`} (${index})`, async () => {
    await assert.rejects(
      async () => await verify(technology, intelEvidence(technology, quote), collateral?.(), context),
      (error) => {
        assert.ok(error instanceof CaissonError, String(error));
        assert.deepEqual([error.details['check'], error.code], [check, code], error.message);
        return true;
      },
    );
  });
}
