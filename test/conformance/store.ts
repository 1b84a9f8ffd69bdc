/**
 * The rules of src/store/store.ts as one suite that every store runs. The factory gives a fresh,
 * empty medium; `open` may be called several times and gives stores that share it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isCaissonError } from '../../src/lib/errors.ts';
import type { ErrorCode } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import * as paths from '../../src/store/paths.ts';
import type { ObjectReader, Store } from '../../src/store/store.ts';

export interface StoreMedium {
  open(): Promise<Store>;
  dispose(): Promise<void>;
}

export interface StoreSuiteOptions {
  /** False for a server that is known to check a condition and to write in two steps: no rule about races is run. */
  readonly isAtomic?: boolean;
}

const volumeId = Uint8Array.from({ length: 16 }, (_, index) => index);
const otherVolumeId = new Uint8Array(16).fill(0xee);
const prefix = paths.volumePrefix(volumeId);
const head = paths.headKey(prefix);
const bytesMax = 1 << 20;

export function storeConformance(
  name: string,
  factory: () => Promise<StoreMedium>,
  { isAtomic = true }: StoreSuiteOptions = {},
): void {
  const rule: Rule = (title, body, { isRace = false } = {}) => {
    if (isRace && !isAtomic) return;
    it(title, async () => {
      const medium = await factory();
      try {
        const store = await medium.open();
        await body(store, medium);
        await store.close();
      } finally {
        await medium.dispose();
      }
    });
  };

  describe(`store conformance: ${name}`, () => {
    describe('immutable objects', () => immutableRules(rule));
    describe('mutable objects', () => mutableRules(rule));
    describe('listing, removing, locking', () => commonRules(rule));
    describe('spool', () => spoolRules(rule));
  });
}

type Rule = (
  title: string,
  body: (store: Store, medium: StoreMedium) => Promise<void>,
  options?: { readonly isRace?: boolean },
) => void;

function immutableRules(rule: Rule): void {
  rule('create is visible to every store of the medium, whole', async (store, medium) => {
    const bytes = pattern(9000, 1);
    await store.create(segment(1), bytes);
    bytes.fill(0); // the store must not keep the caller's buffer
    const other = await medium.open();
    assert.deepEqual(await other.get(segment(1), bytesMax), pattern(9000, 1));
    assert.deepEqual(await other.stat(segment(1)), { key: segment(1), size: 9000 });
    await other.close();
  });

  rule('create succeeds once per key', async (store) => {
    await store.create(segment(1), pattern(10, 1));
    await rejects(store.create(segment(1), pattern(10, 2)), 'object-exists');
    assert.deepEqual(await store.get(segment(1), bytesMax), pattern(10, 1));
  });

  rule(
    'of many creates of one key exactly one wins, and its bytes stay',
    async (store, medium) => {
      const other = await medium.open();
      const results = await Promise.allSettled(
        [1, 2, 3, 4].map((seed) => (seed % 2 ? store : other).create(head, pattern(5000, seed))),
      );
      const winners = results.flatMap((result, index) => (result.status === 'fulfilled' ? [index + 1] : []));
      assert.equal(winners.length, 1);
      assert.deepEqual(await store.get(head, bytesMax), pattern(5000, winners[0]!));
      for (const result of results)
        if (result.status === 'rejected') assert.ok(isCaissonError(result.reason, 'object-exists'));
      await other.close();
    },
    { isRace: true },
  );

  rule('an empty object is an object', async (store) => {
    await store.create(segment(1), new Uint8Array(0));
    assert.equal((await store.get(segment(1), bytesMax)).length, 0);
    assert.equal((await store.stat(segment(1))).size, 0);
  });

  rule('what is missing is object-missing in every call', async (store) => {
    await rejects(store.get(segment(1), bytesMax), 'object-missing');
    await rejects(store.stat(segment(1)), 'object-missing');
    await rejects(store.open(segment(1)), 'object-missing');
    await rejects(store.getVersioned(head, bytesMax), 'object-missing');
    await rejects(store.version(head), 'object-missing');
  });

  rule('a key that is the folder of another is missing, too', async (store) => {
    await store.create(segment(1), pattern(10, 1));
    await rejects(store.get(`${prefix}segments`, bytesMax), 'object-missing');
    await rejects(store.stat(`${prefix}segments`), 'object-missing');
    await rejects(store.open(`${prefix}segments`), 'object-missing');
  });

  rule('get refuses more than bytesMax', async (store) => {
    await store.create(segment(1), pattern(100, 1));
    assert.equal((await store.get(segment(1), 100)).length, 100);
    await rejects(store.get(segment(1), 99), 'object-too-large');
  });

  rule('a reader gives exactly the range asked, at the place asked', async (store) => {
    const bytes = pattern(20_000, 3);
    await store.create(segment(1), bytes);
    const reader = await store.open(segment(1));
    assert.equal(reader.size, 20_000);
    for (const [offset, length] of [
      [0, 1],
      [0, 20_000],
      [4096, 4112],
      [19_999, 1],
      [7, 0],
    ] as const) {
      const target = new Region(20_010);
      target.bytes.fill(0xaa);
      await readEitherWay(reader, offset, length, target, 5);
      assert.deepEqual(target.bytes.subarray(5, 5 + length), bytes.subarray(offset, offset + length));
      assert.equal(target.bytes[4], 0xaa);
      assert.equal(target.bytes[5 + length], 0xaa);
    }
    await reader.close();
  });

  rule('a range beyond the end is format-invalid and names the object', async (store) => {
    await store.create(segment(1), pattern(100, 1));
    const reader = await store.open(segment(1));
    const target = new Region(4096);
    for (const [offset, length] of [
      [0, 101],
      [99, 2],
      [100, 1],
      [5000, 10],
    ] as const) {
      await assert.rejects(readEitherWay(reader, offset, length, target, 0), (error) => {
        assert.ok(isCaissonError(error, 'format-invalid'), String(error));
        assert.equal(error.details['key'], segment(1));
        return true;
      });
    }
    await reader.close();
  });

  rule(
    'an open reader outlives the removal of its object; of a remote store it says that the object is gone',
    async (store) => {
      await store.create(segment(1), pattern(100, 1));
      const reader = await store.open(segment(1));
      await store.remove(segment(1));
      const target = new Region(100);
      const reading = readEitherWay(reader, 0, 100, target, 0);
      if (store.isRemote) await rejects(reading, 'object-missing');
      else await reading;
      if (!store.isRemote) assert.deepEqual(target.bytes, pattern(100, 1));
      await reader.close();
    },
  );

  rule('many reads of one reader in flight do not mix', async (store) => {
    const bytes = pattern(64 * 4096, 9);
    await store.create(segment(1), bytes);
    const reader = await store.open(segment(1));
    const target = new Region(64 * 4096);
    await Promise.all(
      Array.from({ length: 64 }, (_, index) => reader.read(index * 4096, 4096, target, (63 - index) * 4096)),
    );
    for (let index = 0; index < 64; index++) {
      const at = (63 - index) * 4096;
      assert.deepEqual(target.bytes.subarray(at, at + 4096), bytes.subarray(index * 4096, (index + 1) * 4096));
    }
    await reader.close();
  });

  rule('keys that could leave the medium are refused', async (store) => {
    const bad = [
      '',
      'a',
      '/a/b',
      'a/../b',
      'a//b',
      'a/b/',
      'A/b',
      'a/b.c',
      'a/b\0',
      'tmp/1',
      `${prefix}lock`,
      `${prefix}spool/a`,
      `a/${'b'.repeat(300)}`,
    ];
    for (const key of bad) {
      await rejects(store.create(key, pattern(1, 1)), 'argument-invalid');
      await rejects(store.get(key, 1), 'argument-invalid');
      await rejects(store.remove(key), 'argument-invalid');
      await rejects(store.swap(key, null, pattern(1, 1)), 'argument-invalid');
    }
  });
}

function mutableRules(rule: Rule): void {
  rule('swap from null creates, and only then', async (store) => {
    const version = await store.swap(head, null, pattern(300, 1));
    await rejects(store.swap(head, null, pattern(300, 2)), 'object-changed');
    const found = await store.getVersioned(head, bytesMax);
    assert.deepEqual(found.bytes, pattern(300, 1));
    assert.equal(found.version, version);
    assert.equal(await store.version(head), version);
  });

  rule('swap of a missing object with a version is object-changed', async (store) => {
    const version = await store.swap(head, null, pattern(300, 1));
    await store.remove(head);
    await rejects(store.swap(head, version, pattern(300, 2)), 'object-changed');
    await rejects(store.get(head, bytesMax), 'object-missing');
  });

  rule('versions from swap, getVersioned and version agree and change with the bytes', async (store, medium) => {
    const other = await medium.open();
    const seen = new Set<string>();
    let version = await store.swap(head, null, pattern(300, 0));
    for (let step = 1; step <= 20; step++) {
      assert.ok(!seen.has(version), 'a version is not used for other bytes');
      seen.add(version);
      assert.equal(await other.version(head), version);
      assert.equal((await other.getVersioned(head, bytesMax)).version, version);
      version = await (step % 2 ? store : other).swap(head, version, pattern(300, step));
    }
    await other.close();
  });

  rule('a lost swap changes nothing', async (store) => {
    const first = await store.swap(head, null, pattern(300, 1));
    const second = await store.swap(head, first, pattern(300, 2));
    await rejects(store.swap(head, first, pattern(300, 3)), 'object-changed');
    assert.deepEqual(await store.getVersioned(head, bytesMax), { bytes: pattern(300, 2), version: second });
  });

  rule(
    'counters kept by swap from two stores at once lose no step',
    async (store, medium) => {
      const other = await medium.open();
      await store.swap(head, null, Uint8Array.of(0, 0xff));
      // Each writer's bytes are its own, as the contract asks.
      const add = async (through: Store, writer: number): Promise<void> => {
        for (;;) {
          const { bytes, version } = await through.getVersioned(head, bytesMax);
          try {
            await through.swap(head, version, Uint8Array.of(bytes[0]! + 1, writer));
            return;
          } catch (error) {
            if (!isCaissonError(error, 'object-changed')) throw error;
          }
        }
      };
      await Promise.all(Array.from({ length: 12 }, (_, index) => add(index % 2 ? store : other, index)));
      assert.equal((await store.get(head, bytesMax))[0], 12);
      await other.close();
    },
    { isRace: true },
  );
}

function commonRules(rule: Rule): void {
  rule('list gives the keys below a prefix, any prefix', async (store) => {
    const manifest = paths.manifestKey(prefix, 7, new Uint8Array(32));
    const elsewhere = paths.headKey(paths.volumePrefix(otherVolumeId));
    await store.create(segment(1), pattern(11, 1));
    await store.create(segment(2), pattern(12, 1));
    await store.create(manifest, pattern(13, 1));
    await store.swap(elsewhere, null, pattern(14, 1));
    const lock = await store.lock(prefix);
    await (await (await store.spool(prefix)).create('aa')).close();
    assert.deepEqual(await listed(store, ''), { [segment(1)]: 11, [segment(2)]: 12, [manifest]: 13, [elsewhere]: 14 });
    assert.deepEqual(await listed(store, prefix), { [segment(1)]: 11, [segment(2)]: 12, [manifest]: 13 });
    assert.deepEqual(await listed(store, `${prefix}seg`), { [segment(1)]: 11, [segment(2)]: 12 });
    assert.deepEqual(await listed(store, `${prefix}segments/`), { [segment(1)]: 11, [segment(2)]: 12 });
    assert.deepEqual(await listed(store, segment(2)), { [segment(2)]: 12 });
    assert.deepEqual(await listed(store, 'ff'), {});
    await lock.release();
  });

  rule('remove takes one object away; missing is not an error', async (store) => {
    await store.create(segment(1), pattern(10, 1));
    await store.create(segment(2), pattern(10, 2));
    await store.remove(segment(1));
    await store.remove(segment(1));
    await rejects(store.get(segment(1), bytesMax), 'object-missing');
    assert.deepEqual(await listed(store, prefix), { [segment(2)]: 10 });
  });

  rule('creating and removing in turn, by two stores, never meets a missing folder', async (store, medium) => {
    const other = await medium.open();
    const churn = async (through: Store, id: number): Promise<void> => {
      for (let round = 0; round < 10; round++) {
        await through.create(segment(id, 0x55), pattern(10, id));
        await through.remove(segment(id, 0x55));
      }
    };
    await Promise.all([churn(store, 1), churn(other, 2), churn(store, 3)]);
    assert.deepEqual(await listed(store, ''), {});
    await other.close();
  });

  rule('a volume has one owner, volumes do not disturb each other', async (store, medium) => {
    const other = await medium.open();
    const lock = await store.lock(prefix);
    await rejects(other.lock(prefix), 'volume-open-elsewhere');
    await rejects(store.lock(prefix), 'volume-open-elsewhere');
    const elsewhere = await other.lock(paths.volumePrefix(otherVolumeId));
    await lock.release();
    await lock.release(); // twice is not an error, and frees nobody else's lock
    const again = await other.lock(prefix);
    await lock.release();
    await rejects(store.lock(prefix), 'volume-open-elsewhere');
    await again.release();
    await elsewhere.release();
    await other.close();
  });

  rule('taking a lock leaves the objects being written by others alone', async (store, medium) => {
    const other = await medium.open();
    const writes = Array.from({ length: 10 }, (_, index) => other.create(segment(index), pattern(3000, index)));
    for (let round = 0; round < 5; round++) await (await store.lock(prefix)).release();
    await Promise.all(writes);
    for (let index = 0; index < 10; index++)
      assert.deepEqual(await store.get(segment(index), bytesMax), pattern(3000, index));
    await other.close();
  });

  rule('prefixes that are no volume are refused', async (store) => {
    for (const bad of ['', 'a/', prefix.substring(0, 32), `${prefix}x/`, '../']) {
      await rejects(store.lock(bad), 'argument-invalid');
      await rejects(store.spool(bad), 'argument-invalid');
    }
  });

  rule('a closed store refuses', async (store) => {
    await store.close();
    await rejects(store.get(head, 1), 'store-closed');
    await rejects(store.swap(head, null, pattern(1, 1)), 'store-closed');
    await store.close();
  });
}

function spoolRules(rule: Rule): void {
  rule('what is written is read back at once, by both kinds of read', async (store) => {
    const spool = await store.spool(prefix);
    const file = await spool.create('aa');
    const source = Region.from(pattern(8192, 4));
    file.writeNow(0, source, 100, 200);
    await Promise.all([file.write(200, source, 0, 4096), file.write(4296, source, 4096, 4096)]);
    const target = new Region(8192);
    await readEitherWay(file.reader, 0, 200, target, 0);
    assert.deepEqual(target.bytes.subarray(0, 200), source.bytes.subarray(100, 300));
    await readEitherWay(file.reader, 200, 8192, target, 0);
    assert.deepEqual(target.bytes, source.bytes);
    await assert.rejects(readEitherWay(file.reader, 8392, 1, target, 0), (error) =>
      isCaissonError(error, 'format-invalid'),
    );
    await file.sync();
    await file.close();
  });

  rule('names are taken once, listed with their size, removed', async (store) => {
    const spool = await store.spool(prefix);
    await filled(store, 'aa', pattern(10, 1));
    await filled(store, 'bb', pattern(20, 2));
    await rejects(spool.create('aa'), 'object-exists');
    assert.deepEqual(
      (await spool.list()).sort((a, b) => (a.key < b.key ? -1 : 1)),
      [
        { key: 'aa', size: 10 },
        { key: 'bb', size: 20 },
      ],
    );
    await spool.remove('aa');
    await spool.remove('aa');
    assert.deepEqual(await spool.list(), [{ key: 'bb', size: 20 }]);
    await rejects(spool.open('aa'), 'object-missing');
    await rejects(spool.create('../x'), 'argument-invalid');
    await rejects(spool.open('a/b'), 'argument-invalid');
  });

  rule('a published file is the object, and publishing again is success', async (store, medium) => {
    const bytes = pattern(9000, 5);
    await filled(store, 'aa', bytes);
    const spool = await store.spool(prefix);
    await spool.publish('aa', segment(1));
    await spool.publish('aa', segment(1));
    await spool.remove('aa');
    const other = await medium.open();
    assert.deepEqual(await other.get(segment(1), bytesMax), bytes);
    assert.deepEqual(await listed(other, prefix), { [segment(1)]: 9000 });
    await other.close();
  });

  rule('publishing never replaces another object', async (store) => {
    await filled(store, 'aa', pattern(10, 1));
    await store.create(segment(1), pattern(10, 2));
    const spool = await store.spool(prefix);
    await rejects(spool.publish('aa', segment(1)), 'object-exists');
    assert.deepEqual(await store.get(segment(1), bytesMax), pattern(10, 2));
    await rejects(spool.publish('bb', segment(2)), 'object-missing');
    await rejects(spool.publish('aa', '../x'), 'argument-invalid');
  });

  rule('a spool file found later is read by its name', async (store, medium) => {
    await filled(store, 'aa', pattern(5000, 6));
    const other = await medium.open();
    const reader = await (await other.spool(prefix)).open('aa');
    assert.equal(reader.size, 5000);
    const target = new Region(5000);
    await readEitherWay(reader, 0, 5000, target, 0);
    assert.deepEqual(target.bytes, pattern(5000, 6));
    await reader.close();
    await other.close();
  });

  rule("volumes do not see each other's spools", async (store) => {
    await filled(store, 'aa', pattern(10, 1));
    assert.deepEqual(await (await store.spool(paths.volumePrefix(otherVolumeId))).list(), []);
  });

  rule('a closed spool file refuses', async (store) => {
    const file = await (await store.spool(prefix)).create('aa');
    await file.close();
    const source = new Region(10);
    await rejects(file.write(0, source, 0, 10), 'store-closed');
    assert.throws(
      () => file.writeNow(0, source, 0, 10),
      (error) => isCaissonError(error, 'store-closed'),
    );
    await rejects(file.sync(), 'store-closed');
  });
}

async function filled(store: Store, name: string, bytes: Uint8Array): Promise<void> {
  const file = await (await store.spool(prefix)).create(name);
  await file.write(0, Region.from(bytes), 0, bytes.length);
  await file.sync();
  await file.close();
}

/** Ids that share the last byte share a folder. */
function segment(number: number, shard = number): string {
  const id = new Uint8Array(16).fill(number);
  id[15] = shard;
  return paths.segmentKey(prefix, id);
}

export function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8) + seed * 17) & 0xff);
}

async function listed(store: Store, listPrefix: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for await (const { key, size } of store.list(listPrefix)) {
    assert.ok(!(key in found), `${key} is listed once`);
    found[key] = size;
  }
  return found;
}

/** The way of the engine: at once if possible, else by waiting. Both must agree. */
async function readEitherWay(
  reader: ObjectReader,
  offset: number,
  length: number,
  target: Region,
  targetOffset: number,
): Promise<void> {
  if (!reader.tryRead(offset, length, target, targetOffset)) await reader.read(offset, length, target, targetOffset);
}

export async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isCaissonError(error), `a CaissonError, not ${String(error)}`);
    assert.equal(error.code, code);
    return true;
  });
}
