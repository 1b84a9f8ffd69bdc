/** The frozen vectors of the backup stream, and a short run of its fuzz target. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { CaissonError } from '../../src/lib/errors.ts';
import { fuzz, recode } from '../fuzz/backup.fuzz.ts';
import { fuzz as fuzzStream } from '../fuzz/backup-stream.fuzz.ts';

const folder = new URL('../vectors/backup/', import.meta.url);

for (const file of readdirSync(folder)) {
  const { comment, expect, part, pieces } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as {
    comment: string;
    expect: string;
    part: string;
    pieces: [[number, string]];
  };
  test(`backup vector ${file}: ${comment}`, () => {
    assert.equal(outcomeOf(part, new Uint8Array(Buffer.from(pieces[0][1], 'hex'))), expect);
  });
}

test('changed parts of a backup: refused by name or as they were', () => fuzz(11, 500));

test('changed backups: refused by name, and nothing shows', () => fuzzStream(11, 60));

function outcomeOf(part: string, bytes: Uint8Array): string {
  try {
    recode(part, bytes);
    return 'decodes';
  } catch (error) {
    if (error instanceof CaissonError) return error.code;
    throw error;
  }
}
