/**
 * A maker of SGX and TDX processors that does not exist: root, authorities, PCK certificates, TCB documents, lists and quotes of
 * all versions, each right unless a test makes one part of it wrong.
 */
import { createHash, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import type { Collateral, CollateralSource } from '../../src/broker/attest/collateral.ts';
import type { VerifyContext } from '../../src/broker/attest/verifier.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import {
  authorityExtensions,
  der,
  derInteger,
  derOid,
  fakeCertificate,
  fakeCrl,
  pem,
  type FakeCertificate,
  type FakeCrl,
  type FakeExtension,
  type FakeName,
} from './fake-x509.ts';

/** When tests happen. */
export const intelNow = Date.UTC(2026, 5, 15, 12);
const day = 86_400_000;
const year = 365 * day;
export const intelAgeMax = 7 * day;

export type KeyName = 'root' | 'intermediate' | 'pck' | 'signer' | 'attestation' | 'stranger';
const keys = new Map<KeyName, KeyObject>();

/** Private; one for each process and name. */
export function intelKey(name: KeyName): KeyObject {
  const key = keys.get(name) ?? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  keys.set(name, key);
  return key;
}

export const serials = { root: 0x1000, intermediate: 0x1001, signer: 0x1002, pck: 0x2001 } as const;

function intelName(common: string): FakeName {
  return { CN: common, O: 'Fake Processors', L: 'Santa Clara', ST: 'CA', C: 'US' };
}

export const intelNames = {
  root: intelName('Fake SGX Root CA'),
  processor: intelName('Fake SGX PCK Processor CA'),
  platform: intelName('Fake SGX PCK Platform CA'),
  pck: intelName('Fake SGX PCK Certificate'),
  signer: intelName('Fake SGX TCB Signing'),
} as const;

export const leafUsage: FakeExtension = { oid: '2.5.29.15', isCritical: true, value: Uint8Array.of(3, 2, 6, 0xc0) };

const dates = { notBefore: intelNow - year, notAfter: intelNow + 5 * year };

export function rootCertificate(changes: Partial<FakeCertificate> = {}): Uint8Array {
  return fakeCertificate({
    ...{ subject: intelNames.root, issuer: intelNames.root, serial: serials.root, ...dates },
    ...{ publicKey: createPublicKey(intelKey('root')), signingKey: intelKey('root'), scheme: 'ecdsa-sha256' },
    extensions: authorityExtensions(1, true),
    ...changes,
  });
}

export function intermediateCertificate(changes: Partial<FakeCertificate> = {}): Uint8Array {
  return fakeCertificate({
    ...{ subject: intelNames.platform, issuer: intelNames.root, serial: serials.intermediate, ...dates },
    ...{ publicKey: createPublicKey(intelKey('intermediate')), signingKey: intelKey('root'), scheme: 'ecdsa-sha256' },
    extensions: authorityExtensions(0, true),
    ...changes,
  });
}

export function signerCertificate(changes: Partial<FakeCertificate> = {}): Uint8Array {
  return fakeCertificate({
    ...{ subject: intelNames.signer, issuer: intelNames.root, serial: serials.signer, ...dates },
    ...{ publicKey: createPublicKey(intelKey('signer')), signingKey: intelKey('root'), scheme: 'ecdsa-sha256' },
    extensions: [leafUsage],
    ...changes,
  });
}

export interface FakePlatform {
  readonly svns: readonly number[];
  readonly pceSvn: number;
  readonly fmspc: string;
  readonly pceId: string;
  readonly hasInstance: boolean;
}

export const fakePlatform: FakePlatform = {
  svns: Array.from({ length: 16 }, (_, index) => index + 2),
  pceSvn: 13,
  fmspc: '00906ed50000',
  pceId: '0000',
  hasInstance: true,
};

const sgxOid = '1.2.840.113741.1.13.1';

export function platformExtension(platform: FakePlatform, extra: readonly Uint8Array[] = []): FakeExtension {
  const pair = (path: string, value: Uint8Array): Uint8Array => der(0x30, derOid(`${sgxOid}.${path}`), value);
  const octets = (hex: string): Uint8Array => der(0x04, Buffer.from(hex, 'hex'));
  const tcb = [
    ...platform.svns.map((svn, index) => pair(`2.${index + 1}`, derInteger(svn))),
    pair('2.17', derInteger(platform.pceSvn)),
    pair('2.18', octets(Buffer.from(platform.svns).toString('hex'))),
  ];
  const instance = [
    pair('6', octets('77'.repeat(16))),
    pair('7', der(0x30, pair('7.1', der(1, Uint8Array.of(0xff))), pair('7.2', der(1, Uint8Array.of(0))))),
  ];
  return {
    oid: sgxOid,
    value: der(
      0x30,
      pair('1', octets('11'.repeat(16))),
      pair('2', der(0x30, ...tcb)),
      pair('3', octets(platform.pceId)),
      pair('4', octets(platform.fmspc)),
      pair('5', der(0x0a, Uint8Array.of(0))),
      ...(platform.hasInstance ? instance : []),
      ...extra,
    ),
  };
}

export function pckCertificate(changes: Partial<FakeCertificate> = {}, platform = fakePlatform): Uint8Array {
  return fakeCertificate({
    ...{ subject: intelNames.pck, issuer: intelNames.platform, serial: serials.pck, ...dates },
    ...{ publicKey: createPublicKey(intelKey('pck')), signingKey: intelKey('intermediate'), scheme: 'ecdsa-sha256' },
    extensions: [leafUsage, platformExtension(platform)],
    ...changes,
  });
}

export function rootCrl(changes: Partial<FakeCrl> = {}): Uint8Array {
  return fakeCrl({
    ...{ issuer: intelNames.root, thisUpdate: intelNow - 100 * day, nextUpdate: intelNow + 100 * day },
    ...{ signingKey: intelKey('root'), scheme: 'ecdsa-sha256' },
    ...changes,
  });
}

export function pckCrl(changes: Partial<FakeCrl> = {}): Uint8Array {
  return fakeCrl({
    ...{ issuer: intelNames.platform, thisUpdate: intelNow - 2 * day, nextUpdate: intelNow + 28 * day },
    ...{ signingKey: intelKey('intermediate'), scheme: 'ecdsa-sha256', revoked: [0x4444, 0x5555] },
    ...changes,
  });
}

type Json = Readonly<Record<string, unknown>>;

const dated = {
  issueDate: dateText(intelNow - 2 * day),
  nextUpdate: dateText(intelNow + 28 * day),
  tcbEvaluationDataNumber: 17,
};

export function dateText(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z');
}

export interface FakeLevel {
  readonly sgx?: readonly number[];
  readonly pceSvn?: number;
  readonly tdx?: readonly number[];
  readonly status: string;
  readonly date?: string;
  readonly advisories?: readonly string[];
}

const zeros = Array.from({ length: 16 }, () => 0);

export function tcbLevel(level: FakeLevel, version = 3): Json {
  const components = (svns: readonly number[]): Json[] => svns.map((svn) => ({ svn, category: 'BIOS' }));
  const sgx = level.sgx ?? fakePlatform.svns;
  const flat = Object.fromEntries(sgx.map((svn, index) => [`sgxtcbcomp${String(index + 1).padStart(2, '0')}svn`, svn]));
  const listed = { sgxtcbcomponents: components(sgx), tdxtcbcomponents: components(level.tdx ?? zeros) };
  return {
    tcb: { ...(version === 2 ? flat : listed), pcesvn: level.pceSvn ?? fakePlatform.pceSvn },
    ...statement(level),
  };
}

export function svnLevel(isvsvn: number, level: Omit<FakeLevel, 'sgx' | 'tdx' | 'pceSvn'>): Json {
  return { tcb: { isvsvn }, ...statement(level) };
}

function statement({ status, date = '2024-03-13T00:00:00Z', advisories }: FakeLevel): Json {
  return { tcbDate: date, tcbStatus: status, ...(advisories === undefined ? {} : { advisoryIDs: advisories }) };
}

export const fakeModule: Json = {
  mrsigner: '00'.repeat(48),
  attributes: '00'.repeat(8),
  attributesMask: 'FF'.repeat(8),
};

export function tcbInfo(technology: 'sgx' | 'tdx', changes: Json = {}): Json {
  const tdx = {
    tdxModule: fakeModule,
    tdxModuleIdentities: [
      {
        id: 'TDX_01',
        ...fakeModule,
        tcbLevels: [svnLevel(4, { status: 'UpToDate' }), svnLevel(2, { status: 'OutOfDate' })],
      },
    ],
  };
  return {
    ...{ id: technology.toUpperCase(), version: 3, ...dated },
    ...{ fmspc: fakePlatform.fmspc.toUpperCase(), pceId: fakePlatform.pceId, tcbType: 0 },
    ...(technology === 'tdx' ? tdx : {}),
    tcbLevels: [
      tcbLevel({ status: 'UpToDate' }),
      tcbLevel({ sgx: zeros, pceSvn: 0, status: 'OutOfDate', date: '2020-01-01T00:00:00Z', advisories: ['FAKE-SA-1'] }),
    ],
    ...changes,
  };
}

export const qeSigner = { sgx: '8c'.repeat(32), tdx: 'dc'.repeat(32) } as const;

export function qeIdentity(technology: 'sgx' | 'tdx', changes: Json = {}): Json {
  return {
    ...{ id: technology === 'sgx' ? 'QE' : 'TD_QE', version: 2, ...dated },
    ...{ miscselect: '00000000', miscselectMask: 'FFFFFFFF', attributes: `11${'00'.repeat(15)}` },
    ...{ attributesMask: `FBFFFFFFFFFFFFFF${'00'.repeat(8)}`, mrsigner: qeSigner[technology], isvprodid: 1 },
    tcbLevels: [
      svnLevel(6, { status: 'UpToDate' }),
      svnLevel(3, { status: 'OutOfDate', date: '2021-05-05T00:00:00Z', advisories: ['FAKE-SA-2'] }),
    ],
    ...changes,
  };
}

/** The frame as it is served; `text` lets a test say the document's bytes itself. */
export function signedDocument(
  member: 'tcbInfo' | 'enclaveIdentity',
  document: Json | string,
  key: KeyObject = intelKey('signer'),
): Uint8Array {
  const text = typeof document === 'string' ? document : JSON.stringify(document);
  const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('hex');
  return new TextEncoder().encode(`{"${member}":${text},"signature":"${signature}"}`);
}

/** All that a verifier may ask for, by name; tests replace what should be wrong. */
export function intelCollateral(): Map<string, Collateral> {
  const issuerChain = pem(signerCertificate(), rootCertificate());
  const obtainedAt = intelNow - day;
  const entries: [string, Collateral][] = [
    ['intel/root-crl', { bytes: rootCrl(), obtainedAt }],
    ['intel/pck-crl/platform', { bytes: pckCrl(), obtainedAt }],
    ['intel/pck-crl/processor', { bytes: pckCrl({ issuer: intelNames.processor }), obtainedAt }],
  ];
  for (const technology of ['sgx', 'tdx'] as const) {
    const info = signedDocument('tcbInfo', tcbInfo(technology));
    const identity = signedDocument('enclaveIdentity', qeIdentity(technology));
    entries.push([`intel/${technology}/tcb/${fakePlatform.fmspc}`, { bytes: info, issuerChain, obtainedAt }]);
    entries.push([`intel/${technology}/qe-identity`, { bytes: identity, issuerChain, obtainedAt }]);
  }
  return new Map(entries);
}

export function sourceOf(collateral: ReadonlyMap<string, Collateral>): CollateralSource {
  return {
    get(name) {
      const found = collateral.get(name);
      if (found !== undefined) return Promise.resolve(found);
      return Promise.reject(new CaissonError('invalid', 'collateral-missing', `no ${name}`));
    },
  };
}

export function intelContext(collateral: ReadonlyMap<string, Collateral> = intelCollateral()): VerifyContext {
  const der = rootCertificateOnce();
  return {
    ...{ now: intelNow, collateral: sourceOf(collateral), collateralAgeMax: intelAgeMax },
    extraRoots: (['sgx', 'tdx'] as const).map((technology) => ({ technology, name: 'fake root', der })),
  };
}

let root: Uint8Array | undefined;
/** ECDSA signs differently each time: the root must be one and the same. */
export function rootCertificateOnce(): Uint8Array {
  root ??= rootCertificate();
  return root;
}

export interface FakeReport {
  readonly attributes?: number;
  readonly miscSelect?: number;
  readonly mrSigner?: string;
  readonly isvProductId?: number;
  readonly isvSvn?: number;
  readonly reportData?: Uint8Array;
}

export function enclaveReport(report: FakeReport): Uint8Array {
  const bytes = Buffer.alloc(384);
  bytes.writeUInt32LE(report.miscSelect ?? 0, 16);
  bytes[48] = report.attributes ?? 0x05;
  bytes.fill(0xee, 64, 96);
  bytes.write(report.mrSigner ?? '51'.repeat(32), 128, 'hex');
  bytes.writeUInt16LE(report.isvProductId ?? 1, 256);
  bytes.writeUInt16LE(report.isvSvn ?? 7, 258);
  bytes.set(report.reportData ?? Buffer.alloc(64, 0x42), 320);
  return Uint8Array.from(bytes);
}

export interface FakeTd {
  readonly teeTcbSvn?: readonly number[];
  /** Makes it a report of TDX 1.5. */
  readonly teeTcbSvn2?: readonly number[];
  readonly mrSignerSeam?: number;
  readonly seamAttributes?: number;
  readonly attributes?: readonly number[];
}

export function tdReport(report: FakeTd = {}): Uint8Array {
  const bytes = Buffer.alloc(report.teeTcbSvn2 === undefined ? 584 : 648);
  bytes.set(report.teeTcbSvn ?? [5, 1, 3]);
  bytes.fill(0x5e, 16, 64);
  bytes.fill(report.mrSignerSeam ?? 0, 64, 112);
  bytes[112] = report.seamAttributes ?? 0;
  bytes.set(report.attributes ?? [0, 0, 0, 0x10], 120);
  bytes.fill(0x61, 136, 184);
  for (const index of [0, 1, 2, 3]) bytes.fill(0x70 + index, 328 + index * 48, 376 + index * 48);
  bytes.fill(0x42, 520, 584);
  bytes.set(report.teeTcbSvn2 ?? [], 584);
  return Uint8Array.from(bytes);
}

export interface FakeQuote {
  readonly version?: number;
  readonly keyType?: number;
  readonly teeType?: number;
  readonly vendor?: string;
  readonly bodyType?: number;
  readonly bodySize?: number;
  /** Enclave or TD report. */
  readonly body?: Uint8Array;
  readonly qeReport?: FakeReport;
  /** What the QE report says of key and authentication data; computed where it is not given. */
  readonly qeReportData?: Uint8Array;
  readonly authentication?: Uint8Array;
  readonly certificationType?: number;
  readonly certification?: Uint8Array;
  readonly outerType?: number;
  readonly qeSigningKey?: KeyObject;
  readonly quoteSigningKey?: KeyObject;
  readonly attestationKey?: Uint8Array;
  readonly trailing?: Uint8Array;
  readonly pck?: Uint8Array;
}

const u16 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, value >> 8);
const u32 = (value: number): Uint8Array => Buffer.concat([u16(value & 0xffff), u16(value >>> 16)]);

export function fakeQuote(technology: 'sgx' | 'tdx', quote: FakeQuote = {}): Uint8Array {
  const version = quote.version ?? (technology === 'sgx' ? 3 : 4);
  const body = quote.body ?? (technology === 'sgx' ? enclaveReport({}) : tdReport());
  const header = Buffer.concat([
    ...[
      u16(version),
      u16(quote.keyType ?? 2),
      u32(quote.teeType ?? (technology === 'sgx' ? 0 : 0x81)),
      Buffer.alloc(4),
    ],
    Buffer.from(quote.vendor ?? '939a7233f79c4ca9940a0db3957f0607', 'hex'),
    Buffer.alloc(20, 0x0d),
  ]);
  const type = quote.bodyType ?? (body.length === 648 ? 3 : 2);
  const frame = version === 5 ? Buffer.concat([u16(type), u32(quote.bodySize ?? body.length)]) : Buffer.alloc(0);
  const signedBytes = Buffer.concat([header, frame, body]);
  const attestationKey = quote.attestationKey ?? point(intelKey('attestation'));
  const signature = raw(signedBytes, quote.quoteSigningKey ?? intelKey('attestation'));
  const certified = certifiedPart(technology, quote, attestationKey);
  const rest = version === 3 ? certified : Buffer.concat([u16(quote.outerType ?? 6), u32(certified.length), certified]);
  const data = Buffer.concat([signature, attestationKey, rest]);
  return Uint8Array.from(Buffer.concat([signedBytes, u32(data.length), data, quote.trailing ?? Buffer.alloc(0)]));
}

function certifiedPart(technology: 'sgx' | 'tdx', quote: FakeQuote, attestationKey: Uint8Array): Buffer {
  const authentication = quote.authentication ?? Buffer.alloc(32, 0xa0);
  const digest = createHash('sha256').update(attestationKey).update(authentication).digest();
  const reportData = quote.qeReportData ?? Buffer.concat([digest, Buffer.alloc(32)]);
  const qeReport = enclaveReport({ attributes: 0x11, mrSigner: qeSigner[technology], reportData, ...quote.qeReport });
  const chain = pem(quote.pck ?? pckCertificate(), intermediateCertificate(), rootCertificateOnce());
  const certification = quote.certification ?? Buffer.concat([chain, Buffer.alloc(1)]);
  return Buffer.concat([
    ...[qeReport, raw(qeReport, quote.qeSigningKey ?? intelKey('pck'))],
    ...[u16(authentication.length), authentication],
    ...[u16(quote.certificationType ?? 5), u32(certification.length), certification],
  ]);
}

function raw(bytes: Uint8Array, key: KeyObject): Buffer {
  return sign('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' });
}

function point(key: KeyObject): Uint8Array {
  const { x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.concat([Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
}

export function intelEvidence(technology: 'sgx' | 'tdx', quote: FakeQuote = {}): Evidence {
  return { technology, parts: { quote: fakeQuote(technology, quote) } };
}
