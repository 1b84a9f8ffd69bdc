/** The TPM anchor on software TPMs: the rules of anchors, and every way in which its file and its register may part. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { anchorConformance, stateAt, volumeId } from '../../test/conformance/anchor.ts';
import { hasSwtpm, requireSwtpm, startSwtpm } from '../../test/support/swtpm.ts';
import type { SoftwareTpm } from '../../test/support/swtpm.ts';
import { toHex } from '../lib/hex.ts';
import { patientClock } from '../lib/clock.ts';
import { nodeFileSystem } from '../store/node-file-system.ts';
import { NvAttribute } from '../tpm/tpm-constants.ts';
import { nvDefine, nvRead, nvReadPublic, nvWrite } from '../tpm/tpm-nv.ts';
import { withTpm } from '../tpm/tpm.ts';
import type { Anchor } from './anchor.ts';
import { encodeAnchorSlot } from './anchor-format.ts';
import { openTpmAnchor } from './tpm-anchor.ts';
import { createTpmRegister, decodeRegister, encodeRegister, registerHandle } from './tpm-register.ts';
import type { FreshnessRegister } from './tpm-register.ts';

const hex = toHex(volumeId);
const tampered = { code: 'anchor-tampered', kind: 'integrity' };

test('software TPMs are installed', (t) => void requireSwtpm(t, 'tpm2_nvundefine'));

if (hasSwtpm()) {
  let shared: Promise<SoftwareTpm> | undefined;
  after(async () => (await shared)?.stop());
  anchorConformance('TPM', async () => {
    const tpm = await (shared ??= startSwtpm());
    const folder = mkdtempSync(join(tmpdir(), 'caisson-tpm-anchor-'));
    const open = (): Promise<Anchor> => openOn(tpm, folder);
    return {
      open,
      dispose: async () => {
        const anchor = await open();
        for (const name of readdirSync(folder)) await anchor.forget(Buffer.from(name.substring(0, 32), 'hex'));
        rmSync(folder, { recursive: true });
      },
    };
  });
}

function openOn(tpm: SoftwareTpm, folder: string, intervalMilliseconds = 0): Promise<Anchor> {
  const register = createTpmRegister(tpm.device);
  return openTpmAnchor({ fileSystem: nodeFileSystem, folder, register, intervalMilliseconds });
}

describe('TPM anchor', { skip: !hasSwtpm() }, () => {
  let tpm: SoftwareTpm;
  before(async () => {
    tpm = await startSwtpm();
  });
  after(() => tpm.stop());

  /** A fresh folder and a fresh volume. */
  const scene = async (body: (folder: string, anchor: Anchor) => Promise<void>): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), 'caisson-tpm-anchor-'));
    try {
      await body(folder, await openOn(tpm, folder));
    } finally {
      await createTpmRegister(tpm.device).remove(volumeId);
      rmSync(folder, { recursive: true });
    }
  };

  test('remembers over a restart of the machine', () =>
    scene(async (folder, anchor) => {
      for (let sequence = 0; sequence < 5; sequence++) await anchor.advance(stateAt(1, 1, sequence));
      await tpm.restart();
      assert.deepEqual(await (await openOn(tpm, folder)).read(volumeId), stateAt(1, 1, 4));
    }));

  test('an old copy of its folder is refused, however old', () =>
    scene(async (folder, anchor) => {
      const copies: string[] = [];
      for (let sequence = 0; sequence < 4; sequence++) {
        await anchor.advance(stateAt(1, 1, sequence));
        copies.push(`${folder}-${sequence}`);
        cpSync(folder, copies.at(-1)!, { recursive: true });
      }
      const newest = copies.pop()!;
      for (const copy of copies) {
        const old = await openOn(tpm, copy);
        await assert.rejects(old.read(volumeId), tampered);
        await assert.rejects(old.advance(stateAt(1, 1, 9)), tampered);
      }
      assert.deepEqual(await (await openOn(tpm, newest)).read(volumeId), stateAt(1, 1, 3));
      for (const copy of [...copies, newest]) rmSync(copy, { recursive: true });
    }));

  test('a changed byte, a cut, a missing file and a file of another volume are refused', () =>
    scene(async (folder, anchor) => {
      await anchor.advance(stateAt(1, 1, 1));
      await anchor.advance(stateAt(1, 1, 2));
      const path = join(folder, `${hex}.tpm-anchor`);
      const good = readFileSync(path);
      const refused = async (bytes: Uint8Array): Promise<void> => {
        writeFileSync(path, bytes);
        await assert.rejects(anchor.read(volumeId), tampered);
      };
      // Counter 2 lies in slot 0: magic, counter, state, padding, checksum.
      for (const place of [0, 20, 60, 4000, 4095]) await refused(Uint8Array.from(good).with(place, good[place]! ^ 1));
      // A slot that is right in itself, with the counter that holds, but of an older state.
      const forged = encodeAnchorSlot({ counter: 2, state: stateAt(1, 1, 1) });
      await refused(Buffer.concat([forged, good.subarray(4096)]));
      await refused(good.subarray(0, 8191));
      await refused(Buffer.concat([good, Buffer.from([0])]));
      await refused(new Uint8Array(8192));
      rmSync(path);
      await assert.rejects(anchor.read(volumeId), tampered);
      writeFileSync(path, good);
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 2));
    }));

  test('a TPM that was cleared, and one that never knew the volume, are not taken for a new volume', () =>
    scene(async (_, anchor) => {
      await anchor.advance(stateAt(1, 1, 1));
      const handle = `0x0${registerHandle(volumeId, 0).toString(16)}`;
      await tpm.tool('tpm2_startup', '-c').catch(() => '');
      await tpm.tool('tpm2_nvundefine', '-C', 'o', handle);
      await assert.rejects(anchor.read(volumeId), tampered);
      await assert.rejects(anchor.advance(stateAt(1, 1, 2)), tampered);
      await tpm.tool('tpm2_nvdefine', '-C', 'o', '-s', '48', '-a', 'authread|authwrite', handle);
      await assert.rejects(anchor.read(volumeId), tampered);
    }));

  test('an index that others use is gone around, and an own one with other rights is refused', () =>
    scene(async (folder, anchor) => {
      const first = registerHandle(volumeId, 0);
      const access = NvAttribute.authRead | NvAttribute.authWrite;
      const foreign = { handle: first, attributes: access, policy: new Uint8Array(0), bytes: 8 };
      // Whatever an earlier test left at the first place.
      await tpm.tool('tpm2_nvundefine', '-C', 'o', `0x0${first.toString(16)}`).catch(() => '');
      await withTpm(tpm.device, (t) => nvDefine(t, foreign));
      await anchor.advance(stateAt(1, 1, 1));
      const ours = await withTpm(tpm.device, (t) => nvReadPublic(t, registerHandle(volumeId, 1)));
      assert(ours !== undefined);
      assert.equal(ours.bytes, 48);
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 1));
      await tpm.tool('tpm2_nvundefine', '-C', 'o', `0x0${first.toString(16)}`);
      assert.deepEqual(await (await openOn(tpm, folder)).read(volumeId), stateAt(1, 1, 1));
      // The same content in an index that others may write, too.
      await withTpm(tpm.device, async (t) => {
        const content = await nvRead(t, ours.isWritten ? ours : (await nvReadPublic(t, ours.handle))!);
        await nvDefine(t, { ...foreign, policy: ours.policy, bytes: 48 });
        await nvWrite(t, (await nvReadPublic(t, first))!, content);
      });
      await assert.rejects(anchor.read(volumeId), tampered);
      await tpm.tool('tpm2_nvundefine', '-C', 'o', `0x0${first.toString(16)}`);
    }));

  test('the content of a newer Caisson is not read', () =>
    scene(async (_, anchor) => {
      await anchor.advance(stateAt(1, 1, 1));
      const index = (await withTpm(tpm.device, (t) => nvReadPublic(t, registerHandle(volumeId, 0))))!;
      const content = encodeRegister({ counter: 1, digest: new Uint8Array(32) });
      await withTpm(tpm.device, (t) => nvWrite(t, index, content.with(0, 2)));
      await assert.rejects(anchor.read(volumeId), { code: 'format-version' });
    }));

  test('the same state again writes nothing; states that wait share a write; writes keep their distance', () =>
    scene(async (folder) => {
      let writes = 0;
      const inner = createTpmRegister(tpm.device);
      const counted: FreshnessRegister['write'] = (id, content) => {
        writes++;
        return inner.write(id, content);
      };
      const register: FreshnessRegister = { ...inner, write: counted };
      const pauses: number[] = [];
      const clock = {
        ...patientClock,
        monotonic: () => 1000,
        after: (milliseconds: number, callback: () => void) => {
          pauses.push(milliseconds);
          return patientClock.after(1, callback);
        },
      };
      const options = { fileSystem: nodeFileSystem, folder, register, clock, intervalMilliseconds: 700 };
      const anchor = await openTpmAnchor(options);
      await anchor.advance(stateAt(1, 1, 0));
      assert.equal(writes, 1);
      await anchor.advance(stateAt(1, 1, 0));
      assert.equal(writes, 1);
      const results = await Promise.allSettled(
        [1, 2, 1, 3, 4].map((sequence) => anchor.advance(stateAt(1, 1, sequence))),
      );
      assert.deepEqual(
        results.map(({ status }) => status),
        ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
      );
      assert.equal(writes, 2);
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 4));
      assert.equal(pauses.length >= 2 && pauses.every((pause) => pause === 700), true);
    }));

  test('a forgotten volume leaves neither file nor index', () =>
    scene(async (folder, anchor) => {
      await anchor.advance(stateAt(1, 1, 1));
      await anchor.forget(volumeId);
      assert.deepEqual(readdirSync(folder), []);
      assert.equal(await withTpm(tpm.device, (t) => nvReadPublic(t, registerHandle(volumeId, 0))), undefined);
    }));

  test('a TPM that cannot be reached is named, and nothing is taken for missing', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'caisson-tpm-anchor-'));
    const register = createTpmRegister('swtpm:127.0.0.1:1');
    const anchor = await openTpmAnchor({ fileSystem: nodeFileSystem, folder, register, intervalMilliseconds: 0 });
    await assert.rejects(anchor.read(volumeId), { code: 'tpm-failed' });
    await assert.rejects(anchor.advance(stateAt(1, 1, 1)), { code: 'tpm-failed' });
    await assert.rejects(anchor.forget(volumeId), { code: 'tpm-failed' });
    rmSync(folder, { recursive: true });
  });

  test('a draft beside the file of an old volume does not stand in for it', () =>
    scene(async (folder, anchor) => {
      await anchor.advance(stateAt(1, 1, 1));
      const path = join(folder, `${hex}.tpm-anchor`);
      renameSync(path, `${path}.new`); // as a power failure before the file got its name
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 1));
      await anchor.advance(stateAt(1, 1, 2));
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 2));
      assert.deepEqual(readdirSync(folder).sort(), [`${hex}.lock`, `${hex}.tpm-anchor`]);
    }));
});

test('registers have one form', () => {
  const content = { counter: 2 ** 53 - 1, digest: new Uint8Array(32).fill(7) };
  const bytes = encodeRegister(content);
  assert.equal(bytes.length, 48);
  assert.deepEqual(decodeRegister(bytes), content);
  for (const wrong of [
    bytes.with(0, 0),
    bytes.with(1, 1),
    bytes.with(15, 1),
    bytes.subarray(1),
    Uint8Array.of(...bytes, 0),
  ])
    assert.throws(() => decodeRegister(wrong), tampered);
  assert.throws(() => decodeRegister(bytes.with(0, 2)), { code: 'format-version' });
});

test('the handles of a volume lie among those of the owner, and differ', () => {
  const handles = [0, 1, 2, 3].map((candidate) => registerHandle(volumeId, candidate));
  assert.equal(new Set(handles).size, 4);
  for (const handle of handles) assert.equal(handle >= 0x0180_0000 && handle <= 0x01bf_ffff, true);
});
