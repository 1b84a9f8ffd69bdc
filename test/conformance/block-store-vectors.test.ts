/** The frozen vectors of the block store: each right but for the one fault its file names. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { CaissonError } from '../../src/lib/errors.ts';
import { decodeBlockStorePart } from '../support/block-store-decoding.ts';

interface Vector {
  readonly comment: string;
  readonly expect: string;
  readonly part: string;
  readonly bytes: number;
  readonly pieces: readonly (readonly [offset: number, hex: string])[];
}

const folder = new URL('../vectors/block-store/', import.meta.url);

for (const file of readdirSync(folder)) {
  const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector;
  test(`block store vector ${file}: ${vector.comment}`, () => {
    const bytes = new Uint8Array(vector.bytes);
    for (const [offset, hex] of vector.pieces) bytes.set(Buffer.from(hex, 'hex'), offset);
    assert.equal(outcomeOf(vector.part, bytes), vector.expect);
  });
}

function outcomeOf(part: string, bytes: Uint8Array): string {
  try {
    return decodeBlockStorePart(part, bytes) ? 'decodes' : 'absent';
  } catch (error) {
    if (error instanceof CaissonError) return error.code;
    throw error;
  }
}
