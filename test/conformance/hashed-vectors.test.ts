/** The frozen vectors of hashed images: parts with one fault each, and images whose roots must never change. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { createHashed } from '../../src/hashed/hashed-builder.ts';
import {
  decodeNode,
  decodeRootRecord,
  decodeSpanTable,
  encodeNode,
  encodeRootRecord,
  encodeSpanHeader,
} from '../../src/hashed/hashed-format.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from '../fuzz/seeded.ts';
import { MemoryStore } from '../sim/memory-store.ts';
import { imageSource } from '../support/hashed-image.ts';

interface Vector {
  readonly comment: string;
  readonly expect: string;
  readonly part: string;
  readonly pieces: readonly (readonly [offset: number, hex: string])[];
}

const decoders: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  root: (bytes) => encodeRootRecord(decodeRootRecord(bytes)),
  node: (bytes) => encodeNode(2, decodeNode(bytes, 2, 3)),
  span: (bytes) => {
    const { digests, storedCount } = decodeSpanTable(bytes, 3);
    return Buffer.concat([encodeSpanHeader(3, storedCount), digests]);
  },
};

const folder = new URL('../vectors/hashed/', import.meta.url);
for (const file of readdirSync(folder)) {
  const { comment, expect, part, pieces } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector;
  test(`hashed vector ${file}: ${comment}`, () => {
    const bytes = new Uint8Array(Buffer.from(pieces[0]![1], 'hex'));
    let outcome = 'decodes';
    try {
      assert.equal(Buffer.compare(decoders[part]!(bytes), bytes), 0, 'what decodes has one form');
    } catch (error) {
      if (!(error instanceof CaissonError)) throw error;
      outcome = error.code;
    }
    assert.equal(outcome, expect);
  });
}

interface ImageVector {
  readonly comment: string;
  readonly size: number;
  readonly pieces: readonly (readonly [offset: number, hex: string])[];
  readonly root: string;
}

const { images } = JSON.parse(
  readFileSync(new URL('../vectors/hashed-images/images.json', import.meta.url), 'utf8'),
) as { images: readonly ImageVector[] };
for (const { comment, size, pieces, root } of images) {
  test(`hashed image: ${comment}`, async () => {
    const source = imageSource(
      size,
      pieces.map(([offset, hex]) => [offset, Buffer.from(hex, 'hex')]),
    );
    assert.equal((await createHashed(new MemoryStore(), { source, random: seededBytes(1) })).root, root);
  });
}
