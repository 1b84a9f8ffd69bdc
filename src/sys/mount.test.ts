import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { parseMountTable, unmount } from './mount.ts';
import type { MountEntry, MountTools } from './mount.ts';

const table = [
  '25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
  '90 25 0:41 / /run/a\\040b rw,nosuid master:2 propagate_from:1 - fuse.caisson caisson rw,user_id=0',
  '91 25 7:3 /sub /data rw - xfs /dev/loop3 rw',
  '',
].join('\n');

test('the mount table is understood, optional fields and escapes included', () => {
  assert.deepEqual(parseMountTable(table), [
    { deviceNumber: '254:0', mountPoint: '/', fileSystem: 'ext4', source: '/dev/vda' },
    { deviceNumber: '0:41', mountPoint: '/run/a b', fileSystem: 'fuse.caisson', source: 'caisson' },
    { deviceNumber: '7:3', mountPoint: '/data', fileSystem: 'xfs', source: '/dev/loop3' },
  ]);
  assert.throws(
    () => parseMountTable('25 1 254:0 / / rw ext4 /dev/vda rw\n'),
    (error) => isCaissonError(error, 'format-invalid'),
  );
});

/** A system whose umount(8) answers like this; it stays mounted when the status says so. */
function toolsAnswering(status: number, errorText: string): { tools: MountTools; calls: string[] } {
  const calls: string[] = [];
  let mounted: MountEntry[] = [{ deviceNumber: '7:3', mountPoint: '/data', fileSystem: 'xfs', source: '/dev/loop3' }];
  const tools: MountTools = {
    clock: systemClock,
    readTable: () => Promise.resolve(mounted),
    run: (name, parameters) => {
      calls.push([name, ...parameters].join(' '));
      if (status === 0) mounted = [];
      return Promise.resolve({ status, output: '', errorText });
    },
  };
  return { tools, calls };
}

test('unmounting tells done, busy and failed apart', async () => {
  const good = toolsAnswering(0, '');
  assert.equal(await unmount('/data', false, good.tools), 'done');
  assert.equal(await unmount('/data', false, good.tools), 'done');
  assert.deepEqual(good.calls, ['umount -i -c /data'], 'what is not mounted needs no program');
  assert.equal(await unmount('/data', false, toolsAnswering(32, 'umount: /data: target is busy.').tools), 'busy');
  await assert.rejects(unmount('/data', true, toolsAnswering(32, 'umount: /data: strange.').tools), (error) =>
    isCaissonError(error, 'mount-failed'),
  );
});
