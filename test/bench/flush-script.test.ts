/** What fio replays: the same for every server, one FLUSH after so many writes, nothing outside the volume. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flushScript, isScripted } from '../../bench/flush-script.ts';
import { fioJob, jobBytesMax } from '../../bench/jobs.ts';

const volumeBytes = 2 ** 28;
const options = { seed: 3, volumeBytes };

interface Request {
  readonly action: string;
  readonly offset: number;
  readonly length: number;
}

function requestsOf(script: string): Request[] {
  const lines = script.trimEnd().split('\n');
  assert.deepEqual(lines.slice(0, 3), ['fio version 2 iolog', 'volume add', 'volume open']);
  assert.equal(lines.at(-1), 'volume close');
  return lines.slice(3, -1).map((line) => {
    const [, action = '', offset, length] = line.split(' ');
    return { action, offset: Number(offset), length: Number(length) };
  });
}

for (const job of [
  fioJob('randwrite', 4096, 32, { flushEvery: 32 }),
  fioJob('randwrite', 4096, 32, { flushEvery: 64, connections: 4 }),
  fioJob('write', 131_072, 32, { flushEvery: 64 }),
])
  test(`${job.id}: as many writes as the job has, a FLUSH after every ${job.flushEvery}`, () => {
    const requests = requestsOf(flushScript(job, options, 0));
    const writes = requests.filter(({ action }) => action === 'write');
    assert.equal(writes.length * job.blockBytes * job.connections, jobBytesMax(job));
    for (const [index, { action }] of requests.entries())
      assert.equal(action, index % (job.flushEvery + 1) === job.flushEvery ? 'sync' : 'write');
    for (const { offset, length } of writes) {
      assert.equal(length, job.blockBytes);
      assert.ok(offset % length === 0 && offset + length <= volumeBytes, String(offset));
    }
  });

test('a seed gives the same requests, another seed and another connection give others', () => {
  const job = fioJob('randwrite', 4096, 32, { flushEvery: 32, connections: 2 });
  const script = flushScript(job, options, 0);
  assert.equal(flushScript(job, options, 0), script);
  assert.notEqual(flushScript(job, { ...options, seed: 4 }, 0), script);
  assert.notEqual(flushScript(job, options, 1), script);
});

test('random writes reach the whole volume', () => {
  const job = fioJob('randwrite', 4096, 32, { flushEvery: 32 });
  const tenths = new Set(
    requestsOf(flushScript(job, options, 0)).map(({ offset }) => Math.floor((offset / volumeBytes) * 10)),
  );
  assert.equal(tenths.size, 10);
});

test('only jobs with a queue are written out', () => {
  assert.ok(isScripted(fioJob('randwrite', 4096, 32, { flushEvery: 32 })));
  assert.ok(!isScripted(fioJob('randwrite', 4096, 1, { flushEvery: 1 })));
  assert.ok(!isScripted(fioJob('randwrite', 4096, 32)));
});
