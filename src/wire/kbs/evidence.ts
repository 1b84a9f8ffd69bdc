/**
 * Evidence of the KBS protocol, JSON of a form for each TEE, as the evidence that verifiers take, and back
 * for a workload that asks a foreign key broker (spec/kbs.md, "Evidence").
 */
import { toHex } from '../../lib/hex.ts';
import { evidenceInvalid, type Evidence, type Technology } from '../evidence.ts';
import { parseAttest } from '../tpm/attest.ts';
import { encodeSignature } from '../tpm/signature.ts';
import { tpmHashes } from '../tpm/algorithms.ts';
import { certificateGuids } from '../snp-certificate-guids.ts';
import { rebuildSnpReport, snpReportFields } from './snp-report.ts';

/** What the protocol calls the technologies; others are refused by name. */
export const teeNames: Readonly<Record<string, Technology>> = {
  sgx: 'sgx',
  tdx: 'tdx',
  snp: 'snp',
  cca: 'cca',
  'az-snp-vtpm': 'az-snp-vtpm',
  'az-tdx-vtpm': 'az-tdx-vtpm',
};

type Fields = Readonly<Record<string, unknown>>;
type Parts = Record<string, Uint8Array>;

const pcrCount = 24;
const sha256 = tpmHashes.find(({ name }) => name === 'sha256')!;

/** `evidence-invalid` where it is not of the form that the clients of this protocol write. */
export function evidenceFromKbs(technology: Technology, primary: unknown): Evidence {
  const fields = objectOf(primary, 'primary_evidence');
  return { technology, parts: readers[technology]?.(fields) ?? refuse(technology) };
}

/** The technologies whose evidence this protocol can carry from here: vTPMs of this workload sign another form. */
export const sentTechnologies: readonly Technology[] = ['sgx', 'tdx', 'snp', 'cca'];

/** `evidence-invalid` for evidence of others, or of which a structure cannot be written as fields. */
export function evidenceToKbs({ technology, parts }: Evidence): unknown {
  switch (technology) {
    case 'sgx':
      return { quote: base64(partOf(parts, 'quote')) };
    case 'tdx': {
      const { eventLog } = parts;
      return { cc_eventlog: eventLog === undefined ? null : base64(eventLog), quote: base64(partOf(parts, 'quote')) };
    }
    case 'snp': {
      const certificate = parts['certificates'] === undefined ? undefined : chipCertificate(parts['certificates']);
      return {
        attestation_report: snpReportFields(partOf(parts, 'report')),
        cert_chain: certificate === undefined ? null : [{ cert_type: certificate.kind, data: [...certificate.der] }],
      };
    }
    case 'cca':
      return { token: [...partOf(parts, 'token')] };
    case 'tpm':
    case 'nitro':
    case 'az-snp-vtpm':
    case 'az-tdx-vtpm':
      throw evidenceInvalid(`evidence of ${technology} cannot be sent to a key broker of another make`, {});
  }
}

function partOf(parts: Evidence['parts'], name: string): Uint8Array {
  const part = parts[name];
  if (part === undefined) throw invalidField(name);
  return part;
}

const readers: Partial<Record<Technology, (fields: Fields) => Parts>> = {
  sgx: (fields) => ({ quote: base64Of(fields, 'quote') }),
  tdx: (fields) => {
    const parts: Parts = { quote: base64Of(fields, 'quote') };
    if (fields['cc_eventlog'] !== null && fields['cc_eventlog'] !== undefined)
      parts['eventLog'] = base64Of(fields, 'cc_eventlog');
    return parts;
  },
  snp: (fields) => {
    const parts: Parts = { report: rebuildSnpReport(fields['attestation_report']) };
    const vek = certificateOf(fields['cert_chain']);
    if (vek !== undefined) parts['certificates'] = certificateTable(vek);
    return parts;
  },
  cca: (fields) => ({ token: numbersOf(fields['token'], 'token') }),
  'az-snp-vtpm': (fields) => {
    const parts = vtpmParts(fields);
    if (typeof fields['vcek'] === 'string') parts['vcek'] = base64Of(fields, 'vcek');
    return parts;
  },
  'az-tdx-vtpm': (fields) => ({ ...vtpmParts(fields), tdQuote: base64Of(fields, 'td_quote') }),
};

function refuse(technology: string): never {
  throw evidenceInvalid(`this protocol's evidence of ${technology} proves too little to release anything for it`, {
    technology,
  });
}

/** All 24 registers are sent; the quote says which of them count. */
function vtpmParts(fields: Fields): Parts {
  const quote = objectOf(fields['tpm_quote'], 'tpm_quote');
  const message = hexOf(quote['message'], 'tpm_quote.message');
  const values = quote['pcrs'];
  if (!Array.isArray(values) || values.length !== pcrCount) throw invalidField('tpm_quote.pcrs');
  const all = values.map((value) => hexOf(value, 'tpm_quote.pcrs'));
  if (all.some((value) => value.length !== sha256.digestBytes)) throw invalidField('tpm_quote.pcrs');
  const { attested } = parseAttest(message);
  if (attested.type !== 'quote') throw invalidField('tpm_quote.message');
  const selected: Uint8Array[] = [];
  for (const { hash, indexes } of attested.selection) {
    if (hash !== sha256 || indexes.some((index) => index >= pcrCount)) throw invalidField('tpm_quote.message');
    for (const index of indexes) selected.push(all[index]!);
  }
  // A bare RSASSA signature; verifiers take the TPM's own structure.
  const bare = hexOf(quote['signature'], 'tpm_quote.signature');
  return {
    hclReport: base64Of(fields, 'hcl_report'),
    quote: message,
    signature: encodeSignature({ scheme: 'rsassa', hash: sha256, signature: bare }),
    pcrs: new Uint8Array(Buffer.concat(selected)),
  };
}

/** The certificate of the chip's key, where the client sent a chain. */
function certificateOf(chain: unknown): { readonly kind: 'VCEK' | 'VLEK'; readonly der: Uint8Array } | undefined {
  if (chain === null || chain === undefined) return undefined;
  if (!Array.isArray(chain) || chain.length > 8) throw invalidField('cert_chain');
  for (const entry of chain as readonly unknown[]) {
    const { cert_type: kind, data } = objectOf(entry, 'cert_chain');
    if (kind === 'VCEK' || kind === 'VLEK') return { kind, der: numbersOf(data, 'cert_chain.data') };
  }
  return undefined;
}

const certificateIds = { VCEK: certificateGuids.vcek, VLEK: certificateGuids.vlek } as const;
const tableEntryBytes = 24;

/** The certificate of the chip's key in the table of the host; undefined where a broker has to fetch it. */
function chipCertificate(table: Uint8Array): { readonly kind: 'VCEK' | 'VLEK'; readonly der: Uint8Array } | undefined {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  for (let at = 0; at + tableEntryBytes <= table.length; at += tableEntryBytes) {
    const id = toHex(table.subarray(at, at + 16));
    const kind = (['VCEK', 'VLEK'] as const).find((known) => certificateIds[known] === id);
    if (kind === undefined && /[1-9a-f]/.test(id)) continue;
    if (kind === undefined) return undefined;
    const [offset, length] = [view.getUint32(at + 16, true), view.getUint32(at + 20, true)];
    if (length === 0 || offset + length > table.length) throw invalidField('certificates');
    return { kind, der: table.subarray(offset, offset + length) };
  }
  return undefined;
}

/** The table that the host would have given (AMD 56421): one entry and the end. */
function certificateTable({ kind, der }: { readonly kind: 'VCEK' | 'VLEK'; readonly der: Uint8Array }): Uint8Array {
  const table = Buffer.alloc(2 * tableEntryBytes + der.length);
  table.write(certificateIds[kind], 'hex');
  table.writeUInt32LE(2 * tableEntryBytes, 16);
  table.writeUInt32LE(der.length, 20);
  table.set(der, 2 * tableEntryBytes);
  return new Uint8Array(table);
}

function objectOf(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalidField(name);
  return value as Fields;
}

function numbersOf(value: unknown, name: string): Uint8Array {
  if (!Array.isArray(value) || value.length === 0) throw invalidField(name);
  const numbers = value as readonly unknown[];
  if (!numbers.every((one) => typeof one === 'number' && Number.isInteger(one) && one >= 0 && one <= 0xff))
    throw invalidField(name);
  return Uint8Array.from(numbers as readonly number[]);
}

function hexOf(value: unknown, name: string): Uint8Array {
  if (typeof value !== 'string' || value.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(value)) throw invalidField(name);
  return new Uint8Array(Buffer.from(value, 'hex'));
}

/** With the alphabet of either kind, with and without padding: clients differ. */
function base64Of(fields: Fields, name: string): Uint8Array {
  const value = fields[name];
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(value)) throw invalidField(name);
  // One character of four says less than a byte.
  if (value.replace(/=+$/, '').length % 4 === 1) throw invalidField(name);
  return new Uint8Array(Buffer.from(value, 'base64url'));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function invalidField(name: string): Error {
  return evidenceInvalid(`the evidence has no usable field ${name}`, { part: name });
}
