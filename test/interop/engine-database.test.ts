/**
 * SQLite on a mounted volume while the daemon is killed with SIGKILL. `caisson umount` and `caisson
 * mount` put the mount right; the database is intact and holds every transaction that was committed.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { MountedVolume } from '../support/mounted-volume.ts';

const transactionsMax = 20_000;

/**
 * What SQLite needs to keep a committed transaction through a loss of power, which is what the kill is
 * for the file system. In DELETE mode the commit is the removal of the journal, and only EXTRA syncs
 * the folder after it (https://sqlite.org/pragma.html#pragma_synchronous).
 */
const synchronous = { wal: 'FULL', delete: 'EXTRA' } as const;

/** The SQL of one run: each transaction prints its number once COMMIT has returned. */
function* transactions(journal: 'wal' | 'delete', first: number): Generator<string> {
  yield `.bail on\nPRAGMA journal_mode=${journal};\nPRAGMA synchronous=${synchronous[journal]};\nPRAGMA wal_autocheckpoint=50;\n`;
  yield 'CREATE TABLE IF NOT EXISTS entry (number INTEGER PRIMARY KEY, run INTEGER, filling BLOB);\n';
  yield 'CREATE INDEX IF NOT EXISTS entry_run ON entry (run, number);\n';
  for (let number = first; number < first + transactionsMax; number++) {
    yield `BEGIN; INSERT INTO entry VALUES (${number}, ${first}, randomblob(${500 + ((number * 977) % 9000)}));\n`;
    if (number % 7 === 0) yield `UPDATE entry SET filling = randomblob(700) WHERE number = ${number - 3};\n`;
    yield `COMMIT; SELECT 'committed', ${number};\n`;
  }
}

/** Runs transactions until `count` are committed, kills the daemon amid the next ones; the last number that was committed. */
async function commitAndKill(
  t: TestContext,
  volume: MountedVolume,
  journal: 'wal' | 'delete',
  first: number,
  count: number,
): Promise<number> {
  const { pid } = await volume.status();
  const database = `${volume.directory}/book.db`;
  const child = spawn('stdbuf', ['-oL', 'sqlite3', '-batch', database], { timeout: 60_000, killSignal: 'SIGKILL' });
  t.after(() => child.kill('SIGKILL'));
  child.stdin.on('error', () => undefined); // it ends before it has read everything
  child.stdin.end([...transactions(journal, first)].join(''));
  let last = 0;
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  let line = '';
  let killed = false;
  child.stdout.on('data', (piece: Buffer) => {
    const lines = `${line}${piece.toString()}`.split('\n');
    line = lines.pop() ?? '';
    for (const text of lines) if (text.startsWith('committed|')) last = Number(text.substring('committed|'.length));
    if (last < first + count || killed) return;
    killed = true;
    process.kill(pid, 'SIGKILL');
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  assert.deepEqual([killed, code === 0], [true, false], `sqlite3 is stopped by the kill, not by itself: ${said}`);
  assert.match(said, /disk I\/O error|unable to|readonly|malformed|locked/, 'it met an error of its file system');
  await volume.untilUnreachable();
  return last;
}

for (const { journal, type, size } of [
  { journal: 'wal', type: 'ext4', size: '64M' },
  { journal: 'delete', type: 'ext4', size: '64M' },
  { journal: 'wal', type: 'xfs', size: '320M' },
] as const) {
  test(`SQLite (${journal} on ${type}) loses no committed transaction in kills`, { timeout: 150_000 }, async (t) => {
    const volume = await MountedVolume.create(t, size, 'sqlite3', 'stdbuf', `mkfs.${type}`);
    if (volume === undefined) return;
    await volume.mount('--mkfs', type);
    const database = `${volume.directory}/book.db`;
    let first = 1;
    for (const count of [40, 15]) {
      const last = await commitAndKill(t, volume, journal, first, count);
      assert.ok(last >= first + count);
      if (count === 40) {
        await volume.unmount();
        await volume.mount();
      } else {
        // The other way to put it right: mounting clears what the crash had left.
        assert.match((await volume.mount()).notes.join(' '), /crash had left behind/);
      }
      assert.equal(await volume.tool('sqlite3', database, 'PRAGMA integrity_check;'), 'ok\n');
      const counted = await volume.tool('sqlite3', database, 'SELECT count(*), max(number) FROM entry;');
      const [rows, highest] = counted.trim().split('|').map(Number);
      assert.equal(rows, highest, 'no transaction in between is missing');
      assert.ok(highest! >= last, `${last} were committed, ${highest} are there`);
      t.diagnostic(`committed ${last}, there ${highest}`);
      first = highest! + 1;
    }
    await volume.unmount();
    await volume.untilUnreachable();
    assert.deepEqual((await volume.home.json(['volume', 'verify', 'data']))['findings'], []);
  });
}
