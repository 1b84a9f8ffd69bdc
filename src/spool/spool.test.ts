/** The group commit of the spool, against files whose syncs end when and as the test says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Region } from '../lib/region.ts';
import type { SpoolFile } from '../store/store.ts';
import { Spool } from './spool.ts';

class ManualFile {
  readonly syncs: PromiseWithResolvers<void>[] = [];
  readonly file: SpoolFile = {
    write: () => Promise.resolve(),
    writeNow: () => {},
    truncate: () => Promise.resolve(),
    sync: () => {
      const sync = Promise.withResolvers<void>();
      this.syncs.push(sync);
      return sync.promise;
    },
    reader: undefined as never,
    close: () => Promise.resolve(),
  };
}

async function microtasks(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await Promise.resolve();
}

async function spoolWithWrite(): Promise<{ spool: Spool; entry: ReturnType<Spool['begin']>; manual: ManualFile }> {
  const manual = new ManualFile();
  const spool = new Spool({ create: () => Promise.resolve(manual.file) });
  const entry = spool.begin('one');
  await entry.opened;
  spool.write(entry, 0, new Region(4096), 0, 4096, () => {});
  return { spool, entry, manual };
}

/** A commit may be asked for in any of the turns in which a failed sync becomes known. */
for (const turns of Array.from({ length: 12 }, (_, index) => index))
  test(`a commit ${turns} turns after a background sync failed does not succeed`, async () => {
    const { spool, entry, manual } = await spoolWithWrite();
    const background = assert.rejects(spool.syncFinished(entry), { code: 'store-io' });
    await microtasks(5);
    manual.syncs[0]?.reject(new Error('EIO'));
    await microtasks(turns);
    await assert.rejects(spool.commit());
    await background;
    assert.equal(manual.syncs.length, 1);
  });

for (const turns of Array.from({ length: 12 }, (_, index) => index))
  test(`a commit ${turns} turns after another commit's sync failed does not succeed`, async () => {
    const { spool, entry, manual } = await spoolWithWrite();
    const first = assert.rejects(spool.commit());
    await microtasks(5);
    const waiting = assert.rejects(spool.syncFinished(entry));
    manual.syncs[0]?.reject(new Error('EIO'));
    await microtasks(turns);
    await assert.rejects(spool.commit());
    await Promise.all([first, waiting]);
  });

test('one commit shares the background sync that covers its writes', async () => {
  const { spool, entry, manual } = await spoolWithWrite();
  const background = spool.syncFinished(entry);
  await microtasks(5);
  const commit = spool.commit();
  await microtasks(5);
  manual.syncs[0]?.resolve();
  await Promise.all([background, commit]);
  assert.equal(manual.syncs.length, 1);
  assert.equal(spool.syncCount, 1);
});
