/**
 * Writes the vectors of hashed images: parts with one fault each, and whole images by their roots. Run by hand
 * when the format gets a new version; what is in git is frozen.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import {
  encodeNode,
  encodeRootRecord,
  encodeSpanHeader,
  leafBytes,
  spanBytes,
} from '../../../src/hashed/hashed-format.ts';
import { createHashed } from '../../../src/hashed/hashed-builder.ts';
import { MemoryStore } from '../../sim/memory-store.ts';
import { imageSource } from '../../support/hashed-image.ts';
import { seededBytes } from '../../fuzz/seeded.ts';

type Piece = readonly [offset: number, hex: string];

const digest = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const nodeDigests = Buffer.concat([digest(1), digest(0), digest(3)]);
const record = encodeRootRecord({ imageBytes: 3 * leafBytes + 5, dataLeaves: 2, top: digest(7) });
const node = encodeNode(2, nodeDigests);
const span = Buffer.concat([encodeSpanHeader(3, 2), nodeDigests]);

function changed(bytes: Uint8Array, offset: number, ...values: number[]): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(values, offset);
  return copy;
}

const folder = new URL('../hashed/', import.meta.url);
mkdirSync(folder, { recursive: true });

function write(name: string, part: string, comment: string, expect: string, bytes: Uint8Array): void {
  const pieces = [[0, Buffer.from(bytes).toString('hex')]];
  writeFileSync(
    new URL(`${name}.json`, folder),
    `${JSON.stringify({ comment, expect, part, bytes: bytes.length, pieces }, null, 2)}\n`,
  );
}

const bad = 'format-invalid';
write('root', 'root', 'a record', 'decodes', record);
const zeros = encodeRootRecord({ imageBytes: 2 ** 40, dataLeaves: 0, top: digest(0) });
write('root-zeros', 'root', 'an image of zeros', 'decodes', zeros);
write('root-cut', 'root', 'its last byte is missing', bad, record.subarray(0, 63));
write('root-longer', 'root', 'a byte follows', bad, Buffer.concat([record, Buffer.alloc(1)]));
write('root-magic', 'root', 'another magic', bad, changed(record, 3, 0x58));
write('root-version', 'root', 'version 2', 'format-version', changed(record, 8, 2));
write('root-leaf', 'root', 'leaves of 4 KiB', bad, changed(record, 10, 12));
write('root-fan-out', 'root', 'a fan-out of 256', bad, changed(record, 11, 8));
write('root-reserved', 'root', 'a reserved byte is set', bad, changed(record, 15, 1));
write('root-empty', 'root', 'an image of no bytes', bad, changed(record, 16, 0, 0, 0));
write('root-large', 'root', 'an image of more than 256 TiB', bad, changed(record, 22, 1));
write('root-leaves', 'root', 'more data leaves than leaves', bad, changed(record, 24, 5));
write('root-no-data', 'root', 'a top node, but no data', bad, changed(record, 24, 0));
write('root-no-top', 'root', 'data, but no top node', bad, changed(record, 32, ...digest(0)));
write('node', 'node', 'a node of level 2 with three children', 'decodes', node);
write('node-cut', 'node', 'its last byte is missing', bad, node.subarray(0, node.length - 1));
write('node-longer', 'node', 'a byte follows', bad, Buffer.concat([node, Buffer.alloc(1)]));
write('node-magic', 'node', 'the magic of a span', bad, changed(node, 0, ...Buffer.from('CSNHSP1\n')));
write('node-version', 'node', 'another version than the root', bad, changed(node, 8, 2));
write('node-level', 'node', 'level 3 in the place of level 2', bad, changed(node, 10, 3));
write('node-reserved', 'node', 'a reserved byte is set', bad, changed(node, 11, 1));
write('node-count', 'node', 'two children in the place of three', bad, changed(node, 12, 2));
write('span', 'span', 'the table of a span with three leaves, one of zeros', 'decodes', span);
write('span-cut', 'span', 'its last byte is missing', bad, span.subarray(0, span.length - 1));
write('span-longer', 'span', 'a byte follows', bad, Buffer.concat([span, Buffer.alloc(1)]));
write('span-magic', 'span', 'the magic of a node', bad, changed(span, 0, ...Buffer.from('CSNHND1\n')));
write('span-version', 'span', 'another version than the root', bad, changed(span, 8, 2));
write('span-leaves', 'span', 'four leaves in the place of three', bad, changed(span, 10, 4));
write('span-stored', 'span', 'it says three stored leaves, its digests say two', bad, changed(span, 12, 3));

/** Zeros with pieces over them. */
const images: readonly { readonly comment: string; readonly size: number; readonly pieces: readonly Piece[] }[] = [
  { comment: 'one byte', size: 1, pieces: [[0, '61']] },
  { comment: 'one zero byte', size: 1, pieces: [] },
  { comment: 'the same leaf with another end', size: leafBytes, pieces: [[0, '61']] },
  {
    comment: 'a leaf, a hole, a leaf that is cut',
    size: 2 * leafBytes + 3,
    pieces: [
      [5, '0102'],
      [2 * leafBytes, '030405'],
    ],
  },
  { comment: 'one span exactly', size: spanBytes, pieces: [[spanBytes - 1, 'ff']] },
  {
    comment: 'two spans, level 2',
    size: spanBytes + 1,
    pieces: [
      [0, 'ab'],
      [spanBytes, 'cd'],
    ],
  },
  { comment: 'a terabyte would be as cheap: 4 GiB and a byte, level 3', size: 2 ** 32 + 1, pieces: [[2 ** 32, 'ef']] },
];

const described = [];
for (const image of images) {
  const source = imageSource(
    image.size,
    image.pieces.map(([offset, hex]) => [offset, Buffer.from(hex, 'hex')]),
  );
  const { root } = await createHashed(new MemoryStore(), { source, random: seededBytes(1) });
  described.push({ ...image, root });
}
const imagesFolder = new URL('../hashed-images/', import.meta.url);
mkdirSync(imagesFolder, { recursive: true });
writeFileSync(new URL('images.json', imagesFolder), `${JSON.stringify({ images: described }, null, 2)}\n`);
