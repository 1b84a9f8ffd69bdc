/**
 * What all Intel quotes share (spec/attestation-intel.md, "Quotes"): header, enclave report, signature data. Trusts nothing.
 *
 * All numbers are little-endian. Every length is checked against what is left, every reserved choice (key type, certification type)
 * against what is known, and after the declared end only zeros may follow: quoting services pad.
 */
import { CaissonError } from '../../../lib/errors.ts';
import { intelQeAuthenticationBytesMax } from '../../../lib/limits.ts';

export const teeTypeSgx = 0;
export const teeTypeTdx = 0x81;

export interface QuoteHeader {
  readonly version: number;
  readonly teeType: number;
  /** The first 16 bytes of the user data: names the quoting enclave's instance where a PCK certificate is asked for. */
  readonly qeId: Uint8Array;
}

/** REPORTBODY of an enclave, 384 bytes. */
export interface EnclaveReport {
  readonly bytes: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly miscSelect: number;
  /** Flags (8 bytes) and XFRM (8 bytes). */
  readonly attributes: Uint8Array;
  readonly isvExtendedProductId: Uint8Array;
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly configId: Uint8Array;
  readonly isvProductId: number;
  readonly isvSvn: number;
  readonly configSvn: number;
  readonly isvFamilyId: Uint8Array;
  readonly reportData: Uint8Array;
}

/** How the quote names the certificate of its provisioning key. */
export type Certification =
  | { readonly kind: 'chain'; readonly pem: Uint8Array }
  | {
      readonly kind: 'ppid';
      /** Encrypted for Intel's service, or of type 1 in the clear. */
      readonly ppid: Uint8Array;
      readonly cpuSvn: Uint8Array;
      readonly pceSvn: Uint8Array;
      /** Type 1 does not have it: zeros, as on every platform there is. */
      readonly pceId: Uint8Array;
    };

export interface QuoteSignature {
  readonly signature: Uint8Array;
  /** x and y of a point of P-256. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: EnclaveReport;
  readonly qeReportSignature: Uint8Array;
  readonly qeAuthentication: Uint8Array;
  readonly certification: Certification;
}

export interface IntelQuote extends QuoteSignature {
  readonly header: QuoteHeader;
  /** From the first byte to the end of the body. */
  readonly signedBytes: Uint8Array;
}

const qeVendorIntel = '939a7233f79c4ca9940a0db3957f0607';
const attestationKeyP256 = 2;
const certificationQeReport = 6;
/** Bytes of the PPID by certification type: plain, RSA-2048, RSA-3072. */
const ppidBytes: ReadonlyMap<number, number> = new Map([
  [1, 16],
  [2, 256],
  [3, 384],
]);
const enclaveReportBytes = 384;

/** Takes fields off the front; a quote that ends inside one is refused. */
export class QuoteReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  bytes(count: number): Uint8Array {
    const end = this.#offset + count;
    if (end > this.#bytes.length) throw quoteInvalid('quote-length', 'a quote ends early');
    const taken = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return taken;
  }

  u16(): number {
    const [low = 0, high = 0] = this.bytes(2);
    return low + high * 256;
  }

  u32(): number {
    return this.u16() + this.u16() * 65_536;
  }

  /** All that was taken so far. */
  taken(): Uint8Array {
    return this.#bytes.subarray(0, this.#offset);
  }

  end(): void {
    if (this.#offset !== this.#bytes.length)
      throw quoteInvalid('quote-length', 'a part of a quote is longer than its fields');
  }

  endOrZeros(): void {
    if (this.#bytes.subarray(this.#offset).some((byte) => byte !== 0))
      throw quoteInvalid('quote-trailing', 'there is something other than zeros after the end of a quote');
  }
}

export function readHeader(reader: QuoteReader): QuoteHeader {
  const version = reader.u16();
  const keyType = reader.u16();
  const teeType = reader.u32();
  reader.bytes(4);
  const vendor = Buffer.from(reader.bytes(16)).toString('hex');
  const userData = reader.bytes(20);
  if (keyType !== attestationKeyP256)
    throw quoteInvalid('quote-key-type', `a quote has the attestation key type ${keyType}`);
  if (vendor !== qeVendorIntel) throw quoteInvalid('quote-vendor', 'the quoting enclave of a quote is not from Intel');
  return { version, teeType, qeId: userData.subarray(0, 16) };
}

export function readEnclaveReport(reader: QuoteReader): EnclaveReport {
  const bytes = reader.bytes(enclaveReportBytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    bytes,
    cpuSvn: bytes.subarray(0, 16),
    miscSelect: view.getUint32(16, true),
    isvExtendedProductId: bytes.subarray(32, 48),
    attributes: bytes.subarray(48, 64),
    mrEnclave: bytes.subarray(64, 96),
    mrSigner: bytes.subarray(128, 160),
    configId: bytes.subarray(192, 256),
    isvProductId: view.getUint16(256, true),
    isvSvn: view.getUint16(258, true),
    configSvn: view.getUint16(260, true),
    isvFamilyId: bytes.subarray(304, 320),
    reportData: bytes.subarray(320, 384),
  };
}

/** Version 3: the report of the quoting enclave stands in the signature data itself. */
export function readSignatureV3(reader: QuoteReader): QuoteSignature {
  const data = new QuoteReader(reader.bytes(reader.u32()));
  reader.endOrZeros();
  const signature = data.bytes(64);
  const attestationKey = data.bytes(64);
  const rest = readQeReport(data);
  data.end();
  return { signature, attestationKey, ...rest };
}

/** Versions 4 and 5: it is certification data of type 6, with another certification inside. */
export function readSignatureV4(reader: QuoteReader): QuoteSignature {
  const data = new QuoteReader(reader.bytes(reader.u32()));
  reader.endOrZeros();
  const signature = data.bytes(64);
  const attestationKey = data.bytes(64);
  const type = data.u16();
  if (type !== certificationQeReport)
    throw quoteInvalid('quote-certification', `a quote has the certification type ${type} instead of 6`);
  const inner = new QuoteReader(data.bytes(data.u32()));
  data.end();
  const rest = readQeReport(inner);
  inner.end();
  return { signature, attestationKey, ...rest };
}

function readQeReport(data: QuoteReader): Omit<QuoteSignature, 'signature' | 'attestationKey'> {
  const qeReport = readEnclaveReport(data);
  const qeReportSignature = data.bytes(64);
  const authenticationLength = data.u16();
  if (authenticationLength > intelQeAuthenticationBytesMax)
    throw quoteInvalid('quote-length', 'the authentication data of a quoting enclave is too large');
  const qeAuthentication = data.bytes(authenticationLength);
  const type = data.u16();
  const certification = readCertification(type, data.bytes(data.u32()));
  return { qeReport, qeReportSignature, qeAuthentication, certification };
}

function readCertification(type: number, bytes: Uint8Array): Certification {
  if (type === 5) return { kind: 'chain', pem: bytes };
  const length = ppidBytes.get(type);
  if (length === undefined)
    throw quoteInvalid('quote-certification', `a quote has the certification type ${type}, which is not known`);
  const reader = new QuoteReader(bytes);
  const ppid = reader.bytes(length);
  const cpuSvn = reader.bytes(16);
  const pceSvn = reader.bytes(2);
  const pceId = type === 1 ? new Uint8Array(2) : reader.bytes(2);
  reader.end();
  return { kind: 'ppid', ppid, cpuSvn, pceSvn, pceId };
}

export function quoteInvalid(check: string, message: string): CaissonError {
  return new CaissonError('invalid', 'evidence-invalid', message, { details: { check } });
}
