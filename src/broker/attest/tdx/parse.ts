/**
 * TDX quotes, versions 4 and 5 (spec/attestation-intel.md, "Quotes"). Version 4 has a TD report of TDX 1.0; version 5 says in its
 * body type whether it is that (2) or the one of TDX 1.5 (3), which adds a second TCB and the measurement of service TDs.
 */
import { QuoteReader, quoteInvalid, readHeader, readSignatureV4, teeTypeTdx, type IntelQuote } from '../intel/quote.ts';

export interface TdReport {
  /** TCB when the TD was built: [0] minor and [1] major version of the module, then SVNs. */
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: Uint8Array;
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  readonly reportData: Uint8Array;
  /** Of TDX 1.5. */
  readonly extension:
    | {
        /** TCB now: newer than `teeTcbSvn` where the module was updated while the TD ran. */
        readonly teeTcbSvn2: Uint8Array;
        readonly mrServiceTd: Uint8Array;
      }
    | undefined;
}

export interface TdxQuote extends IntelQuote {
  readonly report: TdReport;
}

const bodyTdReport10 = 2;
const bodyTdReport15 = 3;
const tdReport10Bytes = 584;
const tdReport15Bytes = 648;

export function parseTdxQuote(bytes: Uint8Array): TdxQuote {
  const reader = new QuoteReader(bytes);
  const header = readHeader(reader);
  if (header.version !== 4 && header.version !== 5)
    throw quoteInvalid('quote-version', `a TDX quote has the version ${header.version}`);
  if (header.teeType !== teeTypeTdx) throw quoteInvalid('quote-tee-type', 'a quote is of another technology than TDX');
  const bodyBytes = header.version === 4 ? tdReport10Bytes : readBodyBytes(reader);
  const report = readTdReport(reader, bodyBytes === tdReport15Bytes);
  const signedBytes = reader.taken();
  return { header, report, signedBytes, ...readSignatureV4(reader) };
}

function readBodyBytes(reader: QuoteReader): number {
  const type = reader.u16();
  const size = reader.u32();
  const expected = type === bodyTdReport10 ? tdReport10Bytes : type === bodyTdReport15 ? tdReport15Bytes : undefined;
  if (expected === undefined || size !== expected)
    throw quoteInvalid('quote-body', `a TDX quote has a body of type ${type} and ${size} bytes`);
  return expected;
}

function readTdReport(reader: QuoteReader, isExtended: boolean): TdReport {
  return {
    teeTcbSvn: reader.bytes(16),
    mrSeam: reader.bytes(48),
    mrSignerSeam: reader.bytes(48),
    seamAttributes: reader.bytes(8),
    tdAttributes: reader.bytes(8),
    xfam: reader.bytes(8),
    mrTd: reader.bytes(48),
    mrConfigId: reader.bytes(48),
    mrOwner: reader.bytes(48),
    mrOwnerConfig: reader.bytes(48),
    rtmrs: [reader.bytes(48), reader.bytes(48), reader.bytes(48), reader.bytes(48)],
    reportData: reader.bytes(64),
    extension: isExtended ? { teeTcbSvn2: reader.bytes(16), mrServiceTd: reader.bytes(48) } : undefined,
  };
}
