/**
 * Fills a new volume with content and proves it: the digest of what came in is compared with the digest of
 * what the volume gives back once everything is published.
 *
 * Invariants: blocks of zeroes are never written, so that the volume stays as thin as its source; the source
 * is read once; a difference is an error and never a result.
 */
import { equalBytes } from '../crypto/digest.ts';
import type { BlockDevice } from '../export/block-device.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { blockBytes } from '../lib/sizes.ts';
import type { Region } from '../lib/region.ts';
import { deviceContent, readContent, roundUp, type ContentSource, type ContentVisitor } from './content.ts';
import { isZero, startPlainDigest, startSparseDigest, type ContentDigest } from './content-digest.ts';

/** The volume that is filled: one that nobody else has open. */
export interface FilledDevice extends BlockDevice {
  checkpoint(): Promise<void>;
}

export interface FillOptions {
  /** `plain` is comparable with sha256sum; `sparse` does not read through holes. */
  readonly digest: 'plain' | 'sparse';
  /** The volume grows with a source of unknown size and ends as large as it; else what does not fit is refused. */
  readonly grows: boolean;
  /** What the source must have, if the caller knows; 64 hexadecimal digits. */
  readonly expectedSha256: string | undefined;
  readonly onProgress: ((done: number, total: number, unit: string) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface FillReport {
  readonly sourceBytes: number;
  /** Zeroes added behind the source, up to a whole block. */
  readonly paddedBytes: number;
  readonly writtenBytes: number;
  readonly sha256: string;
}

export async function fillVolume(
  device: FilledDevice,
  source: ContentSource,
  options: FillOptions,
): Promise<FillReport> {
  const { onProgress, signal } = options;
  const writer = new BlockWriter(device, source, options);
  const sourceBytes = await readContent(source, writer, signal);
  if (sourceBytes === 0) throw emptySource();
  const sha256 = writer.digest.finish();
  if (options.expectedSha256 !== undefined && toHex(sha256) !== options.expectedSha256.toLowerCase())
    throw otherDigest('the source is not what was expected', options.expectedSha256, toHex(sha256));
  if (options.grows) await device.resize(roundUp(sourceBytes));
  await device.flush();
  await device.checkpoint();
  const digest = startOf(options);
  const check = passOn(digest, sourceBytes, 'bytes checked', onProgress);
  await readContent(deviceContent(device, sourceBytes), check, signal);
  const found = digest.finish();
  if (!equalBytes(found, sha256)) throw otherDigest('the volume gives back other bytes', toHex(sha256), toHex(found));
  return {
    sourceBytes,
    paddedBytes: roundUp(sourceBytes) - sourceBytes,
    writtenBytes: writer.writtenBytes,
    sha256: toHex(sha256),
  };
}

class BlockWriter implements ContentVisitor {
  readonly digest: ContentDigest;
  writtenBytes = 0;
  readonly #device: FilledDevice;
  readonly #options: FillOptions;
  readonly #total: number;

  constructor(device: FilledDevice, source: ContentSource, options: FillOptions) {
    this.digest = startOf(options);
    this.#device = device;
    this.#options = options;
    this.#total = source.size ?? 0;
  }

  async data(offset: number, region: Region, length: number): Promise<void> {
    const { signal, onProgress } = this.#options;
    this.digest.data(offset, region.bytes.subarray(0, length));
    const padded = roundUp(length);
    region.bytes.fill(0, length, padded);
    await this.#makeRoom(offset + padded);
    for (let at = 0; at < padded;) {
      let end = at;
      while (end < padded && !isZero(region.bytes.subarray(end, end + blockBytes))) end += blockBytes;
      if (end > at) {
        await this.#device.write(offset + at, end - at, region, at, false);
        this.writtenBytes += end - at;
      }
      at = end + blockBytes;
    }
    await this.#device.pressure();
    signal?.throwIfAborted();
    onProgress?.(offset + length, this.#total, 'bytes');
  }

  hole(offset: number, length: number): void {
    this.digest.hole(length);
    this.#options.onProgress?.(offset + length, this.#total, 'bytes');
  }

  async #makeRoom(end: number): Promise<void> {
    const { size } = this.#device;
    if (end <= size) return;
    if (!this.#options.grows) throw tooLarge(size);
    await this.#device.resize(Math.max(end, size * 2));
  }
}

function startOf({ digest }: FillOptions): ContentDigest {
  return digest === 'plain' ? startPlainDigest() : startSparseDigest();
}

function passOn(
  digest: ContentDigest,
  total: number,
  unit: string,
  onProgress: FillOptions['onProgress'],
): ContentVisitor {
  return {
    data: (offset, region, length) => {
      digest.data(offset, region.bytes.subarray(0, length));
      onProgress?.(offset + length, total, unit);
    },
    hole: (offset, length) => {
      digest.hole(length);
      onProgress?.(offset + length, total, unit);
    },
  };
}

export function tooLarge(size: number): CaissonError {
  return new CaissonError('invalid', 'import-too-large', `the source holds more than the ${size} bytes of the volume`, {
    remedy: 'Give a larger --size, or leave it out: the volume is then as large as the source.',
    details: { size },
  });
}

function emptySource(): CaissonError {
  return new CaissonError('invalid', 'import-ended-early', 'the source is empty', {
    remedy: 'Check what was to be imported; a volume has one block of 4096 bytes at least.',
    details: { bytes: 0 },
  });
}

function otherDigest(what: string, expected: string, found: string): CaissonError {
  return new CaissonError('integrity', 'digest-mismatch', `${what}: SHA-256 ${found} instead of ${expected}`, {
    remedy: 'Nothing of it was kept. Check the source, then the disk and the memory of this machine.',
    details: { expected, found },
  });
}
