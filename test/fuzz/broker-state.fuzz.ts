/** Changed headers of backups and changed heads in a TPM: what decodes is what would be encoded; all else is refused by name. */
import assert from 'node:assert/strict';
import { backupHeaderBytes, decodeBackupHeader, encodeBackupHeader } from '../../src/broker/backup/backup-header.ts';
import { decodeTpmHead, encodeTpmHead } from '../../src/broker/heads/tpm-head-anchor.ts';
import { sha256 } from '../../src/crypto/digest.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { logIdOf } from '../../src/wire/release-log.ts';
import { logKey, MemoryLog } from '../support/log-file.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const refusals = new Set(['backup-invalid', 'backup-ended-early', 'format-version', 'anchor-tampered']);
const checkedBytes = backupHeaderBytes - 32;

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const head = new MemoryLog(3).head();
  const logId = logIdOf(logKey.publicKey);
  const { size: logSize, root: logRoot } = head;
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const digest = random.bytes(32);
    const signed = random.below(2) === 0 ? head : undefined;
    const header = encodeBackupHeader({
      databaseBytes: random.below(2 ** 31),
      digest,
      logSize,
      logRoot,
      time: 1,
      head: signed,
    });
    const tpm = encodeTpmHead(head, logId);
    try {
      const changed = mutated(header, random, 110 + 300);
      // Half of the time the checksum is made to fit, so that the checks behind it are reached.
      if (random.below(2) === 0 && changed.length >= backupHeaderBytes)
        changed.set(sha256(changed.subarray(0, checkedBytes)), checkedBytes);
      const decoded = decodeBackupHeader(changed);
      assert.deepEqual(encodeBackupHeader(decoded), changed.subarray(0, backupHeaderBytes), where);
    } catch (error) {
      assert.ok(error instanceof CaissonError && refusals.has(error.code), `${where}: ${String(error)}`);
    }
    try {
      const changed = mutated(tpm, random, tpm.length);
      assert.deepEqual(encodeTpmHead(decodeTpmHead(changed, logId, 'here'), logId), changed, where);
    } catch (error) {
      assert.ok(error instanceof CaissonError && refusals.has(error.code), `${where}: ${String(error)}`);
    }
  }
}

function mutated(original: Uint8Array, random: SeededBytes, within: number): Uint8Array {
  if (random.below(8) === 0) return original.subarray(0, random.below(original.length));
  if (random.below(8) === 0) return Uint8Array.of(...original, random.below(256));
  const changed = Uint8Array.from(original);
  for (let count = random.below(3); count >= 0; count--) {
    const at = random.below(within);
    changed[at] = changed[at]! ^ (1 << random.below(8));
  }
  return changed;
}
