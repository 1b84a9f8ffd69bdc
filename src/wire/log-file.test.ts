import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logLineBytesMax } from '../lib/limits.ts';
import { entryAt, inPieces, logKey, MemoryLog, otherLogKey } from '../../test/support/log-file.ts';
import { verifyLogFile } from './log-file.ts';
import type { LogExpectations } from './log-file.ts';
import { decodeHead, encodeHead, encodeLeaf, signHead } from './release-log.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const lines = async (log: MemoryLog): Promise<string[]> =>
  text(await log.file())
    .split('\n')
    .slice(0, -1);

const withLast = (all: readonly string[], change: (head: string) => string): string[] => [
  ...all.slice(0, -1),
  change(all.at(-1)!),
];

function verify(file: Uint8Array | readonly string[], expectations: LogExpectations = {}, pieceBytes?: number) {
  const whole = file instanceof Uint8Array ? file : bytes(file.map((line) => `${line}\n`).join(''));
  return verifyLogFile(inPieces(whole, pieceBytes), expectations);
}

test('a log verifies from its file alone, however it is cut into pieces', async () => {
  for (const size of [0, 1, 2, 7, 300]) {
    const log = new MemoryLog(size);
    const file = await log.file();
    for (const pieceBytes of [1, 7, 4096, file.length + 1]) {
      if (pieceBytes === 1 && size > 10) continue;
      const seen: number[] = [];
      const verified = await verify(
        file,
        { publicKey: logKey.publicKey, onEntry: ({ index }) => seen.push(index) },
        pieceBytes,
      );
      assert.equal(verified.head.size, size);
      assert.deepEqual(verified.head, log.head());
      assert.equal(verified.headCount, 1);
      assert.deepEqual(
        seen,
        Array.from({ length: size }, (_, index) => index),
      );
    }
  }
});

test('the kinds are counted', async () => {
  const { kinds } = await verify(await new MemoryLog(7).file());
  assert.deepEqual(kinds, { 'anchor-advance': 2, refusal: 2, release: 3 });
});

test('heads may stand between leaves, each after what it stands for', async () => {
  const early = text(encodeHead(new MemoryLog(2).head()));
  const all = await lines(new MemoryLog(5));
  assert.equal((await verify(all.toSpliced(3, 0, early))).headCount, 2);
  await assert.rejects(verify(all.toSpliced(4, 0, early)), { code: 'log-tampered', message: /line 5.*stands after 3/ });
});

test('an earlier head holds as long as the log begins with what it stood for', async () => {
  const file = await new MemoryLog(9).file();
  for (let size = 0; size <= 9; size++) await verify(file, { since: new MemoryLog(size).head() });
  const other = new MemoryLog(3);
  other.append({ ...entryAt(3), tenant: 'someone-else' });
  await assert.rejects(verify(file, { since: other.head() }), { code: 'log-tampered', message: /first 4 leaves/ });
  await assert.rejects(verify(file, { since: new MemoryLog(10).head() }), { code: 'log-tampered', message: /has 9/ });
  await assert.rejects(verify(file, { since: new MemoryLog(4).head(0, otherLogKey) }), { message: /not of this log/ });
  const forged = { ...new MemoryLog(4).head(), signature: new Uint8Array(64) };
  await assert.rejects(verify(file, { since: forged }), { message: /not of this log/ });
  const emptyForged = signHead(logKey, 0, new Uint8Array(32), 0);
  await assert.rejects(verify(file, { since: emptyForged }), { message: /first 0 leaves/ });
});

const changes: readonly (readonly [string, (all: string[]) => string[], RegExp])[] = [
  ['a leaf is dropped', (all) => all.toSpliced(2, 1), /leaf 2 in the place of leaf 1/],
  ['two leaves change places', (all) => all.with(2, all[3]!).with(3, all[2]!), /leaf 2 in the place/],
  ['a leaf is edited', (all) => all.with(2, all[2]!.replace('key-1', 'key-X')), /another root/],
  ['a leaf is not canonical', (all) => all.with(2, all[2]!.replace('{', '{ ')), /canonical/],
  ['a member is given twice', (all) => all.with(2, all[2]!.replace('{', '{"at":1,')), /canonical/],
  [
    'a leaf has one member more',
    (all) => all.with(2, all[2]!.replace('}', '},"extra":1').replace(',"extra":1,', ',"extra":1,')),
    /members|canonical/,
  ],
  ['a line is not JSON', (all) => all.with(2, 'x'), /not JSON/],
  ['a line is empty', (all) => all.toSpliced(2, 0, ''), /not JSON/],
  ['the last head is missing', (all) => all.slice(0, -1), /the end is missing/],
  ['a leaf follows the last head', (all) => [...all, text(encodeLeaf(entryAt(5), 5))], /the end is missing/],
  [
    'the root of the head is changed',
    (all) => withLast(all, (head) => head.replace(/"root":"../, '"root":"00')),
    /signature/,
  ],
  [
    'the time of the head is changed',
    (all) => withLast(all, (head) => head.replace(/"time":\d/, '"time":2')),
    /signature/,
  ],
  [
    'the header names another log',
    (all) => all.with(0, all[0]!.replace(/"log":"../, '"log":"00')),
    /not that of its key/,
  ],
];

for (const [name, change, reason] of changes) {
  test(`refused: ${name}`, async () => {
    const all = await lines(new MemoryLog(5));
    const changed = change([...all]);
    assert.notDeepEqual(changed, all, 'the change changes something');
    await assert.rejects(verify(changed), { code: 'log-tampered', kind: 'integrity', message: reason });
  });
}

test('a log of another key is refused where the key is known', async () => {
  await assert.rejects(verify(await new MemoryLog(3).file(), { publicKey: otherLogKey.publicKey }), {
    code: 'log-tampered',
    message: /another key/,
  });
});

test('a head of another log, rightly signed there, is refused', async () => {
  const all = await lines(new MemoryLog(4));
  const foreign = text(encodeHead(new MemoryLog(4).head(1_790_000_100_000, otherLogKey)));
  await assert.rejects(verify(withLast(all, () => foreign)), { code: 'log-tampered', message: /signature/ });
});

test('a cut file is refused at every byte', async () => {
  const file = await new MemoryLog(3).file();
  const endOfHeader = file.indexOf(0x0a) + 1;
  for (let length = 0; length < file.length; length++) {
    const code = length === 0 ? 'format-invalid' : 'log-tampered';
    await assert.rejects(
      verify(file.subarray(0, length)),
      { code },
      `${length} of ${file.length}, header ${endOfHeader}`,
    );
  }
});

test('what is no log at all is said to be none', async () => {
  for (const wrong of [
    '',
    'hello\n',
    '{}\n',
    'null\n',
    '{"format":"caisson-log-1"}\n',
    'x'.repeat(logLineBytesMax + 1),
  ])
    await assert.rejects(verify(bytes(wrong)), { code: 'format-invalid' }, wrong.substring(0, 30));
  await assert.rejects(verify(bytes('{"format":"caisson-log-2","new":1}\n')), { code: 'format-version' });
  await assert.rejects(verify(Uint8Array.of(0xff, 0xfe, 0x0a)), { code: 'format-invalid' });
});

test('a line has a longest length', async () => {
  const all = await lines(new MemoryLog(2));
  await assert.rejects(verify(all.with(1, 'x'.repeat(logLineBytesMax + 1)), {}, 1000), {
    code: 'log-tampered',
    message: /line 2: a line has more than/,
  });
});

test('an entry is encoded in one way, and text from outside is made well-formed', () => {
  const leaf = encodeLeaf({ kind: 'refusal', at: 1, tenant: 'a\ud800', facts: { z: 'x\udfff', a: [], n: -0 } }, 4);
  assert.equal(
    text(leaf),
    '{"at":1,"facts":{"a":[],"n":0,"z":"x\ufffd"},"index":4,"kind":"refusal","tenant":"a\ufffd"}',
  );
});

test('what cannot be an entry is refused', () => {
  const base = entryAt(0);
  const wrong = [
    { ...base, at: -1 },
    { ...base, at: 0.5 },
    { ...base, kind: 'Release' as 'release' },
    { ...base, facts: { '': 'x' } },
    { ...base, facts: { ['__proto__']: 'x' } },
    { ...base, facts: { nan: Number.NaN } },
    { ...base, facts: { nested: { a: 1 } as unknown as string } },
  ];
  for (const entry of wrong)
    assert.throws(() => encodeLeaf(entry, 0), { code: 'argument-invalid' }, JSON.stringify(entry));
  assert.throws(() => encodeLeaf({ ...base, facts: { long: 'x'.repeat(logLineBytesMax) } }, 0), {
    code: 'limit-exceeded',
  });
});

test('a head has one encoding', () => {
  const head = new MemoryLog(3).head();
  assert.deepEqual(decodeHead(encodeHead(head)), head);
  const encoded = text(encodeHead(head));
  for (const wrong of [
    encoded.toUpperCase(),
    encoded.replace('"size":3', '"size":-3'),
    encoded.replace('"size":3', '"size":3.5'),
    encoded.replace('"time":', '"when":'),
    encoded.replace(/"root":"../, '"root":"'),
    encoded.replace(/"root":"../, '"root":"AB'),
  ])
    assert.throws(() => decodeHead(bytes(wrong)), { code: 'format-invalid' }, wrong);
});
