/** Event logs: what a replay covers is claimed, and nothing else. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { fakeTpmEvidence, sha256, sha384 } from '../../../../test/support/fake-tpm-evidence.ts';
import { fakeEventLog, fakeVariable, type FakeLogEvent } from '../../../../test/support/fake-event-log.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { eventLogEventsMax } from '../../../lib/limits.ts';
import { Algorithm, tpmHash } from '../../../wire/tpm/algorithms.ts';
import { parseEventLog, replayedRegisters, secureBoot } from './event-log.ts';
import { verifier } from './verifier.ts';

const secureOn = fakeVariable('SecureBoot', 1);
const events: readonly FakeLogEvent[] = [
  { register: 0, type: 8, data: Buffer.from('firmware') },
  { register: 7, type: 0x8000_0001, data: secureOn },
  { register: 7, type: 4, data: new Uint8Array(4) },
];

/** The value that extending each event of `register` leaves, from a last byte of `locality`. */
function replay(log: readonly FakeLogEvent[], register: number, hash = sha256, locality = 0): Uint8Array {
  const start: Uint8Array = new Uint8Array(hash.digestBytes).with(hash.digestBytes - 1, locality);
  return log
    .filter((event) => event.register === register && event.type !== 3)
    .reduce((value, { data }) => {
      const digest = createHash(hash.name).update(data).digest();
      return Uint8Array.from(createHash(hash.name).update(value).update(digest).digest());
    }, start);
}

const names = (values: ReturnType<typeof replayedRegisters>): readonly string[] =>
  values.map(({ hash, index }) => `${hash.name}:${index}`);

test('registers that the log accounts for are named, in each bank', () => {
  const log = parseEventLog(fakeEventLog(events));
  const quoted = [
    { hash: sha256, index: 0, value: replay(events, 0) },
    { hash: sha256, index: 7, value: replay(events, 7) },
    { hash: sha384, index: 7, value: replay(events, 7, sha384) },
    { hash: sha256, index: 4, value: new Uint8Array(32) },
  ];
  assert.deepEqual(names(replayedRegisters(log, quoted)), ['sha256:0', 'sha256:7', 'sha384:7']);
  const other = quoted.map((register) => ({ ...register, value: register.value.with(0, register.value[0]! ^ 1) }));
  assert.deepEqual(replayedRegisters(log, other), []);
});

test('register 0 begins with the locality that the log names', () => {
  const startup = { register: 0, type: 3, data: Buffer.from('StartupLocality\0\u0003') };
  const log = parseEventLog(fakeEventLog([startup, ...events]));
  const register = (locality: number) => [{ hash: sha256, index: 0, value: replay(events, 0, sha256, locality) }];
  assert.deepEqual(names(replayedRegisters(log, register(3))), ['sha256:0']);
  assert.deepEqual(replayedRegisters(log, register(0)), []);
});

test('secure boot is told from register 7, when the log accounts for it and says one thing', () => {
  const told = (log: readonly FakeLogEvent[], value = replay(log, 7)): boolean | undefined => {
    const parsed = parseEventLog(fakeEventLog(log));
    return secureBoot(parsed, replayedRegisters(parsed, [{ hash: sha256, index: 7, value }]));
  };
  const variable = (name: string, ...value: readonly number[]): FakeLogEvent => ({
    ...{ register: 7, type: 0x8000_0001, data: fakeVariable(name, ...value) },
  });
  assert.equal(told([variable('SecureBoot', 1)]), true);
  assert.equal(told([variable('SecureBoot', 0)]), false);
  assert.equal(told([variable('SecureBoot')]), false);
  assert.equal(told([variable('SecureBoot', 1, 1)]), undefined);
  assert.equal(told([{ ...variable('SecureBoot', 1), data: Uint8Array.of(...secureOn, 0) }]), undefined);
  const cutOff = fakeVariable('SecureBoot').with(24, 2);
  assert.equal(told([{ ...variable('SecureBoot'), data: cutOff }]), undefined);
  assert.equal(told([variable('SecureBoot', 1)], new Uint8Array(32)), undefined);
  assert.equal(told([variable('SecureBoot', 1), variable('SecureBoot', 0)]), undefined);
  assert.equal(told([variable('PK', 1)]), undefined);
  assert.equal(told([{ ...variable('SecureBoot', 1), type: 1 }]), undefined);
  const foreign = { ...variable('SecureBoot', 1), data: secureOn.with(0, 0) };
  assert.equal(told([foreign]), undefined);
});

test('data whose hash is not the digest says nothing', () => {
  const digests = new Map([
    ['sha256', createHash('sha256').update('else').digest()],
    ['sha384', new Uint8Array(48)],
  ]);
  const lie: FakeLogEvent = { register: 7, type: 0x8000_0001, data: secureOn, digests };
  const log = parseEventLog(fakeEventLog([lie]));
  const value = createHash('sha256').update(new Uint8Array(32)).update(digests.get('sha256')!).digest();
  const replayed = replayedRegisters(log, [{ hash: sha256, index: 7, value }]);
  assert.deepEqual(names(replayed), ['sha256:7']);
  assert.equal(secureBoot(log, replayed), undefined);
});

test('event-log-form: cut off, another header, unknown digests, too many events', () => {
  const invalid = (error: unknown): boolean =>
    isCaissonError(error, 'evidence-invalid') && error.details['check'] === 'event-log-form';
  const right = fakeEventLog(events);
  parseEventLog(right);
  const whole = new Set([32 + 16 + 4 + 4 + 4 + 8 + 1]); // the header alone is a log without events
  for (let length = 0; length < right.length - 1; length++)
    if (!whole.has(length) && !isBetweenEvents(length))
      assert.throws(() => parseEventLog(right.subarray(0, length)), invalid, `${length}`);
  assert.throws(() => parseEventLog(right.with(4, 1)), invalid);
  assert.throws(() => parseEventLog(right.with(32, 0)), invalid);
  assert.throws(() => parseEventLog(fakeEventLog([{ register: 24, type: 1, data: new Uint8Array(0) }])), invalid);
  const unknown = new Map([['sha512', new Uint8Array(64)]]);
  assert.throws(
    () => parseEventLog(fakeEventLog([{ register: 1, type: 1, data: secureOn, digests: unknown }])),
    invalid,
  );
  const twice = ['sha256', 'sha256'].map((name) => [name, new Uint8Array(32)] as const);
  assert.throws(() => parseEventLog(fakeEventLog([{ register: 1, type: 1, data: secureOn, digests: twice }])), invalid);
  assert.throws(() => parseEventLog(right.with(28, right[28]! - 1)), invalid);
  const empty = { register: 1, type: 1, data: new Uint8Array(0), digests: new Map() };
  const many = Array.from({ length: eventLogEventsMax + 1 }, () => empty);
  assert.equal(parseEventLog(fakeEventLog(many.toSpliced(0, 1))).length, eventLogEventsMax);
  assert.throws(() => parseEventLog(fakeEventLog(many)), invalid);
});

test('event-log-form: the header lists one to eight algorithms, each once and with its length', () => {
  const invalid = (error: unknown): boolean => isCaissonError(error, 'evidence-invalid');
  const unknown = (count: number) => Array.from({ length: count }, (_, index) => [0x1000 + index, 20] as const);
  parseEventLog(fakeEventLog([], unknown(8)));
  assert.throws(() => parseEventLog(fakeEventLog([], unknown(9))), invalid);
  assert.throws(() => parseEventLog(fakeEventLog([], [])), invalid);
  assert.throws(() => parseEventLog(fakeEventLog([], [[0x0b, 20]])), invalid);
  const [one] = unknown(1);
  assert.throws(() => parseEventLog(fakeEventLog([], [one!, one!])), invalid);
});

test('a register is not accounted for where a digest of its bank is missing, nor in a weak bank', () => {
  const digest = createHash('sha384').update('x').digest();
  const partial: FakeLogEvent = { register: 7, type: 1, data: secureOn, digests: new Map([['sha384', digest]]) };
  const whole: FakeLogEvent = { register: 7, type: 1, data: secureOn };
  const log = parseEventLog(fakeEventLog([whole, partial]));
  const value = replay([whole], 7);
  assert.deepEqual(replayedRegisters(log, [{ hash: sha256, index: 7, value }]), []);

  const sha1 = tpmHash(Algorithm.sha1)!;
  const weakDigest = createHash('sha1').update('x').digest();
  const weak: FakeLogEvent = { register: 7, type: 1, data: secureOn, digests: new Map([['sha1', weakDigest]]) };
  const weakLog = parseEventLog(fakeEventLog([weak], [[0x04, 20]]));
  const weakValue = createHash('sha1').update(new Uint8Array(20)).update(weakDigest).digest();
  assert.deepEqual(replayedRegisters(weakLog, [{ hash: sha1, index: 7, value: weakValue }]), []);
});

/** A log that ends after a whole event is a log. */
function isBetweenEvents(length: number): boolean {
  return events.some((_, index) => fakeEventLog(events.toSpliced(index)).length === length);
}

test('evidence with a log has its claims; with bytes that are none it is refused', async () => {
  const selection = [{ hash: sha256, indexes: [0, 7], bitmapBytes: 3 }];
  const pcrs = Uint8Array.from([...replay(events, 0), ...replay(events, 7)]);
  const { evidence, context } = fakeTpmEvidence({ selection, pcrs });
  const withLog = (eventLog: Uint8Array) =>
    verifier.verify({ ...evidence, parts: { ...evidence.parts, eventLog } }, context);
  const { claims } = await withLog(fakeEventLog(events));
  assert.deepEqual(claims.get('tpm.event-log-pcrs'), ['sha256:0', 'sha256:7']);
  assert.equal(claims.get('tpm.secure-boot'), true);
  await assert.rejects(withLog(Uint8Array.of(1)), (error) => isCaissonError(error, 'evidence-invalid'));
});
