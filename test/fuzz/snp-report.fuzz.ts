/**
 * Changed SNP reports: what is read is a view of the bytes at its place and keeps the rules of its version;
 * all else is `evidence-invalid`.
 */
import assert from 'node:assert/strict';
import { tcbVersion } from '../../src/broker/attest/snp/products.ts';
import { parseSnpReport, tcbKinds } from '../../src/broker/attest/snp/report.ts';
import type { SnpReport } from '../../src/broker/attest/snp/report.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const reportBytes = 1184;

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const mutant = mutated(random);
    try {
      checkRead(parseSnpReport(mutant), mutant, where);
    } catch (error) {
      assert.ok(isCaissonError(error, 'evidence-invalid'), `${where}: ${String(error)}`);
      assert.equal(typeof error.details['check'], 'string', where);
    }
  }
}

function checkRead(report: SnpReport, bytes: Uint8Array, where: string): void {
  assert.equal(bytes.length, reportBytes, where);
  assert.ok(report.version >= 2 && report.version <= 5 && report.vmpl <= 3, where);
  assert.equal(report.product === undefined, report.version === 2, where);
  assert.equal(report.mitigations === undefined, report.version < 4, where);
  assert.equal((report.policy >> 17n) & 0x1fffffffffe01n, 1n, where);
  for (const [field, offset] of [
    [report.reportData, 0x50],
    [report.measurement, 0x90],
    [report.hostData, 0xc0],
    [report.chipId, 0x1a0],
    [report.tcb.reported, 0x180],
    [report.signed, 0],
  ] as const)
    assert.equal(Buffer.compare(field, bytes.subarray(offset, offset + field.length)), 0, where);
  const [r, s] = [report.signature.subarray(0, 48).toReversed(), report.signature.subarray(48).toReversed()];
  assert.equal(Buffer.compare(bytes.subarray(0x2a0), signatureField(r, s)), 0, where);
  if (report.product !== undefined)
    for (const kind of tcbKinds) {
      const version = tcbVersion(report.product, report.tcb[kind], kind);
      const sum = [...version.values()].reduce((total, value) => total + value, 0);
      assert.equal(
        sum,
        report.tcb[kind].reduce((total, value) => total + value, 0),
        where,
      );
    }
}

/** Everything from r to the end: that nothing else hides there. */
function signatureField(r: Uint8Array, s: Uint8Array): Uint8Array {
  const field = new Uint8Array(512);
  field.set(r);
  field.set(s, 72);
  return field;
}

/** A report of any version, of which few bytes are changed, mostly of its head. */
function mutated(random: SeededBytes): Uint8Array {
  const bytes = new Uint8Array(reportBytes);
  bytes[0] = 2 + random.below(4);
  bytes[0x0a] = 2;
  bytes[0x34] = 1;
  bytes.set(random.bytes(64), 0x50);
  bytes.set(random.bytes(48), 0x90);
  bytes.set(random.bytes(64), 0x1a0);
  bytes.set(random.bytes(48), 0x2a0);
  bytes.set(random.bytes(48), 0x2e8);
  if (bytes[0] > 2) bytes.set([0x19 + random.below(2), random.below(0x20)], 0x188);
  for (let count = random.below(4); count > 0; count--) {
    const place = random.below(2) === 0 ? random.below(0x50) : random.below(reportBytes);
    bytes[place] = random.below(4) === 0 ? random.below(256) : bytes[place]! ^ (1 << random.below(8));
  }
  if (random.below(32) === 0) return bytes.subarray(0, random.below(reportBytes));
  return bytes;
}
