/** Keys sealed to a TPM, on software TPMs: the conformance suite, and each thing that must keep a slot shut. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { systemRandom } from '../crypto/random.ts';
import { patientClock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { hasSwtpm, requireSwtpm, startSwtpm } from '../../test/support/swtpm.ts';
import type { SoftwareTpm } from '../../test/support/swtpm.ts';
import { Algorithm, tpmHash } from '../wire/tpm/algorithms.ts';
import { TpmWriter } from '../wire/tpm/codec.ts';
import { parseKeyUrl } from './key-url.ts';
import type { HeldKeySource } from './key-source.ts';
import { createTpmSource } from './tpm.ts';
import { decodeTpmSlot, encodeTpmSlot } from './tpm-slot-format.ts';

const use = { volumeId: new Uint8Array(16).fill(5) };
const slotAt = 33;
const sha256Bank = tpmHash(Algorithm.sha256)!;

function source(device: string, options = ''): HeldKeySource {
  const context = { clock: patientClock, random: systemRandom, environment: {} };
  return createTpmSource(parseKeyUrl(`tpm:${device}${options}`), context);
}

const isRunnable = hasSwtpm();
test('software TPMs are installed', (t) => void requireSwtpm(t, 'tpm2_pcrextend'));

describe('key in a TPM', { skip: !isRunnable }, () => {
  let tpm: SoftwareTpm;
  let other: SoftwareTpm;
  let folder: string;
  before(async () => {
    [tpm, other] = await Promise.all([startSwtpm(), startSwtpm()]);
    folder = mkdtempSync(join(tmpdir(), 'caisson-tpm-'));
  });
  after(async () => {
    await Promise.all([tpm.stop(), other.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  keySourceConformance('tpm', {
    make: () => source(tpm.device),
    makeOther: () => source(other.device),
    bindsVolume: true,
  });

  test('opens after the machine was restarted', async () => {
    const { parameters, key } = await source(tpm.device, '?pcrs=0,7,9').enroll(use);
    await tpm.restart();
    assert.deepEqual(await source(tpm.device).derive(parameters, use), key);
  });

  test('a changed register is named, and opens again when it is as it was', async () => {
    const { parameters, key } = await source(tpm.device, '?pcrs=4,8,9&bank=sha384').enroll(use);
    await tpm.tool('tpm2_pcrextend', `8:sha384=${'ab'.repeat(48)}`);
    await assert.rejects(source(tpm.device).derive(parameters, use), (error) => {
      assert(isCaissonError(error, 'key-wrong'));
      assert.equal(error.kind, 'denied');
      assert.equal(error.details['changedRegisters'], '8');
      assert.match(error.message, /PCR 8 of sha384/);
      return true;
    });
    await tpm.restart();
    assert.deepEqual(await source(tpm.device).derive(parameters, use), key);
  });

  test('registers that were not chosen may change', async () => {
    const { parameters, key } = await source(tpm.device, '?pcrs=7').enroll(use);
    await tpm.tool('tpm2_pcrextend', `8:sha256=${'ab'.repeat(32)}`, `9:sha256=${'cd'.repeat(32)}`);
    assert.deepEqual(await source(tpm.device).derive(parameters, use), key);
  });

  test('a PIN is asked for, and a wrong one opens nothing', async () => {
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return `?pin-file=${join(folder, name)}`;
    };
    const [right, wrong] = [file('right', '2468 a longer pin\n'), file('wrong', '1357\n')];
    const { parameters, key } = await source(tpm.device, right).enroll(use);
    assert.deepEqual(await source(tpm.device, right).derive(parameters, use), key);
    await assert.rejects(source(tpm.device, wrong).derive(parameters, use), {
      code: 'key-wrong',
      message: /PIN is wrong/,
    });
    await assert.rejects(source(tpm.device).derive(parameters, use), { code: 'key-source-unavailable' });
    // Without the PIN in the policy the same blob does not open either: the flag is not what protects it.
    const forged = Uint8Array.from(parameters);
    forged[slotAt] = 0;
    await assert.rejects(source(tpm.device).derive(forged, use), { code: 'key-wrong' });
    await tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
  });

  test('a slot of another TPM names the reason', async () => {
    const { parameters } = await source(other.device).enroll(use);
    await assert.rejects(source(tpm.device).derive(parameters, use), {
      code: 'key-wrong',
      message: /did not seal the key/,
    });
    // Although the parent's name is said to be the right one, the blob is not of this parent.
    const ours = decodeTpmSlot((await source(tpm.device).enroll(use)).parameters.subarray(slotAt));
    const theirs = decodeTpmSlot(parameters.subarray(slotAt));
    const mixed = encodeTpmSlot({ ...theirs, parentName: ours.parentName });
    await assert.rejects(source(tpm.device).derive(Uint8Array.of(...parameters.subarray(0, slotAt), ...mixed), use), {
      code: 'key-wrong',
    });
  });

  test('the secret crosses the bus in neither direction', async () => {
    const bus = await tap(tpm.port);
    const { parameters, key } = await source(`swtpm:127.0.0.1:${bus.port}`).enroll(use);
    assert.deepEqual(await source(`swtpm:127.0.0.1:${bus.port}`).derive(parameters, use), key);
    await bus.close();
    const salt = parameters.subarray(1, slotAt);
    const seen = bus.seen();
    assert.equal(seen.length > 2_000, true);
    for (let at = 0; at + 32 <= seen.length; at++) {
      const candidate = deriveKey(seen.subarray(at, at + 32), salt, keyLabel.tpm, use.volumeId);
      assert.notDeepEqual(candidate, key, `the secret was seen at ${at}`);
    }
  });

  test('a foreign name of the parent is refused before anything is salted to it', async () => {
    const { parameters } = await source(tpm.device).enroll(use);
    const slot = decodeTpmSlot(parameters.subarray(slotAt));
    const forged = encodeTpmSlot({ ...slot, parentName: slot.parentName.map((byte) => byte ^ 1) });
    await assert.rejects(source(tpm.device).derive(Uint8Array.of(...parameters.subarray(0, slotAt), ...forged), use), {
      code: 'key-wrong',
    });
  });

  test('seals under a persistent storage key of tpm2-tools', async () => {
    await tpm.tool('tpm2_startup', '-c').catch(() => '');
    await tpm.tool('tpm2_createprimary', '-C', 'o', '-G', 'rsa2048', '-c', 'parent.ctx');
    await tpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', 'parent.ctx', '0x81000001');
    await tpm.tool('tpm2_flushcontext', '-t');
    const { parameters, key } = await source(tpm.device, '?parent=0x81000001').enroll(use);
    assert.equal(decodeTpmSlot(parameters.subarray(slotAt)).parent, 0x81000001);
    assert.deepEqual(await source(tpm.device).derive(parameters, use), key);
    // What Caisson sealed is what tpm2-tools unseal, and the slot key follows from it as the specification says.
    const slot = decodeTpmSlot(parameters.subarray(slotAt));
    writeFileSync(join(tpm.folder, 'sealed.pub'), new TpmWriter().sized(slot.area).finish());
    writeFileSync(join(tpm.folder, 'sealed.priv'), new TpmWriter().sized(slot.secret).finish());
    await tpm.tool('tpm2_load', '-C', '0x81000001', '-u', 'sealed.pub', '-r', 'sealed.priv', '-c', 'sealed.ctx');
    await assert.rejects(tpm.tool('tpm2_unseal', '-c', 'sealed.ctx', '-o', 'secret'));
    await tpm.tool('tpm2_unseal', '-c', 'sealed.ctx', '-p', 'pcr:sha256:7', '-o', 'secret');
    await tpm.tool('tpm2_flushcontext', '-t');
    const secret = readFileSync(join(tpm.folder, 'secret'));
    assert.deepEqual(deriveKey(secret, parameters.subarray(1, slotAt), keyLabel.tpm, use.volumeId), key);
    await assert.rejects(source(other.device).derive(parameters, use), {
      code: 'key-source-unavailable',
      message: /keeps no key at 0x81000001/,
    });
  });

  test('no TPM, and one whose owner has a password, say so', async () => {
    await assert.rejects(source('swtpm:127.0.0.1:1').enroll(use), {
      code: 'key-source-unavailable',
      kind: 'transient',
    });
    await assert.rejects(source('/nowhere/tpm0').enroll(use), {
      code: 'key-source-unavailable',
      message: /there is no TPM at \/nowhere\/tpm0/,
    });
    await other.tool('tpm2_changeauth', '-c', 'owner', 'owner-password');
    await assert.rejects(source(other.device).enroll(use), (error) => {
      assert(isCaissonError(error, 'key-source-unavailable'));
      assert.equal(error.kind, 'denied');
      assert.match(error.remedy ?? '', /owner of this TPM has set a password/);
      return true;
    });
  });
});

/** A wire between Caisson and the simulator that remembers all bytes. */
async function tap(target: number): Promise<{ port: number; seen: () => Uint8Array; close: () => Promise<void> }> {
  const pieces: Buffer[] = [];
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (piece: Buffer) => pieces.push(piece));
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen: () => new Uint8Array(Buffer.concat(pieces)),
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

test('URLs that name no registers, banks or handles are refused', () => {
  for (const options of [
    'pcrs=24',
    'pcrs=7,4',
    'pcrs=7,7',
    'pcrs=x',
    'bank=sha1',
    'parent=81000001',
    'parent=0x80000001',
  ])
    assert.throws(() => source('/dev/tpmrm0', `?${options}`), { code: 'argument-invalid' }, options);
  for (const device of ['tpm0', 'swtpm:', 'swtpm:localhost', 'swtpm:localhost:0', 'swtpm:localhost:99999'])
    assert.throws(() => source(device), { code: 'argument-invalid' }, device);
});

test('slots of no writer are refused, each for its fault', () => {
  const area = Uint8Array.of(0, 8, 0, 11, 0, 0, 4, 0x12, 0, 0, 0, 16, 0, 0);
  const slot = {
    ...{ hasPin: false, bank: { hash: sha256Bank, indexes: [0, 7, 23], bitmapBytes: 3 }, parent: 0 },
    ...{ parentName: new Uint8Array(34), hints: [1, 2, 3].map((byte) => new Uint8Array(8).fill(byte)) },
    ...{ area, secret: new Uint8Array(60).fill(9) },
  };
  const good = encodeTpmSlot(slot);
  assert.deepEqual(decodeTpmSlot(good), slot);
  const faults: readonly [string, Uint8Array][] = [
    ['flag', good.with(0, 2)],
    ['sha1', good.with(1, 4)],
    ['bank', good.with(1, 0x77)],
    ['no register', good.with(3, 0).with(5, 0)],
    ['one register less', good.with(3, 1)],
    ['parent transient', good.with(9, 0x80)],
    ['empty area', encodeTpmSlot({ ...slot, area: new Uint8Array(0) })],
    ['area of a key', encodeTpmSlot({ ...slot, area: area.with(1, 1) })],
    ['area with a scheme', encodeTpmSlot({ ...slot, area: Uint8Array.of(...area.subarray(0, 10), 0, 5, 0, 11, 0, 0) })],
    ['empty secret', encodeTpmSlot({ ...slot, secret: new Uint8Array(0) })],
    ['long secret', encodeTpmSlot({ ...slot, secret: new Uint8Array(513) })],
    ['a byte more', Uint8Array.of(...good, 0)],
  ];
  for (const [fault, bytes] of faults)
    assert.throws(
      () => decodeTpmSlot(bytes),
      (error) => error instanceof CaissonError && error.code === 'format-invalid',
      fault,
    );
  for (let length = 0; length < good.length; length++)
    assert.throws(() => decodeTpmSlot(good.subarray(0, length)), { code: 'format-invalid' }, `${length} bytes`);
});
