/** The codecs of both phases against the frozen vectors (test/vectors/nbd), and their fuzz target for a moment. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nbdStringBytesMax } from '../../lib/limits.ts';
import { fuzz } from '../../../test/fuzz/nbd.fuzz.ts';
import * as options from './options-format.ts';
import * as requests from './request-format.ts';

const folder = new URL('../../../test/vectors/nbd/', import.meta.url);

interface Vector {
  readonly what: string;
  readonly hex: string;
  // Each kind of vector has fields of its own.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly expect: any;
}

const cookieOf = (expect: { cookie: string }): Buffer => Buffer.from(expect.cookie, 'hex');
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** What the product makes of a vector: decoders give the value, encoders the bytes that must equal `hex`. */
const readers: Record<string, (bytes: Uint8Array) => unknown> = {
  option: (bytes) => options.decodeOptionHeader(bytes, 0),
  info: (bytes) => options.decodeInfoRequest(bytes, nbdStringBytesMax),
  'meta-context': (bytes) => options.decodeMetaContextRequest(bytes, nbdStringBytesMax),
  request: (bytes) => {
    const request = requests.decodeRequest(bytes, 0);
    return request === undefined ? undefined : { ...request, cookie: hexOf(request.cookie) };
  },
};

const writers: Record<string, (expect: Vector['expect'], bytes: Uint8Array) => Uint8Array> = {
  'simple-reply': (expect, bytes) =>
    bytes.subarray(0, requests.writeSimpleReply(bytes, 0, expect.errno, cookieOf(expect), 0)),
  'chunk-header': (expect, bytes) =>
    bytes.subarray(0, requests.writeChunkHeader(bytes, 0, expect.type, expect.length, cookieOf(expect), 0)),
  'block-status': (expect, bytes) => {
    const extents = expect.extents.map((text: string) => ({
      length: Number.parseInt(text, 10),
      hole: text.includes('hole'),
      zero: text.includes('zero'),
    }));
    return bytes.subarray(0, requests.writeBlockStatus(bytes, 0, 1, expect.length, extents, cookieOf(expect), 0));
  },
  'option-reply': (expect) => options.encodeErrorReply(expect.option, expect.type, expect.text),
  'info-export': (expect) => options.encodeInfoExport(expect.size, expect.flags),
  'info-block-size': (expect) => options.encodeInfoBlockSize(...(expect.sizes as [number, number, number])),
};

for (const file of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  test(`vector ${file}`, () => {
    const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector;
    const read = readers[vector.what];
    if (read !== undefined) {
      const found = read(Buffer.from(vector.hex, 'hex'));
      assert.deepEqual(found, vector.expect === 'refused' ? undefined : vector.expect);
      return;
    }
    const write = writers[vector.what];
    assert.ok(write !== undefined, `no reader or writer for ${vector.what}`);
    assert.equal(hexOf(write(vector.expect, new Uint8Array(256))), vector.hex);
  });
}

test('a string is at most as long as the limit', () => {
  assert.equal(options.decodeString(Buffer.alloc(nbdStringBytesMax, 97), nbdStringBytesMax)?.length, nbdStringBytesMax);
  assert.equal(options.decodeString(Buffer.alloc(nbdStringBytesMax + 1, 97), nbdStringBytesMax), undefined);
});

test('the fuzz target runs, and the same seed does the same', async () => {
  const first = await fuzz(1, 60);
  assert.equal(await fuzz(1, 60), first);
  assert.notEqual(await fuzz(2, 60), first);
});
