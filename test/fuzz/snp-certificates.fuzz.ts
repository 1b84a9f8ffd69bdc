/**
 * Changed certificate tables of hosts, and changed certificates of endorsement keys: what is read lies inside
 * of the table, and fits the product; all else is refused by name.
 */
import assert from 'node:assert/strict';
import { parseCertificateTable } from '../../src/broker/attest/snp/certificate-table.ts';
import { parseEndorsementKey } from '../../src/broker/attest/snp/endorsement-key.ts';
import { productFacts } from '../../src/broker/attest/snp/products.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { certificateTable, endorsementCertificate, rawCertificateTable } from '../support/fake-amd.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

let certificates: readonly Uint8Array[] | undefined;

export function fuzz(seed: number, iterations: number): void {
  certificates ??= [
    endorsementCertificate('vcek', 'milan'),
    endorsementCertificate('vcek', 'turin'),
    endorsementCertificate('vlek', 'genoa'),
  ];
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const certificate = certificates[random.below(certificates.length)]!;
    if (random.below(2) === 0) fuzzTable(random, where);
    else fuzzCertificate(changed(certificate, random), where);
  }
}

function fuzzTable(random: SeededBytes, where: string): void {
  const known = certificateTable({ vcek: random.bytes(9), vlek: random.bytes(8), ask: random.bytes(1) });
  const other = rawCertificateTable([['77'.repeat(16), random.bytes(random.below(40))]]);
  const table = changed(random.below(3) === 0 ? other : known, random);
  try {
    for (const [kind, bytes] of parseCertificateTable(table)) {
      assert.ok(['vcek', 'vlek', 'ask', 'ark'].includes(kind), where);
      const start = bytes.byteOffset - table.byteOffset;
      assert.ok(bytes.length > 0 && start >= 48 && start + bytes.length <= table.length, where);
    }
  } catch (error) {
    assert.ok(isCaissonError(error, 'evidence-invalid'), `${where}: ${String(error)}`);
  }
}

function fuzzCertificate(bytes: Uint8Array, where: string): void {
  try {
    const { product, tcb, hardwareId } = parseEndorsementKey(bytes, 'evidence');
    const { tcbLayout, hardwareIdBytes } = productFacts[product];
    assert.deepEqual([...tcb.keys()].toSorted(), Object.keys(tcbLayout).toSorted(), where);
    assert.ok(hardwareId === undefined || hardwareId.length === hardwareIdBytes, where);
  } catch (error) {
    const isRefusal = isCaissonError(error, 'evidence-invalid') || isCaissonError(error, 'evidence-untrusted');
    assert.ok(isRefusal, `${where}: ${String(error)}`);
  }
}

function changed(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  const mutant = Uint8Array.from(bytes);
  for (let count = random.below(4); count > 0; count--) {
    const place = random.below(mutant.length);
    mutant[place] = random.below(3) === 0 ? random.below(256) : mutant[place]! ^ (1 << random.below(8));
  }
  return random.below(10) === 0 ? mutant.subarray(0, random.below(mutant.length)) : mutant;
}
