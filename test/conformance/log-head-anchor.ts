/** The rules of src/broker/heads/log-head-anchor.ts as one suite that every place for a head runs. `open` gives one that shares the memory of the first. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LogHead, LogHeadAnchor } from '../../src/broker/heads/log-head-anchor.ts';

export interface HeadMedium {
  open(): Promise<LogHeadAnchor>;
  /** Changes a byte of what is kept. */
  damage(): Promise<void>;
  dispose(): Promise<void>;
}

export const head = (size: number, root = size): LogHead => ({ size, root: new Uint8Array(32).fill(root) });

export function headAnchorConformance(name: string, factory: () => Promise<HeadMedium>): void {
  const rule = (title: string, body: (anchor: LogHeadAnchor, medium: HeadMedium) => Promise<void>): void => {
    it(title, async () => {
      const medium = await factory();
      try {
        await body(await medium.open(), medium);
      } finally {
        await medium.dispose();
      }
    });
  };

  describe(`log head anchor conformance: ${name}`, () => {
    rule('a head that was never kept is undefined', async (anchor) => {
      assert.equal(await anchor.read(), undefined);
    });

    rule('what was kept is read back, by every anchor of the medium', async (anchor, medium) => {
      for (const size of [0, 1, 7, 2 ** 40, 2 ** 53 - 1]) {
        await anchor.advance(head(size, size % 251));
        assert.deepEqual(await anchor.read(), head(size, size % 251));
        assert.deepEqual(await (await medium.open()).read(), head(size, size % 251));
      }
    });

    rule('a head never goes back, and its size has one root', async (anchor, medium) => {
      await anchor.advance(head(9));
      await anchor.advance(head(9));
      for (const wrong of [head(8), head(9, 1), head(0)]) {
        await assert.rejects((await medium.open()).advance(wrong), { code: 'rolled-back' });
        assert.deepEqual(await anchor.read(), head(9));
      }
    });

    rule('it is replaced only where somebody says so', async (anchor) => {
      await anchor.replace(head(4));
      await anchor.advance(head(9));
      await anchor.replace(head(3));
      assert.deepEqual(await anchor.read(), head(3));
      await anchor.advance(head(4));
    });

    rule('damage is never taken for nothing', async (anchor, medium) => {
      await anchor.advance(head(9));
      await medium.damage();
      await assert.rejects(anchor.read(), { code: 'anchor-tampered' });
    });
  });
}
