/** The command line of the benchmark. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOptions } from '../../bench/options.ts';

test('defaults, whole and quick', () => {
  const whole = parseOptions([]);
  assert.deepEqual([whole.rounds, whole.seconds, whole.volumeBytes, whole.check], [5, 2, 2 ** 30, false]);
  const quick = parseOptions(['--quick']);
  assert.deepEqual([quick.rounds, quick.seconds, quick.volumeBytes], [3, 1, 2 ** 28]);
});

test('every option is taken', () => {
  const options = parseOptions(
    ['--check', '--full', '--only', '^4k', '--rounds', '7', '--seconds', '9', '--size', '64MiB', '-o', 'json'].concat([
      '--ram-folder',
      '/a',
      '--disk-folder',
      '/b',
      '--results',
      '-',
    ]),
  );
  const { check, full, rounds, seconds, volumeBytes, json, ramFolder, diskFolder, resultsFolder } = options;
  assert.deepEqual([check, full, rounds, seconds, volumeBytes, json], [true, true, 7, 9, 2 ** 26, true]);
  assert.deepEqual([ramFolder, diskFolder, resultsFolder], ['/a', '/b', '-']);
  assert.ok(options.only?.test('4k-randread-d1'));
});

for (const [parameters, complaint] of [
  [['--rounds', '0'], /--rounds is a whole number/],
  [['--seconds', 'many'], /--seconds is a whole number/],
  [['--size', '1MiB'], /--size is at least 16MiB/],
  [['-o', 'xml'], /json or text/],
  [['--s3-server', 'minio'], /radosgw or versitygw/],
  [['--only', '('], /regular expression/],
  [['--fast'], /--fast/],
] as const) {
  test(`refused: ${parameters.join(' ')}`, () => {
    assert.throws(() => parseOptions(parameters), complaint);
  });
}
