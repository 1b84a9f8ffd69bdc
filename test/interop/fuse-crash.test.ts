/** What a daemon that was killed leaves behind, and how the next unmount and mount put it right. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { open, readdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { mountVolume, umountVolume } from '../../src/daemon/mounts/mounts.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { mountFixture } from '../support/mount-fixture.ts';
import type { MountFixture } from '../support/mount-fixture.ts';

const childPath = fileURLToPath(new URL('../support/mount-child.ts', import.meta.url));

/** Starts the other daemon; resolves with its first line, when it is mounted or has killed itself. */
async function startChild(
  { directory, stateFolder }: MountFixture,
  stop: string,
): Promise<{ child: ChildProcess; line: string }> {
  const parameters = ['--disable-warning=ExperimentalWarning', childPath, directory, stateFolder, stop];
  const child = spawn(process.execPath, parameters, { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (piece: Buffer) => resolve(piece.toString()));
    child.once('exit', (code) => reject(new Error(`the child ended with ${code}`)));
  });
  return { child, line };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

async function assertNothingLeft(fixture: MountFixture, where: string): Promise<void> {
  assert.deepEqual(await fixture.leftovers(), [], where);
  assert.deepEqual(await readdir(fixture.stateFolder), [], where);
}

test('a mount whose daemon was killed is unmounted whole', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4');
  if (fixture === undefined) return;
  const { child, line } = await startChild(fixture, '');
  assert.match(line, /^mounted/);
  await writeFile(`${fixture.directory}/dirty`, 'never written back');
  await killed(child);
  assert.equal((await fixture.leftovers()).length, 3, 'a file system, a FUSE mount and a loop device are left');
  const { notes } = await umountVolume('crash', fixture.stateFolder, fixture.environment);
  assert.deepEqual(notes, []);
  await assertNothingLeft(fixture, 'after unmounting');
});

test('a dead mount that is in use is detached lazily and said so', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4');
  if (fixture === undefined) return;
  const { child } = await startChild(fixture, '');
  const handle = await open(`${fixture.directory}/held`, 'w');
  await killed(child);
  const { notes } = await umountVolume('crash', fixture.stateFolder, fixture.environment);
  assert.match(notes.join(' '), /detached lazily/);
  await handle.close().catch(() => undefined); // its content has nowhere to go
  await assert.rejects(umountVolume('crash', fixture.stateFolder, fixture.environment), (error) =>
    isCaissonError(error, 'mount-missing'),
  );
});

test('mounting after a crash clears the remains first', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4');
  if (fixture === undefined) return;
  const { directory, stateFolder, environment } = fixture;
  const { child } = await startChild(fixture, '');
  const request = {
    name: 'crash',
    device: new MemoryDevice(64 * 1024 * 1024),
    directory,
    stateFolder,
    makeFileSystem: 'ext4',
  } as const;
  await assert.rejects(
    mountVolume(request, environment),
    (error) => isCaissonError(error, 'volume-busy'),
    'the other one lives',
  );
  await killed(child);
  const mounted = await mountVolume(request, environment);
  assert.match(mounted.notes.join(' '), /crash had left behind/);
  await writeFile(`${directory}/works`, 'again');
  await umountVolume('crash', stateFolder, environment);
  await assertNothingLeft(fixture, 'after unmounting');
});

test('whichever step the crash hits, nothing is left after unmounting', { timeout: 120_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4');
  if (fixture === undefined) return;
  let crashes = 0;
  for (let call = 1; ; call++) {
    for (const moment of ['-', '+']) {
      const stop = `${call}${moment}`;
      const { child, line } = await startChild(fixture, stop);
      await killed(child);
      await umountVolume('crash', fixture.stateFolder, fixture.environment);
      await assertNothingLeft(fixture, `crash at ${stop}`);
      if (line.startsWith('mounted')) {
        assert.ok(crashes >= 8, `losetup, blkid, mkfs and mount were hit before and after, ${crashes} crashes in all`);
        return;
      }
      crashes += 1;
    }
  }
});
