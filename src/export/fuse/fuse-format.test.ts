import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isCaissonError } from '../../lib/errors.ts';
import {
  encodeAttributesReply,
  encodeEntryReply,
  encodeErrorReply,
  encodeFolderReply,
  encodeInitReply,
  encodeOpenReply,
  encodeSeekReply,
  encodeStatReply,
  encodeWriteReply,
  FileType,
  parseAllocate,
  parseForgetMany,
  parseHeader,
  parseInit,
  parseLookup,
  parseOpen,
  parseRead,
  parseSeek,
  parseSetAttributes,
  parseWrite,
} from './fuse-format.ts';
import type { Attributes } from './fuse-format.ts';

const parsers: Readonly<Record<string, (message: Uint8Array) => unknown>> = {
  header: parseHeader,
  init: parseInit,
  lookup: parseLookup,
  read: parseRead,
  write: parseWrite,
  allocate: parseAllocate,
  seek: parseSeek,
  setAttributes: parseSetAttributes,
  open: parseOpen,
  forgetMany: parseForgetMany,
};

interface Vector {
  readonly parser: string;
  readonly expect: string;
  readonly value?: unknown;
  readonly hex: string;
}

const folder = new URL('../../../test/vectors/fuse/', import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));

test('the vectors are there', () => assert.ok(names.length >= 30));

for (const name of names) {
  test(`vector ${name}`, () => {
    const vector = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Vector;
    const bytes = Uint8Array.from(Buffer.from(vector.hex, 'hex'));
    const parse = parsers[vector.parser]!;
    if (vector.expect === 'ok') assert.deepEqual(parse(bytes), vector.value);
    else
      assert.throws(
        () => parse(bytes),
        (error) => isCaissonError(error, 'protocol-violation'),
      );
  });
}

const request = { length: 40, opcode: 1, uniqueLow: 0x89abcdef, uniqueHigh: 0x01234567, node: 1 };
const file: Attributes = {
  node: 2,
  size: 2 ** 40,
  sectorCount: 2 ** 31,
  seconds: 1_800_000_000,
  mode: 0o100600,
  linkCount: 1,
  userId: 5,
  groupId: 6,
  blockSize: 4096,
};

/** What a reply looks like to a reader that knows only the spec. */
function replyOf(encode: (target: Uint8Array) => number): { view: DataView; length: number } {
  const target = new Uint8Array(4096).fill(0xee);
  const length = encode(target);
  const view = new DataView(target.buffer);
  assert.equal(view.getUint32(0, true), length);
  assert.equal(view.getBigUint64(8, true), 0x0123456789abcdefn);
  assert.equal(target[length], 0xee, 'nothing is written behind the reply');
  return { view, length };
}

function checkAttributes(view: DataView, at: number): void {
  assert.equal(view.getBigUint64(at, true), 2n);
  assert.equal(view.getBigUint64(at + 8, true), 2n ** 40n);
  assert.equal(view.getBigUint64(at + 16, true), 2n ** 31n);
  for (const time of [24, 32, 40]) assert.equal(view.getBigUint64(at + time, true), 1_800_000_000n);
  assert.deepEqual(
    [48, 52, 56].map((nanoseconds) => view.getUint32(at + nanoseconds, true)),
    [0, 0, 0],
  );
  assert.deepEqual(
    [60, 64, 68, 72, 76, 80, 84].map((field) => view.getUint32(at + field, true)),
    [0o100600, 1, 5, 6, 0, 4096, 0],
  );
}

test('an error reply carries the negated errno and nothing else', () => {
  const { view, length } = replyOf((target) => encodeErrorReply(target, request, 38));
  assert.equal(length, 16);
  assert.equal(view.getInt32(4, true), -38);
});

test('an entry reply has the layout of the spec', () => {
  const { view, length } = replyOf((target) => encodeEntryReply(target, request, file, 3600));
  assert.equal(length, 16 + 128);
  assert.deepEqual(
    [16, 24, 32, 40].map((at) => view.getBigUint64(at, true)),
    [2n, 0n, 3600n, 0n],
  );
  checkAttributes(view, 56);
});

test('an attributes reply has the layout of the spec', () => {
  const { view, length } = replyOf((target) => encodeAttributesReply(target, request, file));
  assert.equal(length, 16 + 104);
  assert.equal(view.getBigUint64(16, true), 0n);
  checkAttributes(view, 32);
});

test('an INIT reply has the layout of the spec', () => {
  const reply = {
    major: 7,
    minor: 41,
    readaheadBytesMax: 131072,
    flags: 0x408021,
    backgroundMax: 256,
    writeBytesMax: 1048576,
    pagesMax: 256,
  };
  const { view, length } = replyOf((target) => encodeInitReply(target, request, reply));
  assert.equal(length, 16 + 64);
  assert.deepEqual(
    [16, 20, 24, 28].map((at) => view.getUint32(at, true)),
    [7, 41, 131072, 0x408021],
  );
  assert.deepEqual(
    [32, 34, 44, 46].map((at) => view.getUint16(at, true)),
    [256, 192, 256, 0],
  );
  assert.deepEqual(
    [36, 40].map((at) => view.getUint32(at, true)),
    [1048576, 1],
  );
});

test('the small replies have the layouts of the spec', () => {
  const open = replyOf((target) => encodeOpenReply(target, request, 65));
  assert.deepEqual([open.length, open.view.getUint32(24, true)], [32, 65]);
  const write = replyOf((target) => encodeWriteReply(target, request, 12345));
  assert.deepEqual([write.length, write.view.getUint32(16, true), write.view.getUint32(20, true)], [24, 12345, 0]);
  const seek = replyOf((target) => encodeSeekReply(target, request, 2 ** 45 + 7));
  assert.deepEqual([seek.length, seek.view.getBigUint64(16, true)], [24, 2n ** 45n + 7n]);
  const stat = replyOf((target) => encodeStatReply(target, request, 1000, 4096));
  assert.deepEqual(
    [stat.length, stat.view.getBigUint64(16, true), stat.view.getUint32(56, true), stat.view.getUint32(60, true)],
    [96, 1000n, 4096, 255],
  );
});

test('folder entries are whole, aligned and resume at the index asked for', () => {
  const entries = [
    { node: 1, type: FileType.folder, name: '.' },
    { node: 2, type: FileType.regular, name: 'disk' },
  ];
  const all = replyOf((target) => encodeFolderReply(target, request, entries, 0, 4096));
  assert.equal(all.length, 16 + 32 + 32);
  assert.deepEqual(
    [
      all.view.getBigUint64(48, true),
      all.view.getBigUint64(56, true),
      all.view.getUint32(64, true),
      all.view.getUint32(68, true),
    ],
    [2n, 2n, 4, 8],
  );
  assert.equal(replyOf((target) => encodeFolderReply(target, request, entries, 0, 63)).length, 16 + 32);
  assert.equal(replyOf((target) => encodeFolderReply(target, request, entries, 1, 4096)).length, 16 + 32);
  assert.equal(replyOf((target) => encodeFolderReply(target, request, entries, 2 ** 40, 4096)).length, 16);
});
