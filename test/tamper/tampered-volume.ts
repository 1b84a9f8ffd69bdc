/**
 * The volume that the tamper sweep changes: two published segments, several map objects, catalog pages and
 * manifests, two key slots, and a spool of a finished and an open segment, all of it anchored. And the judge.
 */
import assert from 'node:assert/strict';
import type { AnchorState } from '../../src/anchor/anchor.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { fromHex } from '../../src/lib/hex.ts';
import { Region } from '../../src/lib/region.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { parseKey, volumePrefix } from '../../src/store/paths.ts';
import { createVolume, openVolume, verifyVolume } from '../../src/volume/volume.ts';
import type { Volume, VolumeEnvironment } from '../../src/volume/volume-types.ts';
import { SeededRandom } from '../sim/random.ts';
import { MemoryAnchor } from '../sim/memory-anchor.ts';
import { MemoryStore } from '../sim/memory-store.ts';
import * as shapes from '../support/object-shapes.ts';
import { anchorOf, bytesOf, captureImage, storeOf, type StoreImage } from './store-image.ts';

const block = 4096;
const volumeBytes = 512 * block;
const random = new SeededRandom(20_260);
const keySource = createKeyFileSource({ content: random.bytes(32), random });
/** Refusals that are not of kind `integrity`, each with its reason. */
const namedRefusals: ReadonlySet<string> = new Set([
  'format-version', // the version field was changed
  'volume-missing', // the head was removed
  'key-wrong', // the keyring in a manifest of its own volume was replaced
]);

export interface TamperSubject {
  readonly image: StoreImage;
  /** What the store looked like after the first checkpoint. */
  readonly older: StoreImage;
  /** All but the last flush. */
  readonly previous: StoreImage;
  readonly anchor: AnchorState;
  readonly prefix: string;
  readonly volumeId: Uint8Array;
  readonly truth: Uint8Array;
  /** Units of each record, in the order in which they were written. */
  readonly records: readonly shapes.SegmentRecord[];
}

export interface Verdict {
  /** Verify finds it, without any key. */
  readonly isFound: boolean;
  /** It does not open, or not every block can be read. */
  readonly isRefused: boolean;
}

export async function buildSubject(): Promise<TamperSubject> {
  const store = new MemoryStore();
  const anchor = new MemoryAnchor();
  const environment: VolumeEnvironment = {
    store,
    anchor,
    clock: systemClock,
    random,
    sealer: nodeSealer,
    tuning: { segmentBytesMax: 128 * 1024 },
  };
  const created = await createVolume(environment, {
    size: volumeBytes,
    protection: 'sealed',
    durability: 'anchored',
    keySource,
  });
  const volumeId = fromHex(created.volumeId, 16)!;
  const prefix = volumePrefix(volumeId);
  const truth = new Uint8Array(volumeBytes);
  const records: shapes.SegmentRecord[] = [];
  const volume = await openVolume(environment, { volumeId, keySource });
  const writer = new Writer(volume, truth, records);
  await writer.writeAll([0, 8, 3, 1]);
  await volume.checkpoint();
  const older = await captureImage(store, prefix);
  await writer.writeAll([16, 1, 8, 8]);
  await volume.addKey(createKeyFileSource({ content: random.bytes(32), random }));
  await writer.writeAll([8, 8, 3, 8, 1, 1, 1, 1, 2]);
  const previous = await captureImage(store, prefix);
  await writer.writeAll([4]);
  const image = await captureImage(store, prefix);
  const state = await anchor.read(volumeId);
  assert(state !== undefined && image.spool.size === 2);
  return { image, older, previous, anchor: state, prefix, volumeId, truth, records };
}

class Writer {
  readonly #volume: Volume;
  readonly #truth: Uint8Array;
  readonly #records: shapes.SegmentRecord[];
  #next = 0;

  constructor(volume: Volume, truth: Uint8Array, records: shapes.SegmentRecord[]) {
    this.#volume = volume;
    this.#truth = truth;
    this.#records = records;
  }

  /** One record each: so many blocks, from a place aligned for large units; 0 is a record without data. */
  async writeAll(counts: readonly number[]): Promise<void> {
    for (const count of counts) {
      const offset = this.#next * 16 * block;
      this.#next++;
      if (count === 0) await this.#volume.zero(offset, 4 * block, false, false);
      else {
        const content = random.bytes(count * block);
        this.#truth.set(content, offset);
        await this.#volume.write(offset, content.length, Region.from(content), 0, false);
      }
      await this.#volume.flush();
      const large = Math.floor(count / 8);
      this.#records.push({
        units: [
          ...Array.from({ length: large }, () => 8 * block + 16),
          ...Array.from({ length: count % 8 }, () => block + 16),
        ],
      });
    }
  }
}

/** Every field of an object or spool file of the subject. */
export function fieldsOf(subject: TamperSubject, key: string): shapes.Field[] {
  const bytes = bytesOf(subject.image, key);
  if (subject.image.spool.has(key)) return segmentFieldsOf(subject, bytes);
  switch (parseKey(key)?.kind) {
    case 'head':
      return shapes.headFields();
    case 'manifest':
      return shapes.manifestFields(bytes);
    case 'catalog':
      return shapes.catalogFields(bytes);
    case 'map':
      return shapes.mapFields(bytes);
    case 'segment':
      return segmentFieldsOf(subject, bytes);
    case undefined:
      throw new Error(`${key} is no object`);
  }
}

/** The records follow each other over all segments: the ones that fit this file are those whose magic stands where it should. */
function segmentFieldsOf({ records }: TamperSubject, bytes: Uint8Array): shapes.Field[] {
  const isRecordAt = (offset: number): boolean =>
    Buffer.from(bytes.subarray(offset, offset + 8)).toString('latin1') === 'CSNREC1\n';
  let best: readonly shapes.SegmentRecord[] = [];
  for (let first = 0; first < records.length; first++) {
    let offset = 112;
    let count = 0;
    while (first + count < records.length && isRecordAt(offset)) {
      offset += 592 + records[first + count]!.units.reduce((sum, unit) => sum + unit, 0);
      count++;
    }
    const run = records.slice(first, first + count);
    const rest = bytes.length - offset;
    const directoryBytes = 32 + run.reduce((sum, { units }) => sum + Math.max(units.length, 1) * 48, 0) + 16 + 32;
    if (rest === directoryBytes) return shapes.segmentFields(bytes, run);
    // Behind the records of an open segment lie zeroes; a run that is wrong ends among them, too, but sooner.
    if (rest >= 0 && bytes.subarray(offset).every((byte) => byte === 0) && count > best.length) best = run;
  }
  if (best.length > 0) return shapes.segmentFields(bytes, best);
  throw new Error('no run of records fits this segment');
}

/** Opens and reads the changed store in every way there is. Throws when a wrong byte or an unnamed failure comes out. */
export async function judge(
  subject: TamperSubject,
  image: StoreImage,
  anchor: AnchorState | undefined = subject.anchor,
): Promise<Verdict> {
  const { prefix, volumeId } = subject;
  const environment = async (): Promise<VolumeEnvironment> => ({
    store: await storeOf(image, prefix),
    anchor: await anchorOf(anchor),
    clock: systemClock,
    random: new SeededRandom(1),
    sealer: nodeSealer,
  });
  let isFound = false;
  try {
    isFound = (await verifyVolume(await environment(), { volumeId })).findings.length > 0;
  } catch (error) {
    checkNamed(error);
    isFound = true;
  }
  let isRefused = false;
  try {
    const volume = await openVolume(await environment(), { volumeId, keySource });
    isRefused = await readsAreRefused(volume, subject.truth);
    await volume.close();
  } catch (error) {
    checkNamed(error);
    isRefused = true;
  }
  return { isFound, isRefused };
}

/** Whether any block is refused; one that is not must be right. */
async function readsAreRefused(volume: Volume, truth: Uint8Array): Promise<boolean> {
  const target = new Region(32 * block);
  let isRefused = false;
  for (let offset = 0; offset < volumeBytes; offset += 32 * block) {
    try {
      await volume.read(offset, 32 * block, target, 0);
    } catch (error) {
      checkNamed(error);
      isRefused = true;
      continue;
    }
    assert.equal(
      Buffer.compare(target.bytes, truth.subarray(offset, offset + 32 * block)),
      0,
      `a wrong byte at ${offset}`,
    );
  }
  return isRefused;
}

function checkNamed(error: unknown): void {
  const isNamed = error instanceof CaissonError && (error.kind === 'integrity' || namedRefusals.has(error.code));
  if (!isNamed) throw new Error('not a named refusal', { cause: error });
}
