/** CBOR and COSE_Sign1 of evidence: what is refused before anything is built of it, and what a signature covers. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { cbor, fakeSign1 } from '../../../../test/support/fake-cose.ts';
import { der } from '../../../../test/support/fake-x509.ts';
import { keyPair } from '../../../../test/support/fake-tpm-evidence.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { cborDepthMax, cborItemsMax } from '../../../lib/limits.ts';
import { CborMap, decodeCbor, Tagged } from './cbor.ts';
import { parseSign1, verifySign1 } from './sign1.ts';

const refuses =
  (check: string) =>
  (error: unknown): boolean =>
    isCaissonError(error, 'evidence-invalid') && error.details['check'] === check;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

test('values of the kinds that evidence has', () => {
  const value = new Map<unknown, unknown>([
    [1, 'text'],
    [-2, new Uint8Array([1, 2])],
    ['key', [true, false, null, 2 ** 40]],
  ]);
  assert.deepEqual(decodeCbor(cbor(value), 'it'), value);
  const tagged = decodeCbor(bytes('d28101'), 'it', [18]);
  assert.ok(tagged instanceof Tagged);
  assert.deepEqual([tagged.tag, tagged.value], [18, [1]]);
});

const wrong: Readonly<Record<string, string>> = {
  'nothing at all, as if cut off': '',
  'a number cut off': '19ff',
  'false in two bytes': 'f814',
  'bytes after the end': '0101',
  'an indefinite list': '9f01ff',
  'an indefinite text': '7f6161ff',
  'a break': 'ff',
  'a reserved length': '1c',
  'a number longer than it needs to be': '1801',
  'a length longer than it needs to be': '590001aa',
  'a number beyond 2^53': '1b0020000000000000',
  'a byte string cut off': '42aa',
  'a byte string of many gigabytes': '5affffffff',
  'a list of many items': '9affffffff',
  'a map without its value': 'a101',
  'a key twice': 'a201010102',
  'a key that is bytes': 'a1410101',
  'a key that is a list': 'a1800101',
  undefined: 'f7',
  'a simple value': 'f820',
  'a number with a fraction': 'f93c00',
  'a large number with a fraction': 'fb3ff0000000000000',
  'a tag that is not named': 'd38101',
  'text that is no UTF-8': '62c328',
};

for (const [name, hex] of Object.entries(wrong))
  test(`cbor: ${name}`, () =>
    assert.throws(
      () => decodeCbor(bytes(hex), 'it', [18]),
      (error) => {
        assert.ok(refuses('cbor')(error));
        // Keys that are there twice are the decoder's to find; all else is found before it sees the bytes.
        assert.equal(
          error instanceof Error && error.cause !== undefined,
          name === 'a key twice' || name.endsWith('UTF-8'),
        );
        if (name.endsWith('cut off')) assert.match(String(error), /it is cut off$/);
        return true;
      },
    ));

test('cbor: levels and items have a bound', () => {
  const nested = (levels: number): Uint8Array => Uint8Array.of(...new Uint8Array(levels).fill(0x81), 0);
  decodeCbor(nested(cborDepthMax), 'it');
  assert.throws(() => decodeCbor(nested(cborDepthMax + 1), 'it'), refuses('cbor'));
  assert.throws(() => decodeCbor(nested(100_000), 'it'), refuses('cbor'));
  const list = (count: number): Uint8Array => cbor(Array.from({ length: count }, () => 0));
  decodeCbor(list(cborItemsMax - 1), 'it');
  assert.throws(() => decodeCbor(list(cborItemsMax), 'it'), refuses('cbor'));
});

test('fields have kinds and bounds', () => {
  const value = new Map<unknown, unknown>([
    [1, Uint8Array.of(1, 2)],
    [2, 'ab'],
    [3, 7],
    [4, [Uint8Array.of(1)]],
    [5, null],
    [6, new Uint8Array(0)],
    [7, new Map()],
    [8, -1],
  ]);
  const fields = new CborMap(value, 'it', 'form');
  assert.deepEqual(fields.bytes(1, 2, 2), Uint8Array.of(1, 2));
  assert.equal(fields.text(2, 2), 'ab');
  assert.equal(fields.number(3, 7), 7);
  assert.deepEqual(fields.bytesList(4, 1, 1, 1), [Uint8Array.of(1)]);
  assert.deepEqual(
    [5, 6, 99].map((key) => fields.optionalBytes(key, 2)),
    [undefined, undefined, undefined],
  );
  assert.deepEqual(fields.map(7).keys(), []);
  const wrongUses: (() => unknown)[] = [
    () => fields.bytes(1, 3, 9),
    () => fields.bytes(1, 0, 1),
    () => fields.bytes(2, 0, 9),
    () => fields.bytes(99, 0, 9),
    () => fields.text(2, 1),
    () => fields.text(1, 9),
    () => fields.number(3, 6),
    () => fields.number(8, 6),
    () => fields.number(2, 6),
    () => fields.optionalBytes(1, 1),
    () => fields.optionalBytes(2, 9),
    () => fields.bytesList(4, 2, 3, 1),
    () => fields.bytesList(4, 0, 0, 1),
    () => fields.list(1, 0, 9),
    () => fields.map(3),
    () => new CborMap([], 'it', 'form'),
  ];
  for (const use of wrongUses) assert.throws(use, refuses('form'), String(use));
});

const { privateKey, publicKey } = keyPair('cose', 'P-384');
const payload = new Map([[1, 'x']]);
const right = { payload, key: privateKey };

test('a signature holds for its key and its bytes alone', () => {
  const sign1 = parseSign1(fakeSign1(right), 'it', 'optional');
  assert.equal(verifySign1(sign1, publicKey), true);
  assert.equal(verifySign1(sign1, keyPair('cose other', 'P-384').publicKey), false);
  const changed = fakeSign1({ ...right, change: (items) => items.with(2, cbor(new Map([[1, 'y']]))) });
  assert.equal(verifySign1(parseSign1(changed, 'it', 'optional'), publicKey), false);
  const otherHeader = fakeSign1({ ...right, change: (items) => items.with(0, bytes('a201382204182a')) });
  assert.equal(verifySign1(parseSign1(otherHeader, 'it', 'optional'), publicKey), false);
});

test('curves and algorithms go together; a signature has one length', () => {
  const cases = [
    ['P-256', -7, 'sha256'],
    ['P-384', -35, 'sha384'],
    ['P-521', -36, 'sha512'],
  ] as const;
  for (const [namedCurve, algorithm, hash] of cases) {
    const pair = generateKeyPairSync('ec', { namedCurve });
    const made = { payload, key: pair.privateKey, hash, tag: 18 };
    const verdict = (bytesOfSign1: Uint8Array): boolean =>
      verifySign1(parseSign1(bytesOfSign1, 'it', 'required'), pair.publicKey);
    assert.equal(verdict(fakeSign1({ ...made, algorithm })), true);
    for (const other of [-7, -35, -36, -39, -8].filter((number) => number !== algorithm))
      assert.equal(verdict(fakeSign1({ ...made, algorithm: other })), false);
    const longer = (items: unknown[]): unknown => items.with(3, Uint8Array.of(...(items[3] as Uint8Array), 0));
    assert.equal(verdict(fakeSign1({ ...made, algorithm, change: longer })), false);
    const asDer = (items: unknown[]): unknown => items.with(3, derSignature(items[3] as Uint8Array));
    assert.equal(verdict(fakeSign1({ ...made, algorithm, change: asDer })), false);
  }
  const rsa = keyPair('cose', 'rsa');
  assert.equal(verifySign1(parseSign1(fakeSign1(right), 'it', 'optional'), rsa.publicKey), false);
});

/** The same two numbers in the form that certificates use. */
function derSignature(raw: Uint8Array): Uint8Array {
  const half = raw.length / 2;
  const number = (bytes: Uint8Array): Uint8Array => {
    const start = bytes.findIndex((byte) => byte !== 0);
    const rest = bytes.subarray(start);
    return der(0x02, rest[0]! >= 0x80 ? Uint8Array.of(0, ...rest) : rest);
  };
  return der(0x30, number(raw.subarray(0, half)), number(raw.subarray(half)));
}

test('cose-form', () => {
  const malformed = (options: Partial<Parameters<typeof fakeSign1>[0]>, tag: 'required' | 'optional' = 'optional') =>
    assert.throws(() => parseSign1(fakeSign1({ ...right, ...options }), 'it', tag), refuses('cose-form'));
  malformed({}, 'required');
  malformed({ change: (items) => items.toSpliced(3, 1) });
  malformed({ change: (items) => [...items, 0] });
  malformed({ change: () => new Map() });
  malformed({ change: (items) => items.with(0, 'text') });
  malformed({ change: (items) => items.with(1, []) });
  malformed({ change: (items) => items.with(2, null) });
  malformed({ change: (items) => items.with(2, new Uint8Array(0)) });
  malformed({ change: (items) => items.with(3, 1) });
  malformed({ protectedHeader: cbor([]) });
  malformed({ protectedHeader: cbor(new Map([[4, 1]])) });
  malformed({ protectedHeader: cbor(new Map([[1, 'ES384']])) });
  malformed({ unprotectedHeader: new Map([[1, -35]]) });
  malformed({ unprotectedHeader: new Map([[2, [4]]]) });
  malformed({
    protectedHeader: cbor(
      new Map<number, unknown>([
        [1, -35],
        [2, [4]],
      ]),
    ),
  });
  assert.throws(() => parseSign1(fakeSign1({ ...right, tag: 17 }), 'it', 'optional'), refuses('cbor'));
  parseSign1(fakeSign1({ ...right, unprotectedHeader: new Map([[4, Uint8Array.of(1)]]) }), 'it', 'optional');
});
