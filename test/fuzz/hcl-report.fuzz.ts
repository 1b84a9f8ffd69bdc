/** Changed reports of Azure's paravisor: what is read is JSON at its place with one strong key; all else is `evidence-invalid`. */
import assert from 'node:assert/strict';
import { parseHclReport } from '../../src/broker/attest/azure/hcl-report.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { hclReport, runtimeData } from '../support/fake-azure.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const hardwareBytes = 1184;
const jsonOffset = 32 + hardwareBytes + 20;

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const whole = hclReport({ hardware: () => new Uint8Array(hardwareBytes) });
  const jsonBytes = runtimeData().length;
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const mutant = changed(whole, jsonBytes, random);
    try {
      const { hardwareReport, runtimeData: json, attestationKey, machine } = parseHclReport(mutant, 'snp');
      assert.equal(hardwareReport.length, hardwareBytes, where);
      assert.equal(json.byteOffset - mutant.byteOffset, jsonOffset, where);
      assert.equal(typeof JSON.parse(Buffer.from(json).toString()), 'object', where);
      assert.ok((attestationKey.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048, where);
      assert.ok(machine.userData === undefined || machine.userData.length === 64, where);
    } catch (error) {
      assert.ok(isCaissonError(error, 'evidence-invalid'), `${where}: ${String(error)}`);
    }
  }
}

/** Changes of the head, of the JSON, of its length, and cuts. */
function changed(whole: Uint8Array, jsonBytes: number, random: SeededBytes): Uint8Array {
  const mutant = Uint8Array.from(whole);
  const view = new DataView(mutant.buffer);
  for (let count = random.below(3); count > 0; count--) {
    const places = [random.below(32), 32 + hardwareBytes + random.below(20), jsonOffset + random.below(jsonBytes)];
    const place = places[random.below(places.length)]!;
    mutant[place] = random.below(2) === 0 ? random.below(256) : mutant[place]! ^ (1 << random.below(8));
  }
  if (random.below(8) === 0) {
    const length = random.below(3) === 0 ? random.below(2 ** 32) : random.below(mutant.length);
    view.setUint32(32 + hardwareBytes, (length + 20) % 2 ** 32, true);
    view.setUint32(32 + hardwareBytes + 16, length, true);
  }
  return random.below(12) === 0 ? mutant.subarray(0, random.below(mutant.length)) : mutant;
}
