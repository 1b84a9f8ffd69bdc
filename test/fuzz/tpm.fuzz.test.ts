/** Short runs of the targets for TPMs and attesters, so that the targets themselves stay alive. */
import { test } from 'node:test';
import { fuzz as fuzzAttester } from './attester.fuzz.ts';
import { fuzz as fuzzAnswers } from './tpm-answers.fuzz.ts';
import { fuzz as fuzzSlots } from './tpm-slot.fuzz.ts';
import assert from 'node:assert/strict';
import { decodeTpmSlot } from '../../src/keys/tpm-slot-format.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { loadVectors } from './vector-mutation.ts';

test('five hundred strange answers of a TPM are values or errors by name', () => fuzzAnswers(7, 500));
test('a thousand changed slots have one form or are refused by name', () => fuzzSlots(7, 1000));

test('a thousand changed registers and documents have one form or are refused by name', () => fuzzAttester(7, 1000));

test('the frozen slots decode or are refused as they say', () => {
  const vectors = loadVectors('tpm-slot');
  assert.equal(vectors.length, 18);
  for (const { bytes, expect } of vectors) {
    if (expect === 'decodes') decodeTpmSlot(bytes);
    else
      assert.throws(
        () => decodeTpmSlot(bytes),
        (error) => isCaissonError(error) && error.code === expect,
      );
  }
});
