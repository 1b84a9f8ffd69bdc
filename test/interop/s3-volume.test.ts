/** Volumes in buckets of real servers, made and served by the real command: copies, fio, file systems, kills, an outage. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { MountedVolume } from '../support/mounted-volume.ts';
import { mebibyte } from '../support/nbd-fixture.ts';
import { launchRadosgw, launchVersitygw, serverKeys, serverTools } from '../support/s3-servers.ts';
import type { S3Server } from '../support/s3-servers.ts';
import { ServedVolume } from '../support/served-volume.ts';
import { hasTools, requireTool } from '../support/tools.ts';

/** Small segments and prompt checkpoints, so that a short test publishes and fetches a lot. */
const configuration = `
tuning:
  segmentBytesMax: 2MiB
  checkpointBytes: 2MiB
  checkpointMilliseconds: 200
remote:
  cacheBytesMax: 64MiB
`;
const limit = { timeout: 240_000 };

for (const [name, launch] of [
  ['radosgw', launchRadosgw],
  ['versitygw', launchVersitygw],
] as const) {
  if (!hasTools(...serverTools[name])) {
    test(name, (t) => void requireTool(t, ...serverTools[name]));
    continue;
  }
  describe(name, () => {
    let server: S3Server;
    let volumeCount = 0;
    before(async () => {
      server = await launch();
      await server.makeBucket('volumes');
    });
    after(() => server.stop());

    const served = (t: TestContext, size: string): Promise<ServedVolume> =>
      ServedVolume.create(t, {
        size,
        configuration,
        prepareStore: async (home) => {
          Object.assign(home.environment, serverKeys);
          return server.url('volumes', `v${++volumeCount}`);
        },
      });

    test('what is copied in comes out again, cold and on a machine that has only the bucket', limit, async (t) => {
      if (!requireTool(t, 'nbdcopy')) return;
      const volume = await served(t, '48M');
      const image = volume.home.path('image');
      fs.writeFileSync(image, randomBytes(48 * mebibyte));
      await volume.tool('nbdcopy', ['--flush', image, volume.uri]);
      await volume.stop();
      assert.deepEqual(spoolFiles(volume), [], 'everything is published');
      await volume.assertSound();
      // The spool folder and the cache are gone: what follows comes from the bucket.
      fs.rmSync(volume.home.path('.local/state/caisson/spools'), { recursive: true });
      await volume.start('--read-only');
      const copy = volume.home.path('copy');
      await volume.tool('nbdcopy', [volume.uri, copy]);
      assert.equal(digestOf(copy), digestOf(image));
      await volume.stop();
    });

    test('fio verifies what it wrote, after a kill in the middle of publishing, too', limit, async (t) => {
      if (!requireTool(t, 'fio')) return;
      const volume = await served(t, '32M');
      const job = [
        ...['--name=verify', '--ioengine=nbd', `--uri=${volume.uri}`, '--rw=randwrite', '--bs=4k', '--size=32m'],
        ...['--iodepth=16', '--fsync=64', '--verify=crc32c', '--randseed=7', '--verify_state_save=0'],
      ];
      await volume.tool('fio', [...job, '--do_verify=0']);
      // The last FLUSH of fio is on its way together with the last writes, so it does not cover them.
      await volume.python('connect().flush()\n');
      await volume.kill();
      await volume.start();
      await volume.tool('fio', [...job, '--verify_only']);
      await volume.stop();
      await volume.assertSound();
    });

    test('an outage makes the volume wait, not fail', limit, async (t) => {
      if (!requireTool(t, 'fio')) return;
      const volume = await served(t, '32M');
      server.pause();
      t.after(() => server.resume());
      const writing = volume.tool('fio', [
        ...['--name=write', '--ioengine=nbd', `--uri=${volume.uri}`, '--rw=write', '--bs=256k', '--size=32m'],
        ...['--iodepth=4', '--end_fsync=1'],
      ]);
      const resumed = setTimeout(() => server.resume(), 6_000);
      await writing;
      clearTimeout(resumed);
      server.resume();
      await volume.stop();
      const { objectBytes } = await volume.assertSound();
      assert.ok(objectBytes > 32 * mebibyte);
    });

    test('ext4 on it survives a kill and is sound', limit, async (t) => {
      const url = server.url('volumes', `v${++volumeCount}`);
      const volume = await MountedVolume.create(t, '96M', 'mkfs.ext4', 'e2fsck', 'nbdcopy', 'dd', 'sync', 'cmp');
      if (volume === undefined) return;
      const { home } = volume;
      Object.assign(home.environment, serverKeys);
      home.write('.config/caisson/config.yaml', configuration);
      const key = home.keyFile('remote.key');
      await home.json(['volume', 'rm', 'data', '--yes']);
      await home.json(['volume', 'create', 'data', '--size', '96M', '--store', url, '--key-file', key]);
      const log = home.path('.local/state/caisson/logs/daemon.log');
      home.clearing.push(async () => {
        if (!t.passed) t.diagnostic(fs.readFileSync(log, 'utf8'));
      });
      await volume.mount('--mkfs', 'ext4');
      await volume.tool('dd', 'if=/dev/urandom', `of=${home.path('kept')}`, 'bs=1M', 'count=20', 'status=none');
      await volume.tool(
        'dd',
        `if=${home.path('kept')}`,
        `of=${volume.directory}/kept`,
        'bs=1M',
        'conv=fsync',
        'status=none',
      );
      await volume.tool('sync', '-f', volume.directory);
      await volume.kill();
      await home.run(['umount', 'data']);
      await volume.mount();
      await volume.tool('cmp', home.path('kept'), `${volume.directory}/kept`);
      await volume.unmount();
      await volume.untilUnreachable();
      const served = await home.serve(['data', '--read-only']);
      const image = home.path('image');
      await volume.tool('nbdcopy', served.ready.volumes[0]?.uri ?? '', image);
      await volume.tool('e2fsck', '-f', '-n', image);
      served.child.kill('SIGTERM');
      assert.equal((await served.ended).code, 0);
    });
  });
}

function spoolFiles(volume: ServedVolume): string[] {
  const folder = volume.home.path('.local/state/caisson/spools');
  return (fs.readdirSync(folder, { recursive: true }) as string[]).filter((name) => /\/spool\/./.test(name));
}

function digestOf(file: string): string {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}
