/**
 * The attestation report of SEV-SNP: bytes to fields (spec/attestation-snp.md, "Report"). Trusts
 * nothing: who signed it is for `verify.ts` to find out.
 *
 * Invariant: what this accepts, a firmware of a known report version can have written. Every byte of
 * the report is a field, the signature, or was seen to be zero.
 */
import type { CaissonError } from '../../../lib/errors.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { productOfCpu, tcbBytes } from './products.ts';
import type { Product } from './products.ts';

export const snpReportBytes = 0x4a0;
/** The signature covers the bytes before it. */
export const signedBytes = 0x2a0;
const versionMin = 2;
const versionMax = 5;
/** From this version on the report names its CPU. */
const cpuVersionMin = 3;
const mitigationVersionMin = 4;
const ecdsaP384Sha384 = 1;
const vmplMax = 3;
/** r and s: 72 bytes each, of which P-384 uses the first 48. */
const scalarFieldBytes = 72;
const scalarBytes = 48;

export const policyBits = {
  smt: 16,
  'migrate-ma': 18,
  debug: 19,
  'single-socket': 20,
  cxl: 21,
  'aes-256-xts': 22,
  'rapl-dis': 23,
  'ciphertext-hiding': 24,
  'page-swap-disable': 25,
} as const;
const policyBitAlwaysSet = 17;
const policyBitsCount = 26;

export const platformBits = {
  smt: 0,
  tsme: 1,
  ecc: 2,
  'rapl-dis': 3,
  'ciphertext-hiding': 4,
  'alias-check': 5,
  tio: 7,
} as const;

export interface SnpReport {
  readonly version: number;
  readonly guestSvn: number;
  readonly policy: bigint;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly vmpl: number;
  readonly platformInfo: bigint;
  readonly hasAuthorKey: boolean;
  readonly masksChipKey: boolean;
  readonly signingKey: 'vcek' | 'vlek' | 'none';
  readonly reportData: Uint8Array;
  readonly measurement: Uint8Array;
  readonly hostData: Uint8Array;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  /** Undefined in version 2, which does not say. */
  readonly product: Product | undefined;
  /** Zeros where the platform masks it. */
  readonly chipId: Uint8Array;
  /** Eight bytes each, whose meaning depends on the product. */
  readonly tcb: Readonly<Record<TcbKind, Uint8Array>>;
  /** As `major.minor.build`. */
  readonly firmware: { readonly current: string; readonly committed: string };
  /** Of version 4 and later. */
  readonly mitigations: { readonly launch: Uint8Array; readonly current: Uint8Array } | undefined;
  readonly signed: Uint8Array;
  /** r and s, 48 bytes each, most significant first. */
  readonly signature: Uint8Array;
}

export const tcbKinds = ['reported', 'committed', 'current', 'launch'] as const;
export type TcbKind = (typeof tcbKinds)[number];

export function parseSnpReport(bytes: Uint8Array): SnpReport {
  if (bytes.length !== snpReportBytes)
    throw refused('report-length', `a report has ${snpReportBytes} bytes, this one ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const field = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length);
  const version = view.getUint32(0, true);
  if (version < versionMin || version > versionMax)
    throw refused('report-version', `report version ${version} is not known`);
  checkReserved(bytes, version);
  if (view.getUint32(0x34, true) !== ecdsaP384Sha384)
    throw refused('signature-algorithm', 'the report is not signed with ECDSA P-384 and SHA-384');
  const vmpl = view.getUint32(0x30, true);
  if (vmpl > vmplMax) throw refused('vmpl', `there is no VMPL ${vmpl}`);
  const authorKeyDigest = field(0x110, 48);
  const signer = parseSigner(view.getUint32(0x48, true));
  if (!signer.hasAuthorKey && !isZero(authorKeyDigest))
    throw refused('author-key', 'the report has the digest of an author key that it says there is none of');
  return {
    version,
    guestSvn: view.getUint32(0x4, true),
    policy: parsePolicy(view.getBigUint64(0x8, true)),
    familyId: field(0x10, 16),
    imageId: field(0x20, 16),
    vmpl,
    platformInfo: view.getBigUint64(0x40, true),
    ...signer,
    reportData: field(0x50, 64),
    measurement: field(0x90, 48),
    hostData: field(0xc0, 32),
    idKeyDigest: field(0xe0, 48),
    authorKeyDigest,
    reportId: field(0x140, 32),
    reportIdMa: field(0x160, 32),
    product: version < cpuVersionMin ? undefined : parseProduct(bytes),
    chipId: field(0x1a0, 64),
    tcb: {
      reported: field(0x180, tcbBytes),
      committed: field(0x1e0, tcbBytes),
      current: field(0x38, tcbBytes),
      launch: field(0x1f0, tcbBytes),
    },
    firmware: { current: firmwareVersion(bytes, 0x1e8), committed: firmwareVersion(bytes, 0x1ec) },
    mitigations: version < mitigationVersionMin ? undefined : { launch: field(0x1f8, 8), current: field(0x200, 8) },
    signed: field(0, signedBytes),
    signature: bigEndianSignature(bytes),
  };
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function checkReserved(bytes: Uint8Array, version: number): void {
  const scalarsEnd = signedBytes + 2 * scalarFieldBytes;
  const reserved: readonly (readonly [number, number])[] = [
    [0x4c, 0x50],
    [version < cpuVersionMin ? 0x188 : 0x18b, 0x1a0],
    [0x1eb, 0x1ec],
    [0x1ef, 0x1f0],
    [version < mitigationVersionMin ? 0x1f8 : 0x208, signedBytes],
    [signedBytes + scalarBytes, signedBytes + scalarFieldBytes],
    [signedBytes + scalarFieldBytes + scalarBytes, scalarsEnd],
    [scalarsEnd, snpReportBytes],
  ];
  for (const [start, end] of reserved)
    if (!isZero(bytes.subarray(start, end)))
      throw evidenceInvalid(`a byte from ${start} to ${end - 1} is set, which version ${version} keeps zero`, {
        check: 'report-reserved',
        offset: start,
      });
}

function parsePolicy(policy: bigint): bigint {
  const isKnown = policy >> BigInt(policyBitsCount) === 0n && hasBit(policy, policyBitAlwaysSet);
  if (!isKnown) throw refused('policy-reserved', 'the guest policy has a reserved bit of the wrong value');
  return policy;
}

export function hasBit(value: bigint, bit: number): boolean {
  return ((value >> BigInt(bit)) & 1n) === 1n;
}

function parseSigner(flags: number): Pick<SnpReport, 'hasAuthorKey' | 'masksChipKey' | 'signingKey'> {
  const signingKeys: Readonly<Record<number, SnpReport['signingKey']>> = { 0: 'vcek', 1: 'vlek', 7: 'none' };
  const signingKey = signingKeys[(flags >> 2) & 7];
  if (flags >>> 5 !== 0 || signingKey === undefined)
    throw refused('signer-reserved', 'the report names a signing key that does not exist, or has a reserved bit set');
  return { hasAuthorKey: (flags & 1) !== 0, masksChipKey: (flags & 2) !== 0, signingKey };
}

function parseProduct(bytes: Uint8Array): Product {
  const [family = 0, model = 0] = bytes.subarray(0x188, 0x18a);
  const product = productOfCpu(family, model);
  if (product === undefined)
    throw refused('product-unknown', `a CPU of family ${family} and model ${model} is no known product`);
  return product;
}

function firmwareVersion(bytes: Uint8Array, offset: number): string {
  const [build, minor, major] = bytes.subarray(offset, offset + 3);
  return `${major}.${minor}.${build}`;
}

function bigEndianSignature(bytes: Uint8Array): Uint8Array {
  const signature = new Uint8Array(2 * scalarBytes);
  for (const [index, offset] of [signedBytes, signedBytes + scalarFieldBytes].entries())
    signature.set(bytes.subarray(offset, offset + scalarBytes).toReversed(), index * scalarBytes);
  return signature;
}

function refused(check: string, message: string): CaissonError {
  return evidenceInvalid(message, { check });
}
