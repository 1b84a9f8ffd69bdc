import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { luksHeaderBytes, openLuks, parseLuksHeader } from './luks.ts';

test('a LUKS header tells its version and, in version 1, where the data begins', () => {
  const first = header(1);
  assert.deepEqual(parseLuksHeader(first, '/disk', 2 ** 30), {
    path: '/disk',
    version: 1,
    containerBytes: 2 ** 30,
    payloadOffset: 2 * 2 ** 20,
  });
  assert.equal(parseLuksHeader(header(2), '/disk', 2 ** 30)?.version, 2);
  const moved = Buffer.concat([Buffer.alloc(7), first]).subarray(7);
  assert.equal(parseLuksHeader(moved, '/disk', 2 ** 30)?.payloadOffset, 2 * 2 ** 20);
});

test('what is no LUKS volume is none', () => {
  assert.equal(parseLuksHeader(new Uint8Array(luksHeaderBytes), '/disk', 2 ** 30), undefined);
  assert.equal(parseLuksHeader(header(1).subarray(0, luksHeaderBytes - 1), '/disk', 2 ** 30), undefined);
});

test('where nothing can read it, that is said', async () => {
  const volume = parseLuksHeader(header(2), '/nowhere/at/all', 2 ** 30)!;
  await assert.rejects(openLuks(volume, new Uint8Array(8), systemClock, 'caisson-test'), (error) => {
    assert.ok(isCaissonError(error, 'unsupported') || isCaissonError(error, 'tool-failed'), String(error));
    return true;
  });
});

function header(version: number): Uint8Array {
  const bytes = new Uint8Array(luksHeaderBytes);
  bytes.set([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, version]);
  new DataView(bytes.buffer).setUint32(104, (2 * 2 ** 20) / 512);
  return bytes;
}
