/**
 * A maker of SEV-SNP processors that does not exist: root, intermediates, endorsement keys, revocation lists
 * and reports, each right unless a test makes one part of it wrong.
 *
 * Keys of RSA take long to make: there is one set for each process, and every product shares it.
 */
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Collateral, CollateralSource } from '../../src/broker/attest/collateral.ts';
import { certificateGuids } from '../../src/wire/snp-certificate-guids.ts';
import type { TableCertificate } from '../../src/wire/snp-certificate-guids.ts';
import { productFacts } from '../../src/broker/attest/snp/products.ts';
import type { Product, TcbComponent } from '../../src/broker/attest/snp/products.ts';
import type { VerifyContext } from '../../src/broker/attest/verifier.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { authorityExtensions, der, derInteger, derText, fakeCertificate, fakeCrl, pem } from './fake-x509.ts';
import type { FakeCertificate, FakeCrl, FakeExtension, FakeName } from './fake-x509.ts';

/** When tests happen. */
export const fakeNow = Date.UTC(2026, 5, 15, 12);
const day = 86_400_000;
export const year = 365 * day;
export const fakeCollateralAgeMax = 7 * day;

export const serials = { ark: 0x10000, ask: 0x10001, asvk: 0x10101 } as const;
export type AuthorityRole = keyof typeof serials | 'stranger';

const keys = new Map<AuthorityRole, KeyObject>();

/** `stranger`: a root that nobody trusts. */
export function authorityKey(role: AuthorityRole): KeyObject {
  const known = keys.get(role);
  if (known !== undefined) return known;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys.set(role, privateKey);
  return privateKey;
}

/** A key for reports; deterministic enough for tests: one for each process and name. */
export function endorsementKey(name = 'vek', curve = 'P-384'): KeyObject {
  const id = `${name} ${curve}`;
  const known = endorsementKeys.get(id);
  if (known !== undefined) return known;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  endorsementKeys.set(id, privateKey);
  return privateKey;
}
const endorsementKeys = new Map<string, KeyObject>();

/** What the names of all authorities share. */
export const fakeNames: FakeName = { OU: 'Engineering', C: 'US', L: 'Santa Clara', ST: 'CA', O: 'Fake Micro Devices' };

function authorityName(role: 'ark' | 'ask' | 'asvk', product: Product): FakeName {
  const { name } = productFacts[product];
  const common = { ark: `ARK-${name}`, ask: `SEV-${name}`, asvk: `SEV-VLEK-${name}` }[role];
  return { ...fakeNames, CN: common };
}

export function authorityCertificate(
  role: 'ark' | 'ask' | 'asvk',
  product: Product,
  changes: Partial<FakeCertificate> = {},
): Uint8Array {
  return fakeCertificate({
    subject: authorityName(role, product),
    issuer: authorityName('ark', product),
    serial: serials[role],
    notBefore: fakeNow - 3 * year,
    notAfter: fakeNow + 20 * year,
    publicKey: createPublicKey(authorityKey(role)),
    signingKey: authorityKey('ark'),
    scheme: 'rsa-pss-sha384',
    extensions: authorityExtensions(role === 'ark' ? undefined : 0, role === 'ark'),
    ...changes,
  });
}

export const arc = '1.3.6.1.4.1.3704.1';
const componentArcs: Readonly<Record<TcbComponent, string>> = {
  bootloader: '3.1',
  tee: '3.2',
  snp: '3.3',
  microcode: '3.8',
  fmc: '3.9',
};

/** The components that fakes have unless told otherwise. */
export const fakeTcb: Readonly<Record<TcbComponent, number>> = {
  bootloader: 4,
  tee: 1,
  snp: 24,
  microcode: 219,
  fmc: 2,
};
export const fakeChipId = Uint8Array.from({ length: 64 }, (_, index) => index + 1);

/** The extensions of a VCEK or VLEK under their arcs, so that tests can leave out or replace one. */
export function endorsementExtensions(
  kind: 'vcek' | 'vlek',
  product: Product,
  tcb: Readonly<Record<TcbComponent, number>> = fakeTcb,
): Map<string, Uint8Array> {
  const { name, tcbLayout, hardwareIdBytes } = productFacts[product];
  const extensions = new Map<string, Uint8Array>([
    ['1', derInteger(product === 'turin' ? 1 : 0)],
    ['2', derText(0x16, product === 'turin' ? name : `${name}-B0`)],
    ...['3.4', '3.5', '3.6', '3.7'].map((spare): [string, Uint8Array] => [spare, derInteger(0)]),
  ]);
  for (const component of Object.keys(tcbLayout) as TcbComponent[])
    extensions.set(componentArcs[component], derInteger(tcb[component]));
  if (kind === 'vcek') extensions.set('4', fakeChipId.subarray(0, hardwareIdBytes));
  else extensions.set('5', derText(0x16, 'fake-cloud'));
  return extensions;
}

export function endorsementCertificate(
  kind: 'vcek' | 'vlek',
  product: Product,
  extensions = endorsementExtensions(kind, product),
  changes: Partial<FakeCertificate> = {},
): Uint8Array {
  const issuerRole = kind === 'vcek' ? 'ask' : 'asvk';
  return fakeCertificate({
    subject: { O: 'Fake Micro Devices', CN: `SEV-${kind.toUpperCase()}` },
    issuer: authorityName(issuerRole, product),
    serial: 0,
    notBefore: fakeNow - year,
    notAfter: fakeNow + (kind === 'vcek' ? 6 * year : 30 * day),
    publicKey: createPublicKey(endorsementKey()),
    signingKey: authorityKey(issuerRole),
    scheme: 'rsa-pss-sha384',
    extensions: [...extensions].map(([suffix, value]): FakeExtension => ({ oid: `${arc}.${suffix}`, value })),
    ...changes,
  });
}

/** An OCTET STRING in the extension, in place of the bare bytes: AMD has issued both. */
export function wrapped(bytes: Uint8Array): Uint8Array {
  return der(0x04, bytes);
}

export function amdCrl(product: Product, changes: Partial<FakeCrl> = {}): Uint8Array {
  return fakeCrl({
    issuer: authorityName('ark', product),
    thisUpdate: fakeNow - 200 * day,
    nextUpdate: fakeNow + 165 * day,
    signingKey: authorityKey('ark'),
    scheme: 'rsa-pss-sha384',
    ...changes,
  });
}

export interface FakeReport {
  readonly version?: 2 | 3 | 4 | 5;
  readonly product?: Product;
  readonly kind?: 'vcek' | 'vlek';
  readonly key?: KeyObject;
  readonly reportData?: Uint8Array;
  /** Bytes put over the report before it is signed. */
  readonly patches?: readonly (readonly [offset: number, bytes: Uint8Array | readonly number[]])[];
}

export const fakeReportData = Uint8Array.from({ length: 64 }, (_, index) => 0xff - index);
const cpus: Readonly<Record<Product, readonly [number, number, number]>> = {
  milan: [0x19, 0x01, 1],
  genoa: [0x19, 0x11, 1],
  turin: [0x1a, 0x02, 1],
};

export function snpReport(options: FakeReport = {}): Uint8Array {
  const { version = 3, product = 'milan', kind = 'vcek' } = options;
  const report = new Uint8Array(1184);
  const view = new DataView(report.buffer);
  view.setUint32(0x0, version, true);
  view.setUint32(0x4, 7, true);
  view.setBigUint64(0x8, 0x3_0137n, true);
  report.fill(0x11, 0x10, 0x20).fill(0x22, 0x20, 0x30);
  view.setUint32(0x34, 1, true);
  view.setBigUint64(0x40, 0x25n, true);
  view.setUint32(0x48, kind === 'vlek' ? 1 << 2 : 0, true);
  report.set(options.reportData ?? fakeReportData, 0x50);
  report.fill(0x33, 0x90, 0xc0).fill(0x44, 0xc0, 0xe0).fill(0x55, 0xe0, 0x110);
  report.fill(0x66, 0x140, 0x160).fill(0xff, 0x160, 0x180);
  const tcb = tcbBytesOf(product, fakeTcb);
  for (const offset of [0x38, 0x180, 0x1e0, 0x1f0]) report.set(tcb, offset);
  if (version > 2) report.set(cpus[product], 0x188);
  if (kind === 'vcek') report.set(fakeChipId, 0x1a0);
  report.set([29, 55, 1, 0, 28, 54, 1, 0], 0x1e8);
  if (version > 3) report.set([5, 0, 0, 0, 0, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0x81], 0x1f8);
  return signReport(report, options);
}

export function tcbBytesOf(product: Product, tcb: Readonly<Record<TcbComponent, number>>): Uint8Array {
  const bytes = new Uint8Array(8);
  for (const [component, index] of Object.entries(productFacts[product].tcbLayout))
    bytes[index] = tcb[component as TcbComponent];
  return bytes;
}

function signReport(report: Uint8Array, { key = endorsementKey(), patches = [] }: FakeReport): Uint8Array {
  for (const [offset, bytes] of patches) if (offset < 0x2a0) report.set(bytes, offset);
  const signature = sign('sha384', report.subarray(0, 0x2a0), { key, dsaEncoding: 'ieee-p1363' });
  report.set(signature.subarray(0, 48).toReversed(), 0x2a0);
  report.set(signature.subarray(48, 96).toReversed(), 0x2e8);
  for (const [offset, bytes] of patches) if (offset >= 0x2a0) report.set(bytes, offset);
  return report;
}

export function certificateTable(certificates: Readonly<Partial<Record<TableCertificate, Uint8Array>>>): Uint8Array {
  const entries = Object.entries(certificates) as [TableCertificate, Uint8Array][];
  return rawCertificateTable(entries.map(([kind, bytes]) => [certificateGuids[kind], bytes]));
}

export function rawCertificateTable(entries: readonly (readonly [guid: string, bytes: Uint8Array])[]): Uint8Array {
  const start = (entries.length + 1) * 24;
  const table = new Uint8Array(entries.reduce((length, [, bytes]) => length + bytes.length, start));
  const view = new DataView(table.buffer);
  let offset = start;
  for (const [index, [guid, bytes]] of entries.entries()) {
    table.set(Buffer.from(guid, 'hex'), index * 24);
    view.setUint32(index * 24 + 16, offset, true);
    view.setUint32(index * 24 + 20, bytes.length, true);
    table.set(bytes, offset);
    offset += bytes.length;
  }
  return table;
}

/** Collateral that tests hold in their hands. */
export class HeldCollateral implements CollateralSource {
  readonly items = new Map<string, Collateral>();
  /** What was asked for, in order. */
  readonly asked: string[] = [];

  put(name: string, bytes: Uint8Array, obtainedAt = fakeNow - day): this {
    this.items.set(name, { bytes, obtainedAt });
    return this;
  }

  get(name: string): Promise<Collateral> {
    this.asked.push(name);
    const item = this.items.get(name);
    if (item !== undefined) return Promise.resolve(item);
    return Promise.reject(new CaissonError('invalid', 'collateral-missing', `there is no ${name}`));
  }
}

/** All that AMD publishes for `product`, VCEK included. */
export function amdCollateral(product: Product): HeldCollateral {
  const [ark, ask, asvk] = (['ark', 'ask', 'asvk'] as const).map((role) => authorityCertificate(role, product));
  const hardwareId = Buffer.from(fakeChipId.subarray(0, productFacts[product].hardwareIdBytes)).toString('hex');
  const tcb = Buffer.from(tcbBytesOf(product, fakeTcb)).toString('hex');
  return new HeldCollateral()
    .put(`amd/${product}/cert-chain`, pem(ask!, ark!))
    .put(`amd/${product}/vlek-chain`, pem(asvk!, ark!))
    .put(`amd/${product}/crl`, amdCrl(product))
    .put(`amd/${product}/vlek-crl`, amdCrl(product))
    .put(`amd/${product}/vcek/${hardwareId}/${tcb}`, endorsementCertificate('vcek', product));
}

export function amdContext(product: Product, changes: Partial<VerifyContext> = {}): VerifyContext {
  return {
    now: fakeNow,
    collateral: amdCollateral(product),
    collateralAgeMax: fakeCollateralAgeMax,
    extraRoots: [{ technology: 'snp', name: 'fake', der: authorityCertificate('ark', product) }],
    ...changes,
  };
}

export function snpEvidence(report: Uint8Array, certificates?: Uint8Array): Evidence {
  return { technology: 'snp', parts: { report, ...(certificates === undefined ? {} : { certificates }) } };
}
