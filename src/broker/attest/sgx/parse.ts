/** SGX quote, version 3 (spec/attestation-intel.md, "Quotes"): 48 bytes of header, 384 of report, then the signature data. */
import {
  QuoteReader,
  quoteInvalid,
  readEnclaveReport,
  readHeader,
  readSignatureV3,
  teeTypeSgx,
  type EnclaveReport,
  type IntelQuote,
} from '../intel/quote.ts';

export interface SgxQuote extends IntelQuote {
  readonly report: EnclaveReport;
}

export function parseSgxQuote(bytes: Uint8Array): SgxQuote {
  const reader = new QuoteReader(bytes);
  const header = readHeader(reader);
  if (header.version !== 3) throw quoteInvalid('quote-version', `an SGX quote has the version ${header.version}`);
  if (header.teeType !== teeTypeSgx) throw quoteInvalid('quote-tee-type', 'a quote is of another technology than SGX');
  const report = readEnclaveReport(reader);
  const signedBytes = reader.taken();
  return { header, report, signedBytes, ...readSignatureV3(reader) };
}
