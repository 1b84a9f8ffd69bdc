/**
 * A region: a buffer with a fixed place in memory, which native code may be pointed at.
 *
 * Small typed arrays live on the moving heap of V8; a raw pointer to one is a memory corruption
 * waiting for the next collection. A Region is backed by an ArrayBuffer of at least
 * `regionBytesMin`, which V8 keeps off-heap, and it holds that buffer as long as it lives. Every
 * hot-path call takes (region, offset, length) so that nothing is allocated per block.
 */
import { assert } from './assert.ts';

/** V8 keeps buffers of 64 bytes and less on its heap; a page is far beyond that on any version. */
export const regionBytesMin = 4096;

export class Region {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly length: number;
  /** The address as native code sees it; 0n until `sys/` resolves it. Only `sys/` and `crypto/` read it. */
  address: bigint = 0n;

  constructor(length: number) {
    assert(Number.isSafeInteger(length) && length > 0, `region length ${length}`);
    const backing = new ArrayBuffer(Math.max(length, regionBytesMin));
    this.bytes = new Uint8Array(backing, 0, length);
    this.length = length;
  }

  /** A region that starts with a copy of `bytes`: for callers that hold an ordinary array. */
  static from(bytes: Uint8Array): Region {
    const region = new Region(Math.max(bytes.length, 1));
    region.bytes.set(bytes);
    return region;
  }
}
