/**
 * The NBD server of Caisson over plain memory: what the protocol costs alone, with no engine and no
 * sealing below it. `node memory-server.ts SOCKET BYTES [SPIN-MICROSECONDS]`.
 */
import { createNbdServer } from '../src/export/nbd/nbd.ts';
import type { BlockDevice, BlockWrite, Extent } from '../src/export/block-device.ts';
import type { Region } from '../src/lib/region.ts';

/** One array, no holes, no state: every call is one copy. */
class RamDevice implements BlockDevice {
  readonly blockSize = 4096;
  readonly readOnly = false;
  readonly size: number;
  readonly #bytes: Uint8Array;

  constructor(size: number) {
    this.size = size;
    this.#bytes = new Uint8Array(size);
  }

  read(offset: number, length: number, target: Region, targetOffset: number): void {
    target.bytes.set(this.#bytes.subarray(offset, offset + length), targetOffset);
  }

  write(offset: number, length: number, source: Region, sourceOffset: number): void {
    this.#bytes.set(source.bytes.subarray(sourceOffset, sourceOffset + length), offset);
  }

  beginWrite(offset: number): BlockWrite {
    let at = offset;
    return {
      push: (source, sourceOffset, length) => {
        this.write(at, length, source, sourceOffset);
        at += length;
      },
      finish: () => undefined,
      abort: () => undefined,
    };
  }

  zero(offset: number, length: number): void {
    this.#bytes.fill(0, offset, offset + length);
  }

  trim(offset: number, length: number): void {
    this.zero(offset, length);
  }

  async flush(): Promise<void> {}

  extents(_offset: number, length: number): Extent[] {
    return [{ length, hole: false, zero: false }];
  }

  async resize(): Promise<void> {
    throw new Error('this device keeps its size');
  }

  pressure(): undefined {
    return undefined;
  }

  onResize(): () => void {
    return () => undefined;
  }
}

if (import.meta.main) {
  const [path = '', size = '', spin = '50'] = process.argv.slice(2);
  const server = createNbdServer({
    exports: { ram: { device: new RamDevice(Number(size)) } },
    defaultExport: 'ram',
    spinMicroseconds: Number(spin),
  });
  await server.listen({ path });
  process.once('SIGTERM', () => void server.close({ graceMilliseconds: 0 }));
}
