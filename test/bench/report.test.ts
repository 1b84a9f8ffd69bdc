/** Targets, verdicts and tables, from made-up measurements. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fillBlockBytesOf, fioJob, groups, runsOn, selectGroups } from '../../bench/jobs.ts';
import type { ServerId } from '../../bench/jobs.ts';
import type { MachineReport } from '../../bench/machine.ts';
import { fioParameters, parseFio } from '../../bench/measure.ts';
import {
  buildReport,
  markdownReport,
  markdownTable,
  missedTargets,
  plainTable,
  textReport,
} from '../../bench/report.ts';
import type { Figure, Sample } from '../../bench/report.ts';
import { figureTargets, judgeFigure, judgeRatio, ratioTargets } from '../../bench/targets.ts';

const machine: MachineReport = {
  date: '2026-01-02T03:04:05.000Z',
  commit: 'abc1234',
  cpu: 'a processor',
  cores: 2,
  memoryBytes: 2 ** 34,
  kernel: 'Linux 6',
  node: 'v26',
  peers: { fio: 'fio-3' },
};

function sample(server: ServerId, round: number, mebibytes: number, job = '4k-randread-d32'): Sample {
  const measurement = {
    bytesPerSecond: mebibytes * 2 ** 20,
    operationsPerSecond: mebibytes * 256,
    flushesPerSecond: 0,
    p50Microseconds: 10,
    p99Microseconds: 20,
    serverMicroseconds: 4.5,
    serverPercent: 100,
    othersPercent: round === 1 ? 40 : 1,
    disturbed: round === 1,
    tries: 1,
  };
  return { job, server, round, measurement };
}

const job = fioJob('randread', 4096, 32);

function report(ours: number, figures: readonly Figure[] = [], failures: readonly string[] = []) {
  const samples = [0, 1, 2].flatMap((round) => [
    sample('caisson', round, ours + round),
    sample('nbdkit-luks', round, 100 + round),
  ]);
  return buildReport(machine, { rounds: 3 }, [job], samples, figures, failures);
}

test('a target is met at its value and missed just below', () => {
  const ratio = (value: number) => ({ median: value, min: value, max: value, rounds: 1 });
  assert.equal(judgeRatio(ratioTargets, job.id, 'caisson', 'nbdkit-luks', ratio(1.4)).met, true);
  assert.equal(judgeRatio(ratioTargets, job.id, 'caisson', 'nbdkit-luks', ratio(1.399)).met, false);
  assert.deepEqual(judgeRatio(ratioTargets, job.id, 'caisson-32k', 'nbdkit-luks', ratio(9)), {
    target: undefined,
    met: undefined,
  });
  assert.equal(judgeRatio(ratioTargets, 'any job at all', 'caisson', 'caisson-none', ratio(0.79)).met, false);
  assert.equal(judgeRatio(ratioTargets, job.id, 'caisson', 'nbdkit-luks', undefined).met, undefined);
});

test('figures have upper or lower bounds', () => {
  assert.equal(judgeFigure(figureTargets, 'start-milliseconds', 300).met, true);
  assert.equal(judgeFigure(figureTargets, 'start-milliseconds', 300.1).met, false);
  assert.equal(judgeFigure(figureTargets, 'mount-1m-read-ratio', 0.49).met, false);
  assert.equal(judgeFigure(figureTargets, 'mount-1m-read-ratio', 0.5).met, true);
  assert.equal(judgeFigure(figureTargets, 'micro-anything', 1).met, undefined);
});

test('every target is about a job and servers that are measured', () => {
  for (const { job: id, ours, against } of ratioTargets) {
    const group = groups.find(({ jobs }) => jobs.some((candidate) => candidate.id === id));
    const found = group?.jobs.find((candidate) => candidate.id === id);
    assert.ok(group !== undefined && found !== undefined, `no job ${id}`);
    for (const server of [ours, against])
      assert.ok(group.servers.includes(server) && runsOn(found, server), `${id} on ${server}`);
  }
});

test('no two jobs share a name', () => {
  const ids = groups.flatMap(({ jobs }) => jobs.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
});

test('quick and only choose jobs and servers', () => {
  const quick = selectGroups(true, undefined);
  const ids = quick.flatMap(({ jobs }) => jobs.map(({ id }) => id));
  assert.deepEqual(ids, ['4k-randread-d32', '4k-randwrite-d32', '1m-read-d4', '1m-write-d4']);
  for (const { servers } of quick) assert.deepEqual(servers, ['caisson', 'nbdkit-luks', 'qemu-luks']);
  assert.deepEqual(
    selectGroups(false, /^nbdcopy-in$/).flatMap(({ jobs }) => jobs.map(({ id }) => id)),
    ['nbdcopy-in'],
  );
  assert.deepEqual(selectGroups(false, /no such job/), []);
});

test('only the sealed volume of the 32 KiB line is filled by large writes in the 4 KiB group', () => {
  const group = groups[0];
  assert.ok(group !== undefined);
  assert.equal(fillBlockBytesOf(group, 'caisson'), 4096);
  assert.equal(fillBlockBytesOf(group, 'caisson-32k'), 2 ** 20);
  assert.equal(fillBlockBytesOf(group, 'qemu-luks'), 2 ** 20);
});

test('the report has medians, ratios and marks what was disturbed', () => {
  const { jobs, ratios } = report(150);
  assert.deepEqual(
    jobs.map(({ server, mebibytesPerSecond, rounds, disturbedRounds }) => [
      server,
      mebibytesPerSecond,
      rounds,
      disturbedRounds,
    ]),
    [
      ['caisson', 151, 3, 1],
      ['nbdkit-luks', 101, 3, 1],
    ],
  );
  const [only] = ratios;
  assert.equal(ratios.length, 1);
  assert.ok(only !== undefined && only.met === true && Math.abs(only.ratio.median - 151 / 101) < 1e-9);
});

test('what is missed is named, and a failed part is missed too', () => {
  assert.deepEqual(missedTargets(report(150)), []);
  const slow: Figure = { id: 'start-milliseconds', title: 'start', value: 412, unit: 'ms' };
  const large: Figure = { id: 'open-empty-64tib-resident-bytes', title: 'memory', value: 2 ** 27, unit: 'bytes' };
  assert.deepEqual(missedTargets(report(120, [slow, large], ['disk: full'])), [
    '4k-randread-d32: caisson / nbdkit-luks is 1.20, not 1.40',
    'start-milliseconds: 412 ms, not at most 300 ms',
    'open-empty-64tib-resident-bytes: 128.0 MiB, not at most 120.0 MiB',
    'failed: disk: full',
  ]);
});

test('tables line up and escape', () => {
  const table = {
    head: ['a', 'b'],
    numbersFrom: 1,
    rows: [
      ['x|y', '1'],
      ['z', '100'],
    ],
  };
  assert.equal(plainTable(table), 'a      b\nx|y    1\nz    100');
  assert.equal(markdownTable(table), '| a | b |\n|---|--:|\n| x\\|y | 1 |\n| z | 100 |');
});

test('both forms of the report say what the peers lack, and the page where it ran', () => {
  const page = markdownReport(report(120));
  for (const text of [page, textReport(report(120))]) assert.match(text, /neither integrity nor freshness.*/);
  assert.match(page, /abc1234/);
  assert.match(page, /MISSED/);
  assert.match(page, /2 of 6 measurements were disturbed/);
});

test('fio is read behind its chatter, and its failures are', () => {
  const side = {
    io_bytes: 8192,
    total_ios: 2,
    runtime: 500,
    clat_ns: { percentile: { '50.000000': 1500, '99.000000': 9000 } },
  };
  const idle = { io_bytes: 0, total_ios: 0, runtime: 0, clat_ns: {} };
  const text = (error: number, write: typeof side) =>
    `fio: connected to NBD server\n${JSON.stringify({ jobs: [{ error, read: idle, write, sync: { total_ios: 7 } }] })}`;
  const outcome = parseFio(text(0, side));
  assert.deepEqual([outcome.bytes, outcome.operations, outcome.seconds, outcome.flushes], [8192, 2, 0.5, 7]);
  assert.deepEqual([outcome.p50Microseconds, outcome.p99Microseconds], [1.5, 9]);
  assert.throws(() => parseFio(text(5, side)), /fio failed with 5/);
  assert.throws(() => parseFio('nothing'), /fio failed/);
});

test('servers of one round get the same offsets and the same bytes', () => {
  const options = { seconds: 2, seed: 4, volumeBytes: 2 ** 30, folder: '', repeatsMax: 0, sourceFile: '' };
  const parameters = (uri: string | undefined) =>
    fioParameters(
      fioJob('randwrite', 4096, 32, { connections: 4, flushEvery: 64 }),
      { pid: 1, uri, file: '/file', stop: async () => {} },
      options,
    );
  const [one, other] = [parameters('nbd://a'), parameters('nbd://b')];
  assert.deepEqual(
    one.map((parameter) => parameter.replace('//a', '//b')),
    other,
  );
  for (const expected of ['--randseed=4', '--numjobs=4', '--fsync=64', `--io_size=${2 ** 28}`])
    assert.ok(one.includes(expected), expected);
  assert.ok(parameters(undefined).includes('--fdatasync=64'));
});
