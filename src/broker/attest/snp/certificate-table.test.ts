import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { certificateTable, rawCertificateTable } from '../../../../test/support/fake-amd.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { snpTableEntriesMax } from '../../../lib/limits.ts';
import { certificateGuids } from '../../../wire/snp-certificate-guids.ts';
import { parseCertificateTable } from './certificate-table.ts';

const one = Uint8Array.of(1, 1, 1);
const two = Uint8Array.of(2, 2);

function refused(table: Uint8Array, what: string): void {
  assert.throws(
    () => parseCertificateTable(table),
    (error) => isCaissonError(error, 'evidence-invalid') && error.details['check'] === 'certificate-table',
    what,
  );
}

/** A table of one entry whose offset and length are as given. */
function placed(offset: number, length: number, bytes = 51): Uint8Array {
  const table = new Uint8Array(bytes);
  table.set(Buffer.from(certificateGuids.vcek, 'hex'));
  const view = new DataView(table.buffer);
  view.setUint32(16, offset, true);
  view.setUint32(20, length, true);
  return table;
}

describe('certificate table of the host', () => {
  it('gives the certificates of known kinds', () => {
    const table = parseCertificateTable(certificateTable({ vcek: one, ask: two, vlek: two, ark: one }));
    assert.deepEqual(
      [...table],
      [
        ['vcek', one],
        ['vlek', two],
        ['ask', two],
        ['ark', one],
      ],
    );
  });

  it('skips kinds that it does not know', () => {
    assert.deepEqual([...parseCertificateTable(rawCertificateTable([['11'.repeat(16), one]]))], []);
  });

  it('takes an empty table of zeros', () => {
    assert.equal(parseCertificateTable(new Uint8Array(4096)).size, 0);
  });

  it('refuses a table without an end', () => {
    refused(new Uint8Array(23), 'too short for one entry');
    refused(certificateTable({ vcek: one }).subarray(0, 24), 'cut after the entry');
    refused(certificateTable({ vcek: one }).subarray(0, 47), 'cut in the end');
  });

  it('refuses entries that lie outside of it', () => {
    assert.equal(parseCertificateTable(placed(48, 3)).get('vcek')?.length, 3);
    refused(placed(48, 4), 'beyond the end');
    refused(placed(47, 3), 'in the entries');
    refused(placed(0, 3), 'at the start');
    refused(placed(48, 0), 'empty');
    refused(placed(0xffff_ffff, 1), 'offset near 2^32');
    refused(placed(48, 0xffff_ffff), 'length near 2^32');
  });

  it('refuses the same kind twice', () => {
    const guid = certificateGuids.vcek;
    refused(rawCertificateTable([[guid, one], [guid, two]]), 'known kind'); // prettier-ignore
    refused(rawCertificateTable([['11'.repeat(16), one], ['11'.repeat(16), one]]), 'unknown kind'); // prettier-ignore
  });

  it('bounds the number of entries', () => {
    const entries = (count: number): Uint8Array =>
      rawCertificateTable(
        Array.from({ length: count }, (_, index) => [(index + 1).toString(16).padStart(32, '0'), one]),
      );
    assert.equal(parseCertificateTable(entries(snpTableEntriesMax)).size, 0);
    refused(entries(snpTableEntriesMax + 1), 'one too many');
  });
});
