import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { luksHeaderBytes, openLuks, parseDumpedKey, parseLuksHeader, parseLuksLayout } from './luks.ts';

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

test('a passphrase never gets to a volume that is not there', async () => {
  const volume = parseLuksHeader(header(2), '/nowhere/at/all', 2 ** 30)!;
  await assert.rejects(openLuks(volume, new Uint8Array(8), systemClock, 'caisson-test'), (error) => {
    assert.ok(isCaissonError(error, 'tool-missing') || isCaissonError(error, 'tool-failed'), String(error));
    return true;
  });
});

test('the layout of LUKS 2 is taken only as it usually is', () => {
  const volume = parseLuksHeader(header(2), '/disk', 2 ** 30)!;
  const usual = {
    type: 'crypt',
    offset: '16777216',
    size: 'dynamic',
    iv_tweak: '0',
    encryption: 'aes-xts-plain64',
    sector_size: 512,
  };
  const layout = (...segments: object[]): unknown =>
    parseLuksLayout(JSON.stringify({ segments: Object.fromEntries(segments.entries()) }), volume);
  assert.deepEqual(layout(usual), { offset: 2 ** 24, size: 2 ** 30 - 2 ** 24, sectorBytes: 512, firstSector: 0 });
  const strange: object[][] = [
    [],
    [usual, usual],
    [{ ...usual, type: 'linear' }],
    [{ ...usual, encryption: 'aes-cbc-essiv:sha256' }],
    [{ ...usual, integrity: { type: 'hmac(sha256)' } }],
    [{ ...usual, sector_size: 100 }],
    [{ ...usual, offset: '-1' }],
    [{ ...usual, offset: String(2 ** 31) }],
    [{ ...usual, size: 'all' }],
    [{ ...usual, size: '1000' }],
    [{ ...usual, iv_tweak: 'x' }],
  ];
  for (const segments of strange)
    assert.throws(
      () => layout(...segments),
      (error) => isCaissonError(error, 'unsupported'),
      JSON.stringify(segments),
    );
  assert.throws(
    () => parseLuksLayout('no JSON', volume),
    (error) => isCaissonError(error, 'unsupported'),
  );
});

test('the key is read from what cryptsetup prints', () => {
  const text = 'MK bits:       \t128\nMK dump:\t25 84 cf ff 67 12 ee ca \n\t\tb3 8d 75 dd 62 98 c2 6f \n\n';
  assert.equal(Buffer.from(parseDumpedKey(text)!).toString('hex'), '2584cfff6712eecab38d75dd6298c26f');
  assert.equal(parseDumpedKey('nothing of the kind'), undefined);
});

function header(version: number): Uint8Array {
  const bytes = new Uint8Array(luksHeaderBytes);
  bytes.set([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, version]);
  new DataView(bytes.buffer).setUint32(104, (2 * 2 ** 20) / 512);
  return bytes;
}
