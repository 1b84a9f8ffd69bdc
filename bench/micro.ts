/** The parts alone, in this process: how fast they can be at most. Rates in operations per second, one thread. */
import { randomBytes } from 'node:crypto';
import { BlockMap } from '../src/block-map/block-map.ts';
import { nodeSealer } from '../src/crypto/node-sealer.ts';
import { createOpenSslSealer } from '../src/crypto/openssl-sealer.ts';
import { plainSealer } from '../src/crypto/plain-sealer.ts';
import { tagBytes } from '../src/crypto/sealer.ts';
import type { Sealer } from '../src/crypto/sealer.ts';
import { Region } from '../src/lib/region.ts';
import { ChunkPool } from '../src/segment/chunk.ts';
import { EntryKind } from '../src/segment/segment-format.ts';
import { SegmentScratch, SegmentWriter } from '../src/segment/segment-writer.ts';
import { bindOpenSsl } from '../src/sys/openssl.ts';
import type { PartContext } from './part.ts';

const batch = 256;
/** Longer adds nothing: these rates settle after some milliseconds. */
const secondsMax = 1;

export function microFigures(context: PartContext): void {
  if (!context.wants('micro')) return;
  const seconds = Math.min(context.seconds, secondsMax);
  const add = (id: string, title: string, operation: () => void): void => {
    context.add({ id: `micro-${id}`, title, value: rateOf(seconds, operation), unit: 'op/s' });
  };
  try {
    for (const sealer of sealers()) sealerRates(sealer, add);
    mapRates(add);
    for (const sealer of sealers()) segmentRates(sealer, add);
  } catch (error) {
    context.failed('micro', error);
  }
}

type Add = (id: string, title: string, operation: () => void) => void;

function rateOf(seconds: number, operation: () => void): number {
  const warmUntil = performance.now() + 100;
  while (performance.now() < warmUntil) for (let index = 0; index < batch; index++) operation();
  const start = performance.now();
  let done = 0;
  let elapsed = 0;
  while (elapsed < seconds * 1000) {
    for (let index = 0; index < batch; index++) operation();
    done += batch;
    elapsed = performance.now() - start;
  }
  return (done * 1000) / elapsed;
}

function sealers(): Sealer[] {
  const { openSsl } = bindOpenSsl();
  return [...(openSsl === undefined ? [] : [createOpenSslSealer(openSsl)]), nodeSealer, plainSealer];
}

function sealerRates(sealer: Sealer, add: Add): void {
  for (const length of [4096, 32 * 1024]) {
    const source = Region.from(randomBytes(length));
    const sealed = new Region(length + tagBytes);
    const opened = new Region(length);
    const key = sealer.createKey(randomBytes(32));
    let slot = 0;
    const size = `${length / 1024} KiB`;
    add(`seal-${length / 1024}k-${sealer.name}`, `seal ${size}, ${sealer.name}`, () =>
      key.seal(slot++, slot, length, source, 0, sealed, 0),
    );
    key.seal(1, 1, length, source, 0, sealed, 0);
    add(`open-${length / 1024}k-${sealer.name}`, `open ${size}, ${sealer.name}`, () => {
      if (!key.open(1, 1, length, sealed, 0, opened, 0)) throw new Error('a unit did not open');
    });
    key.destroy();
  }
}

/** Random blocks of 16 GiB, all of whose leaves are in memory. */
function mapRates(add: Add): void {
  const blockCount = 2 ** 22;
  const nothing = async (): Promise<never> => {
    throw new Error('nothing is loaded here');
  };
  const map = new BlockMap(blockCount, 2 ** 30, { loadLeaf: nothing, loadDirectory: nothing }, async () => undefined);
  const blocks = Uint32Array.from({ length: 2 ** 16 }, () =>
    Math.floor((randomBytes(4).readUInt32LE() / 2 ** 32) * blockCount),
  );
  let at = 0;
  const next = (): number => blocks[at++ & 0xffff] ?? 0;
  add('map-set', 'block map, point one block at its unit', () => map.setUnit(next(), false, 1, at & 0xffff));
  add('map-find', 'block map, find one block', () => map.find(next()));
}

/** As the write path does it, sealing included, a record for every 32 blocks; what is full goes nowhere. */
function segmentRates(sealer: Sealer, add: Add): void {
  const source = Region.from(randomBytes(4096));
  const chunks = new ChunkPool(8);
  const scratch = new SegmentScratch();
  const key = sealer.createKey(randomBytes(32));
  const zeroes = new Uint8Array(16);
  const open = (): SegmentWriter =>
    new SegmentWriter({
      clear: { protection: 1, keyEpoch: 1, lineage: zeroes, segmentId: randomBytes(16) },
      sealed: { epoch: 1, ordinal: 1, firstSequence: 1, chain: zeroes },
      key,
      bytesMax: 4 * 2 ** 20,
      chunks,
      scratch,
      sink: { chunkReady: (writer, chunk) => writer.retire(chunk), durableThrough: () => 0 },
    });
  let writer = open();
  let block = 0;
  add(`segment-append-${sealer.name}`, `segment, append a 4 KiB block, ${sealer.name}`, () => {
    if (!writer.hasRoom(EntryKind.block)) {
      writer.finish();
      writer = open();
    }
    writer.appendUnit(EntryKind.block, block++, source, 0);
  });
  key.destroy();
}
