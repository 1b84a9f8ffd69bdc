/** The rules of src/anchor/anchor.ts as one suite that every anchor runs. `open` may be called again and gives one that shares the memory of the first. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Anchor, AnchorState } from '../../src/anchor/anchor.ts';
import { rejects } from './store.ts';

export interface AnchorMedium {
  open(): Promise<Anchor>;
  dispose(): Promise<void>;
}

export const volumeId = Uint8Array.from({ length: 16 }, (_, index) => 16 + index);
const otherVolumeId = new Uint8Array(16).fill(0xdd);

/** A state whose digests follow from its position, so that equal positions are equal states. */
export function stateAt(
  epoch: number,
  manifestNumber: number,
  sequence: number,
  changes: Partial<AnchorState> = {},
): AnchorState {
  return {
    volumeId,
    epoch,
    manifestNumber,
    manifestDigest: new Uint8Array(32).fill(1 + epoch * 16 + manifestNumber),
    sequence,
    chain: new Uint8Array(16).fill(1 + sequence),
    ...changes,
  };
}

export function anchorConformance(name: string, factory: () => Promise<AnchorMedium>): void {
  const rule = (title: string, body: (anchor: Anchor, medium: AnchorMedium) => Promise<void>): void => {
    it(title, async () => {
      const medium = await factory();
      try {
        await body(await medium.open(), medium);
      } finally {
        await medium.dispose();
      }
    });
  };

  describe(`anchor conformance: ${name}`, () => {
    rule('a volume that was never anchored is undefined', async (anchor) => {
      assert.equal(await anchor.read(volumeId), undefined);
      await anchor.advance(stateAt(1, 1, 0));
      assert.equal(await anchor.read(otherVolumeId), undefined);
    });

    rule('what was advanced is read back, by every anchor of the medium', async (anchor, medium) => {
      for (const state of [
        stateAt(1, 1, 0),
        stateAt(1, 1, 7),
        stateAt(1, 2, 7),
        stateAt(2, 3, 9),
        stateAt(2, 3, 2 ** 53 - 1, { chain: new Uint8Array(16) }),
      ]) {
        await anchor.advance(state);
        assert.deepEqual(await anchor.read(volumeId), state);
        assert.deepEqual(await (await medium.open()).read(volumeId), state);
      }
    });

    rule('two anchors of one medium take turns', async (anchor, medium) => {
      const other = await medium.open();
      for (let sequence = 0; sequence < 10; sequence++)
        await (sequence % 3 ? anchor : other).advance(stateAt(1, 1, sequence));
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 9));
      await rejects(other.advance(stateAt(1, 1, 8)), 'rolled-back');
    });

    rule('the first state may be any', async (anchor) => {
      await anchor.advance(stateAt(9, 99, 999));
      assert.deepEqual(await anchor.read(volumeId), stateAt(9, 99, 999));
    });

    rule('the order is epoch, manifest number, sequence', async (anchor) => {
      const rising = [stateAt(1, 2, 9), stateAt(1, 3, 0), stateAt(1, 3, 1), stateAt(2, 1, 0), stateAt(2, 1, 5)];
      for (const [index, state] of rising.entries()) {
        await anchor.advance(state);
        for (const older of rising.slice(0, index)) await rejects(anchor.advance(older), 'rolled-back');
        assert.deepEqual(await anchor.read(volumeId), state);
      }
    });

    rule('the same state again is success', async (anchor) => {
      await anchor.advance(stateAt(1, 1, 1));
      await anchor.advance(stateAt(1, 1, 1));
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 1));
    });

    rule('one position with other digests is a fork', async (anchor) => {
      await anchor.advance(stateAt(1, 1, 5));
      await rejects(anchor.advance(stateAt(1, 1, 5, { chain: new Uint8Array(16).fill(99) })), 'forked');
      const otherManifest = { manifestDigest: new Uint8Array(32).fill(99) };
      await rejects(anchor.advance(stateAt(1, 1, 5, otherManifest)), 'forked');
      await rejects(anchor.advance(stateAt(1, 1, 6, otherManifest)), 'forked');
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 5));
    });

    rule('volumes do not disturb each other', async (anchor) => {
      await anchor.advance(stateAt(5, 5, 5));
      await anchor.advance(stateAt(1, 1, 1, { volumeId: otherVolumeId }));
      assert.deepEqual(await anchor.read(volumeId), stateAt(5, 5, 5));
      await anchor.forget(otherVolumeId);
      assert.deepEqual(await anchor.read(volumeId), stateAt(5, 5, 5));
    });

    rule('a forgotten volume starts anew; forgetting what is missing is success', async (anchor) => {
      await anchor.forget(volumeId);
      await anchor.advance(stateAt(5, 5, 5));
      await anchor.forget(volumeId);
      assert.equal(await anchor.read(volumeId), undefined);
      await anchor.advance(stateAt(1, 1, 1));
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 1));
    });

    rule('advances asked for at once are taken one by one', async (anchor, medium) => {
      const other = await medium.open();
      const states = Array.from({ length: 12 }, (_, sequence) => stateAt(1, 1, sequence));
      const results = await Promise.allSettled(
        states.map((state, index) => (index % 2 ? anchor : other).advance(state)),
      );
      assert.equal(results[11]!.status, 'fulfilled');
      assert.deepEqual(await anchor.read(volumeId), states[11]);
    });

    rule('keeps no memory of the caller', async (anchor) => {
      const state = stateAt(1, 1, 1, { volumeId: new Uint8Array(volumeId) });
      await anchor.advance(state);
      state.chain.fill(0);
      state.manifestDigest.fill(0);
      assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 1));
    });

    rule('says in words what it protects against', async (anchor) => {
      assert.match(anchor.describe, /^[A-Z].{20,}\.$/);
    });
  });
}
