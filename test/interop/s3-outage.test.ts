/**
 * The real daemon while its S3 server answers nothing but 503, 429 and 500 for a while: clients that
 * write wait, clients that read what the cache holds do not, and the daemon stays as small as it was.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { uploadPendingBytesMax } from '../../src/lib/limits.ts';
import { FakeS3 } from '../support/fake-s3.ts';
import type { Fault } from '../support/fake-s3.ts';
import { mebibyte } from '../support/nbd-fixture.ts';
import { python, ServedVolume } from '../support/served-volume.ts';
import { requireFile, requireTool } from '../support/tools.ts';

const limit = { timeout: 120_000 };
const outageMilliseconds = 8_000;
const residentBytesMax = 256 * mebibyte;
/** More than may wait for the server. */
const writtenBytes = uploadPendingBytesMax + 96 * mebibyte;
const configuration = `
tuning:
  segmentBytesMax: 4MiB
`;

let server: FakeS3 | undefined;
// After the daemon, which would wait for it otherwise.
after(() => server?.stop());

test('a daemon sits out an outage: writers wait, cached reads go on, memory is bounded', limit, async (t) => {
  if (!requireTool(t, 'fio') || !requireFile(t, python)) return;
  const s3 = (server = await FakeS3.start());
  const volume = await ServedVolume.create(t, {
    size: '512M',
    durability: 'remote',
    configuration,
    prepareStore: async (home) => {
      Object.assign(home.environment, { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' });
      return `s3://bucket/outage?endpoint=http://127.0.0.1:${s3.port}`;
    },
  });
  await volume.python('handle = connect(); handle.pwrite(b"c" * 1048576, 0); handle.flush()');
  await volume.stop();
  await volume.start();
  const readCached = 'handle = connect(); assert handle.pread(4096, 65536) == b"c" * 4096; handle.shutdown()';
  await volume.python(readCached);

  let isDown = true;
  const answers = [
    [503, 'SlowDown'],
    [429, 'TooManyRequests'],
    [500, 'InternalError'],
  ] as const;
  let turn = 0;
  for (const [index, [status, code]] of answers.entries()) {
    const fault: Fault = { kind: 'answer', status, code };
    const isItsTurn = (): boolean => {
      s3.requests.length = 0; // which hold the bodies of all requests
      if (index === 0) turn = (turn + 1) % answers.length;
      return isDown && index === turn;
    };
    s3.inject(isItsTurn, fault, Infinity);
  }
  let hasWritten = false;
  const job = ['--name=write', '--ioengine=nbd', `--uri=${volume.uri}`, '--rw=write', '--bs=1m', '--iodepth=4'];
  const range = ['--offset=64m', `--size=${writtenBytes}`, '--end_fsync=1'];
  const writing = volume
    .tool('fio', [...job, ...range], { timeoutMilliseconds: 90_000 })
    .then(() => (hasWritten = true));
  const until = performance.now() + outageMilliseconds;
  let reads = 0;
  // At least a few, however slow they are: that they end shows that they do not wait for the store.
  while (performance.now() < until || reads < 4) {
    await volume.python(readCached);
    reads++;
    await sleep(200);
  }
  assert.equal(hasWritten, false, 'the writer waits');
  const stored = [...s3.objects.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert.ok(stored < 8 * mebibyte, 'nothing got through');
  isDown = false;
  await writing;
  const resident = Number(
    /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${volume.served.child.pid}/status`, 'utf8'))?.[1],
  );
  t.diagnostic(`${reads} reads meanwhile, at most ${(resident / 1024).toFixed(0)} MiB resident`);
  assert.ok(resident * 1024 < residentBytesMax, `${resident} KiB were resident`);
  const status = (await volume.home.json(['status'])) as unknown as { volumes: { latched: string | null }[] };
  assert.equal(status.volumes[0]?.latched, null);
  await volume.stop();
  const { unitsChecked } = await volume.assertSound();
  assert.ok(unitsChecked > 0);
});
