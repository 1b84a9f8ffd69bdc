import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type tls from 'node:tls';
import { after, beforeEach, describe, test } from 'node:test';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { FakeKmip } from '../../test/support/fake-kmip.ts';
import { hurriedContext, keyRefusal, use } from '../../test/support/key-services.ts';
import { makeTlsFiles } from '../../test/support/tls-files.ts';
import type { HeldKeySource } from './key-source.ts';
import { parseKeyUrl } from './key-url.ts';
import { createKmipSource } from './kmip.ts';
import { decodeTtlv, encodeTtlv } from './kmip-ttlv.ts';
import type { TtlvItem } from './kmip-ttlv.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-kmip-'));
const files = makeTlsFiles(folder);
const kmip = await new FakeKmip(files).start();
const other = await new FakeKmip(files).start();
after(() => {
  kmip.stop();
  other.stop();
  fs.rmSync(folder, { recursive: true });
});

function source(
  port = kmip.port,
  { authority, client } = { authority: files.authority, client: files.client },
): HeldKeySource {
  const options = `cert-file=${client.certificate}&key-file=${client.key}&ca-file=${authority}`;
  return createKmipSource(parseKeyUrl(`kmip:127.0.0.1:${port}?${options}`), hurriedContext);
}

beforeEach(() => {
  kmip.fault = undefined;
  kmip.change = (item) => item;
});

keySourceConformance('kmip', { make: () => source(), makeOther: () => source(other.port), bindsVolume: true });

describe('kmip', () => {
  test('each slot has a key of its own, named after the volume', async () => {
    await source().enroll(use);
    await source().enroll(use);
    const [first, second] = kmip.names.slice(-2);
    assert.match(first ?? '', /^caisson volume 000306[0-9a-f]{26} [0-9a-f]{16}$/);
    assert.notEqual(first, second);
  });

  test('a key that the server destroyed opens nothing', async () => {
    const { parameters } = await source().enroll(use);
    kmip.keys.clear();
    const refusal = await keyRefusal(source().derive(parameters, use), 'key-wrong');
    assert.match(refusal.message, /Could not locate object/);
  });

  test('both sides must show a certificate of the authority', async () => {
    await keyRefusal(
      source(kmip.port, { authority: files.authority, client: files.stranger }).enroll(use),
      'key-source-unavailable',
    );
    await keyRefusal(
      source(kmip.port, { authority: files.stranger.authority, client: files.client }).enroll(use),
      'key-source-unavailable',
    );
    const none = path.join(folder, 'none.pem');
    fs.writeFileSync(none, 'none');
    await keyRefusal(
      source(kmip.port, { authority: files.authority, client: { certificate: none, key: none } }).enroll(use),
      'key-source-unavailable',
    );
  });

  test('an answer to another question, of another object, or of another kind of key is refused', async () => {
    const { parameters } = await source().enroll(use);
    const set =
      (tag: number, value: unknown) =>
      (item: TtlvItem): TtlvItem =>
        item.tag === tag ? ({ ...item, value } as TtlvItem) : item;
    const changes: ((item: TtlvItem) => TtlvItem)[] = [
      set(0x42005c, 1),
      set(0x420094, 'another'),
      set(0x420057, 4),
      set(0x420042, 2),
      set(0x42000d, 2),
      (item) => (item.tag === 0x42007b ? { ...item, tag: 0x420078 } : item),
      (item) => (item.tag === 0x420043 ? { tag: 0x420043, type: 'structure', value: [] } : item),
      (item) =>
        item.tag === 0x420040
          ? ({
              ...item,
              value: [...(item.value as TtlvItem[]), { tag: 0x420046, type: 'structure', value: [] }],
            } as TtlvItem)
          : item,
      (item) =>
        item.tag === 0x42007c
          ? ({ ...item, value: [...(item.value as TtlvItem[]), ...(item.value as TtlvItem[])] } as TtlvItem)
          : item,
    ];
    for (const change of changes) {
      kmip.change = change;
      await keyRefusal(source().derive(parameters, use), 'key-source-unavailable');
    }
    kmip.change = set(0x420043, new Uint8Array(16));
    await keyRefusal(source().derive(parameters, use), 'key-wrong');
  });

  test('refusals are told apart', async () => {
    const { parameters } = await source().enroll(use);
    kmip.keys.clear();
    kmip.change = (item) => (item.tag === 0x42007e ? ({ ...item, value: 12 } as TtlvItem) : item);
    assert.equal((await keyRefusal(source().derive(parameters, use), 'key-source-unavailable')).kind, 'denied');
    kmip.change = (item) => (item.tag === 0x42007e ? ({ ...item, value: 0x100 } as TtlvItem) : item);
    assert.equal((await keyRefusal(source().derive(parameters, use), 'key-source-unavailable')).kind, 'transient');
  });

  test('garbage, floods, halves and silence are named; an answer in pieces is read', async () => {
    const { parameters, key } = await source().enroll(use);
    const faults: ((socket: tls.TLSSocket, answer: Buffer) => void)[] = [
      (socket) => socket.write('garbage that is no TTLV at all'),
      (socket) => socket.write(Buffer.from('42007b01ffffffff', 'hex')),
      (socket) => socket.write(Buffer.alloc(70_000)),
      (socket, answer) => socket.end(answer.subarray(0, 40)),
      (socket) => socket.destroy(),
      (socket, answer) => socket.write(Buffer.concat([answer, answer])),
      () => undefined,
    ];
    for (const fault of faults) {
      kmip.fault = fault;
      await keyRefusal(source().derive(parameters, use), 'key-source-unavailable');
    }
    kmip.fault = (socket, answer) => {
      socket.write(answer.subarray(0, 3));
      setImmediate(() => socket.write(answer.subarray(3)));
    };
    assert.deepEqual(await source().derive(parameters, use), key);
    await keyRefusal(source(1).derive(parameters, use), 'key-source-unavailable');
  });

  test('URLs that cannot work are refused before anybody is asked', () => {
    const rest = 'cert-file=/a&key-file=/b&ca-file=/c';
    for (const text of [
      'kmip:',
      'kmip:host:0',
      'kmip:host:99999',
      'kmip:host/key',
      'kmip:host:5696',
      'kmip:http://host',
    ])
      assert.throws(
        () => createKmipSource(parseKeyUrl(text === 'kmip:host:5696' ? text : `${text}?${rest}`), hurriedContext),
        {
          code: 'argument-invalid',
        },
      );
    assert.match(createKmipSource(parseKeyUrl(`kmip://[::1]:5696?${rest}`), hurriedContext).describe, /\[::1\]/);
  });
});

describe('ttlv', () => {
  const item: TtlvItem = {
    tag: 0x420001,
    type: 'structure',
    value: [
      { tag: 0x420002, type: 'integer', value: -7 },
      { tag: 0x420003, type: 'long', value: -8n },
      { tag: 0x420004, type: 'enumeration', value: 0xffff_ffff },
      { tag: 0x420005, type: 'boolean', value: true },
      { tag: 0x420006, type: 'text', value: 'Grüße' },
      { tag: 0x420007, type: 'bytes', value: Uint8Array.of(1, 2, 3) },
      { tag: 0x420008, type: 'date', value: 1_800_000_000n },
      { tag: 0x420009, type: 'interval', value: 60 },
      { tag: 0x42000a, type: 'big', value: new Uint8Array(8) },
      { tag: 0x42000b, type: 'structure', value: [] },
    ],
  };

  test('encodes the examples of the specification', () => {
    const hex = (value: TtlvItem): string => Buffer.from(encodeTtlv(value)).toString('hex');
    assert.equal(hex({ tag: 0x420020, type: 'integer', value: 8 }), '42002002000000040000000800000000');
    assert.equal(hex({ tag: 0x420020, type: 'boolean', value: true }), '42002006000000080000000000000001');
    assert.equal(
      hex({ tag: 0x420020, type: 'text', value: 'Hello World' }),
      '420020070000000b48656c6c6f20576f726c640000000000',
    );
    assert.equal(
      hex({ tag: 0x420020, type: 'bytes', value: Uint8Array.of(1, 2, 3) }),
      '42002008000000030102030000000000',
    );
  });

  test('decodes what it encodes', () => assert.deepEqual(decodeTtlv(encodeTtlv(item)), item));

  test('refuses every other form', () => {
    const broken = [
      '',
      '4200200200000004000000080000',
      '42002002000000040000000800000001',
      '4200200200000004000000080000000000',
      '42002002000000080000000800000000',
      '42002006000000080000000000000002',
      '4200200700000001ff00000000000000',
      '42002004000000040000000000000000',
      '420020000000000400000000',
      '4200200b0000000400000000',
      '42002001ffffffff',
      '420020010000000c42002002000000040000000800000000',
    ];
    for (const hex of broken) assert.throws(() => decodeTtlv(Buffer.from(hex, 'hex')), { code: 'format-invalid' }, hex);
  });

  test('bounds depth and count', () => {
    let deep: TtlvItem = { tag: 1, type: 'structure', value: [] };
    for (let depth = 0; depth < 20; depth++) deep = { tag: 1, type: 'structure', value: [deep] };
    assert.throws(() => decodeTtlv(encodeTtlv(deep)), /too deeply/);
    const many = Array.from({ length: 2000 }, (): TtlvItem => ({ tag: 1, type: 'structure', value: [] }));
    assert.throws(() => decodeTtlv(encodeTtlv({ tag: 1, type: 'structure', value: many })), /too many/);
  });
});
