/**
 * Two machines on one volume: the first one's daemon is stopped in the middle of its writes, another
 * machine (another home, another spool) takes the volume over, writes and cleans; then the first goes on.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Home } from '../support/caisson.ts';
import { serverKeys, startRadosgw } from '../support/s3-servers.ts';
import type { S3Server } from '../support/s3-servers.ts';
import { python, ServedVolume } from '../support/served-volume.ts';
import { requireFile, requireTool } from '../support/tools.ts';

const limit = { timeout: 120_000 };
/** Small segments and prompt checkpoints, so that the takeover finds objects of every kind. */
const configuration = `
tuning:
  segmentBytesMax: 1MiB
  checkpointBytes: 1MiB
  checkpointMilliseconds: 300
`;
const acknowledgedMin = 30;
const blocksPerFlush = 8;

// Stopped after the daemons, which would wait for it otherwise.
let server: S3Server | undefined;
after(() => server?.stop());

/** Eight blocks in flight, a FLUSH, the number of the batch once it was answered; so on until an error. */
const writer = `
import nbd, sys
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
batch = 0
try:
    while True:
        first = batch * ${blocksPerFlush}
        cookies = [handle.aio_pwrite((first + index).to_bytes(8, "little") * 512, (first + index) * 4096)
                   for index in range(${blocksPerFlush})]
        for cookie in cookies:
            while not handle.aio_command_completed(cookie):
                handle.poll(-1)
        handle.flush()
        batch += 1
        print(batch, flush=True)
except nbd.Error as error:
    print("refused", error.errno, flush=True)
`;

const checkBatches = (count: number): string => `
handle = connect()
for block in range(${count * blocksPerFlush}):
    assert handle.pread(4096, block * 4096) == block.to_bytes(8, "little") * 512, block
`;

interface Writer {
  acknowledged: number;
  refusal: string | undefined;
  readonly ended: Promise<unknown>;
}

function startWriter(t: TestContext, uri: string): Writer {
  const child = spawn(python, ['-c', writer, uri], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  const state: Writer = {
    acknowledged: 0,
    refusal: undefined,
    ended: new Promise((resolve) => child.once('close', resolve)).then(() => assert.equal(said, '')),
  };
  let rest = '';
  child.stdout.on('data', (piece: Buffer) => {
    const lines = `${rest}${piece.toString()}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('refused')) state.refusal = line;
      else state.acknowledged = Number(line);
    }
  });
  return state;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

test('a stalled daemon that goes on after a takeover loses nothing and damages nothing', limit, async (t) => {
  if (!requireTool(t, 'fio') || !requireFile(t, python)) return;
  server = await startRadosgw(t);
  if (server === undefined) return;
  await server.makeBucket('volumes');
  const url = server.url('volumes', 'taken');
  const prepareStore = async (home: Home): Promise<string> => {
    Object.assign(home.environment, serverKeys);
    return url;
  };
  const first = await ServedVolume.create(t, { size: '64M', durability: 'remote', configuration, prepareStore });
  const stalled = startWriter(t, first.uri);
  t.after(() => first.served.child.kill('SIGCONT'));
  await until(() => stalled.acknowledged >= acknowledgedMin || stalled.refusal !== undefined);
  first.served.child.kill('SIGSTOP');
  assert.equal(stalled.refusal, undefined);

  const second = await ServedVolume.adopt(t, { from: first, store: url, configuration, environment: serverKeys });
  const seen = stalled.acknowledged;
  await second.python(checkBatches(seen));
  const verify = [
    ...['--name=verify', '--ioengine=nbd', `--uri=${second.uri}`, '--rw=randwrite', '--bs=4k', '--offset=32m'],
    ...['--size=16m', '--iodepth=16', '--fsync=64', '--verify=crc32c', '--randseed=7', '--verify_state_save=0'],
  ];
  await second.tool('fio', [...verify, '--do_verify=0']);
  await second.tool('fio', [...verify, '--do_verify=0']);
  await second.python('connect().flush()\n');
  await second.home.json(['volume', 'clean', 'data', '--all']);

  first.served.child.kill('SIGCONT');
  await stalled.ended;
  const { acknowledged, refusal } = stalled;
  t.diagnostic(`${seen} FLUSH were answered when it stalled, ${acknowledged} in the end; then ${refusal}`);
  assert.match(refusal ?? '', /^refused (ESHUTDOWN|EIO)$/);
  const log = first.served.stderr();
  assert.match(log, /"code":"volume-fenced"|volume-fenced/, 'the daemon says why');
  const status = (await first.home.json(['status'])) as unknown as { volumes: { latched: string | null }[] };
  assert.match(status.volumes[0]?.latched ?? '', /another (process|writer|machine)|opened .*elsewhere|took over/);
  first.served.child.kill('SIGTERM');
  await first.served.ended;

  // What was answered late, as well: an answer that left before the takeover may arrive after it.
  await second.python(checkBatches(acknowledged));
  await second.tool('fio', [...verify, '--verify_only']);
  await second.stop();
  await second.assertSound();
  await second.start();
  await second.python(checkBatches(acknowledged));
  await second.stop();
});
