import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom } from '../crypto/random.ts';
import { signingKeyFromSeed, volumeIdFromPublicKey } from '../crypto/signature.ts';
import { createKeyFileSource } from './key-file.ts';
import type { KeySource } from './key-source.ts';
import { createKeyring, openKeyring, readKeyringSlots } from './keyring.ts';
import type { Keyring } from './keyring.ts';
import { noneSource } from './none.ts';
import { createPassphraseSource } from './passphrase.ts';

const cost = { memoryKibibytes: 64 * 1024, passes: 3, parallelism: 2 };

function file(first: number): KeySource {
  return createKeyFileSource({
    content: Uint8Array.from({ length: 32 }, (_, index) => index + first),
    random: systemRandom,
  });
}

function passphrase(text: string): KeySource {
  return createPassphraseSource({ passphrase: new TextEncoder().encode(text), random: systemRandom, cost });
}

function fresh(source: KeySource = file(1), label = ''): Promise<Keyring> {
  return createKeyring({ source, random: systemRandom, volumeIdOf: volumeIdFromPublicKey, label });
}

function reopen(keyring: Keyring, source: KeySource): Promise<Keyring> {
  return openKeyring(keyring.encode(), keyring.volumeId, source, systemRandom);
}

test('a keyring opens with its source and gives the same secrets', async () => {
  const keyring = await fresh(file(1), 'first');
  const opened = await reopen(keyring, file(1));
  assert.deepEqual(opened.signingSeed, keyring.signingSeed);
  assert.deepEqual(opened.dataKey(1), keyring.dataKey(1));
  assert.equal(opened.currentKeyEpoch, 1);
  assert.equal(opened.generation, 1);
  assert.deepEqual(opened.encode(), keyring.encode());
  assert.deepEqual(opened.slots, [{ id: 0, kind: 'key-file', cost: undefined, label: 'first' }]);
  assert.deepEqual(keyring.volumeId, volumeIdFromPublicKey(signingKeyFromSeed(keyring.signingSeed).publicKey));
});

test('two keyrings share no secret', async () => {
  const [one, two] = [await fresh(), await fresh()];
  assert.notDeepEqual(one.signingSeed, two.signingSeed);
  assert.notDeepEqual(one.dataKey(1), two.dataKey(1));
  assert.notDeepEqual(one.signingSeed, one.dataKey(1));
});

test('another secret, another kind and another volume are refused by name', async () => {
  const keyring = await fresh();
  await assert.rejects(reopen(keyring, file(2)), { code: 'key-wrong', kind: 'denied' });
  await assert.rejects(reopen(keyring, noneSource), { code: 'key-slot-missing', remedy: /key-file/ });
  const otherId = Uint8Array.from(keyring.volumeId, (byte) => byte ^ 1);
  await assert.rejects(openKeyring(keyring.encode(), otherId, file(1), systemRandom), { code: 'key-wrong' });
});

test('slots are added, changed and removed, and each opens the same keyring', async () => {
  const keyring = await fresh();
  assert.equal(await keyring.addSlot(file(2), 'second'), 1);
  assert.equal(await keyring.addSlot(passphrase('words'), 'Ünïcode'), 2);
  for (const source of [file(1), file(2), passphrase('words')]) {
    const opened = await reopen(keyring, source);
    assert.deepEqual(opened.dataKey(1), keyring.dataKey(1));
    assert.deepEqual(
      opened.slots.map((slot) => slot.label),
      ['', 'second', 'Ünïcode'],
    );
  }
  keyring.removeSlot(0);
  await assert.rejects(reopen(keyring, file(1)), { code: 'key-wrong' });
  await keyring.changeSlot(1, file(3));
  await assert.rejects(reopen(keyring, file(2)), { code: 'key-wrong' });
  const opened = await reopen(keyring, file(3));
  assert.deepEqual(
    opened.slots.map(({ id, kind, label }) => [id, kind, label]),
    [
      [1, 'key-file', 'second'],
      [2, 'passphrase', 'Ünïcode'],
    ],
  );
  assert.equal(opened.generation, 5);
  assert.equal(await keyring.addSlot(file(4)), 0, 'the lowest free id');
  await keyring.changeSlot(1, file(3), 'renamed');
  assert.equal(keyring.slots[1]?.label, 'renamed');
});

test('the slots can be listed without a key', async () => {
  const keyring = await fresh(passphrase('words'), 'private name');
  await keyring.addSlot(file(2));
  const encoded = keyring.encode();
  assert.deepEqual(readKeyringSlots(encoded), [
    { id: 0, kind: 'passphrase', cost },
    { id: 1, kind: 'key-file', cost: undefined },
  ]);
  assert.equal(Buffer.from(encoded).includes('private name'), false);
});

test('the last slot stays, and a slot that does not exist is named', async () => {
  const keyring = await fresh();
  const encoded = keyring.encode();
  assert.throws(() => keyring.removeSlot(0), { code: 'key-slot-last' });
  assert.throws(() => keyring.removeSlot(5), { code: 'key-slot-missing' });
  await assert.rejects(keyring.changeSlot(5, file(2)), { code: 'key-slot-missing' });
  assert.deepEqual(keyring.encode(), encoded, 'a refused change changes nothing');
});

test('slots are bounded, passphrase slots more tightly', async () => {
  const keyring = await fresh();
  for (let id = 1; id < 32; id++) await keyring.addSlot(file(id));
  await assert.rejects(keyring.addSlot(file(1)), { code: 'key-slots-full', kind: 'full' });
  assert.equal((await reopen(keyring, file(31))).slots.length, 32);
  const cheap: KeySource = { ...file(1), kind: 'passphrase', describe: 'a stand-in without the work' };
  const other = await fresh(cheap);
  for (let id = 1; id < 8; id++) await other.addSlot(cheap);
  await assert.rejects(other.addSlot(cheap), { code: 'key-slots-full' });
  await other.addSlot(file(2));
  await assert.rejects(other.changeSlot(8, cheap), { code: 'key-slots-full' });
});

test('an unprotected keyring opens for anyone and takes no other slot', async () => {
  const keyring = await fresh(noneSource);
  assert.deepEqual((await reopen(keyring, noneSource)).dataKey(1), keyring.dataKey(1));
  await assert.rejects(keyring.addSlot(file(1)), { code: 'argument-invalid' });
  await assert.rejects(keyring.changeSlot(0, file(1)), { code: 'argument-invalid' });
  await assert.rejects(keyring.renew(file(1)), { code: 'argument-invalid' });
  const protectedKeyring = await fresh();
  await assert.rejects(protectedKeyring.addSlot(noneSource), { code: 'argument-invalid' });
  await assert.rejects(protectedKeyring.changeSlot(0, noneSource), { code: 'argument-invalid' });
});

test('key epochs grow by one, keep their keys and can be forgotten', async () => {
  const keyring = await fresh();
  const first = Uint8Array.from(keyring.dataKey(1));
  assert.equal(keyring.addDataKey(), 2);
  assert.equal(keyring.addDataKey(), 3);
  const opened = await reopen(keyring, file(1));
  assert.equal(opened.currentKeyEpoch, 3);
  assert.deepEqual(opened.dataKey(1), first);
  assert.notDeepEqual(opened.dataKey(2), opened.dataKey(3));
  opened.removeDataKey(1);
  assert.throws(() => opened.dataKey(1), { code: 'key-epoch-missing' });
  assert.throws(() => opened.removeDataKey(1), { code: 'key-epoch-missing' });
  assert.throws(() => opened.removeDataKey(3), { code: 'assertion-failed' });
  assert.deepEqual((await reopen(opened, file(1))).keyEpochs, [2, 3]);
  assert.equal(opened.addDataKey(), 4, 'a forgotten epoch never comes back');
});

test('the number of key epochs is bounded', async () => {
  const keyring = await fresh();
  for (let epoch = 2; epoch <= 256; epoch++) keyring.addDataKey();
  assert.throws(() => keyring.addDataKey(), { code: 'key-epochs-full' });
  assert.equal((await reopen(keyring, file(1))).currentKeyEpoch, 256);
});

test('renew shuts out whoever kept an old copy and a removed secret', async () => {
  const keyring = await fresh();
  await keyring.addSlot(file(2));
  const old = keyring.encode();
  await keyring.renew(file(2), 'kept');
  keyring.addDataKey();
  await assert.rejects(reopen(keyring, file(1)), { code: 'key-wrong' });
  const opened = await reopen(keyring, file(2));
  assert.deepEqual(
    opened.slots.map((slot) => [slot.id, slot.label]),
    [[0, 'kept']],
  );
  assert.equal(opened.currentKeyEpoch, 2);
  // The old slots carry the old keyring key, which does not open the new body, even where the lengths fit.
  await keyring.addSlot(file(3));
  await assert.rejects(openKeyring(splice(old, keyring.encode()), keyring.volumeId, file(1), systemRandom), {
    code: 'keyring-tampered',
  });
});

test('slots from another state of the same keyring do not fit its body', async () => {
  const keyring = await fresh();
  const other = await reopen(keyring, file(1));
  await keyring.addSlot(file(2));
  await other.addSlot(file(3));
  assert.deepEqual(
    splice(keyring.encode(), keyring.encode()),
    Buffer.from(keyring.encode()),
    'the splice itself is right',
  );
  const spliced = splice(keyring.encode(), other.encode());
  for (const source of [file(1), file(2)]) {
    await assert.rejects(openKeyring(spliced, keyring.volumeId, source, systemRandom), {
      code: 'keyring-tampered',
      kind: 'integrity',
    });
  }
});

test('a slot with weak parameters is passed over; alone it is refused by that name', async () => {
  const keyring = await fresh(passphrase('words'));
  const encoded = keyring.encode();
  // Function, then memory: the first slot's parameters begin after the head (11) and the slot head (4).
  const weak = Uint8Array.from(encoded);
  new DataView(weak.buffer).setUint32(11 + 4 + 1, 8, true);
  await assert.rejects(openKeyring(weak, keyring.volumeId, passphrase('words'), systemRandom), {
    code: 'key-parameters-weak',
  });
  assert.equal(readKeyringSlots(weak)[0]?.cost, undefined);
});

test('of two changes at the same time one is refused and none is lost', async () => {
  const keyring = await fresh();
  const results = await Promise.allSettled([keyring.addSlot(file(2)), keyring.addSlot(file(3))]);
  const refused = results.filter((result) => result.status === 'rejected');
  assert.deepEqual(
    refused.map((result) => (result.reason as { code: string }).code),
    ['volume-busy'],
  );
  assert.equal((await reopen(keyring, file(1))).slots.length, 2);
});

test('labels are bounded text', async () => {
  const keyring = await fresh(file(1), 'x'.repeat(64));
  assert.equal((await reopen(keyring, file(1))).slots[0]?.label.length, 64);
  for (const label of ['x'.repeat(65), 'ü'.repeat(33), 'a\nb', '\ud800']) {
    await assert.rejects(keyring.addSlot(file(2), label), { code: 'argument-invalid' });
    await assert.rejects(fresh(file(1), label), { code: 'argument-invalid' });
  }
});

test('after wipe nothing is left and nothing is answered', async () => {
  const keyring = await fresh();
  const { signingSeed } = keyring;
  const dataKey = keyring.dataKey(1);
  keyring.wipe();
  keyring.wipe();
  assert.equal(
    signingSeed.every((byte) => byte === 0),
    true,
  );
  assert.equal(
    dataKey.every((byte) => byte === 0),
    true,
  );
  for (const call of [
    () => keyring.signingSeed,
    () => keyring.dataKey(1),
    () => keyring.encode(),
    () => keyring.addDataKey(),
    () => keyring.removeSlot(0),
  ]) {
    assert.throws(call, { code: 'volume-closed', kind: 'closed' });
  }
  await assert.rejects(keyring.addSlot(file(2)), { code: 'volume-closed' });
});

test('a source that cannot work ends the attempt with its own error', async () => {
  const keyring = await fresh();
  const source = createKeyFileSource({
    content: Uint8Array.from({ length: 32 }, (_, index) => index),
    random: systemRandom,
  });
  source.wipe();
  await assert.rejects(reopen(keyring, source), { code: 'key-source-unavailable' });
});

/** The slots of one keyring before the body of another. */
function splice(slots: Uint8Array, body: Uint8Array): Buffer {
  return Buffer.concat([slotsPart(slots), body.subarray(slotsPart(body).length)]);
}

/** The public part: head and slots, before the body length. */
function slotsPart(encoded: Uint8Array): Uint8Array {
  const view = new DataView(encoded.buffer, encoded.byteOffset);
  let offset = 11;
  for (let slot = 0; slot < view.getUint8(10); slot++) offset += 4 + view.getUint16(offset + 2, true) + 60;
  return encoded.subarray(0, offset);
}
