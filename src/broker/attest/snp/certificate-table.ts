/**
 * The table of certificates that a host hands to its guest beside the report (spec/attestation-snp.md,
 * "Certificate table"). The host made it: whatever is in it is trusted by its signature alone.
 */
import type { CaissonError } from '../../../lib/errors.ts';
import { toHex } from '../../../lib/hex.ts';
import { snpTableEntriesMax } from '../../../lib/limits.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { certificateGuids } from '../../../wire/snp-certificate-guids.ts';
import type { TableCertificate } from '../../../wire/snp-certificate-guids.ts';

const guidBytes = 16;
const entryBytes = guidBytes + 8;

/** The certificates of known kinds. Entries of other kinds are looked at for their place only. */
export function parseCertificateTable(bytes: Uint8Array): ReadonlyMap<TableCertificate, Uint8Array> {
  const entries = readEntries(bytes);
  const entriesEnd = (entries.length + 1) * entryBytes;
  const found = new Map<string, Uint8Array>();
  for (const { guid, offset, length } of entries) {
    if (length === 0 || offset < entriesEnd || offset + length > bytes.length)
      throw refused('an entry of the certificate table lies outside of it');
    if (found.has(guid)) throw refused('the certificate table has two entries of one kind');
    found.set(guid, bytes.subarray(offset, offset + length));
  }
  const kinds = Object.keys(certificateGuids) as TableCertificate[];
  return new Map(
    kinds.flatMap((kind): [TableCertificate, Uint8Array][] => {
      const certificate = found.get(certificateGuids[kind]);
      return certificate === undefined ? [] : [[kind, certificate]];
    }),
  );
}

interface TableEntry {
  readonly guid: string;
  readonly offset: number;
  readonly length: number;
}

function readEntries(bytes: Uint8Array): readonly TableEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: TableEntry[] = [];
  for (let at = 0; at + entryBytes <= bytes.length; at += entryBytes) {
    const entry = bytes.subarray(at, at + entryBytes);
    if (entry.every((byte) => byte === 0)) return entries;
    if (entries.length === snpTableEntriesMax)
      throw refused(`the certificate table has more than ${snpTableEntriesMax} entries`);
    entries.push({
      guid: toHex(entry.subarray(0, guidBytes)),
      offset: view.getUint32(at + guidBytes, true),
      length: view.getUint32(at + guidBytes + 4, true),
    });
  }
  throw refused('the certificate table has no end');
}

function refused(message: string): CaissonError {
  return evidenceInvalid(message, { check: 'certificate-table' });
}
