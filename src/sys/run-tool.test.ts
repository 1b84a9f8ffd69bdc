import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { toolOutputBytesMax } from '../lib/limits.ts';
import { runTool } from './run-tool.ts';

const clock = systemClock;

test('a program’s status and both of its streams come back', async () => {
  const result = await runTool('sh', ['-c', 'echo out; echo one >&2; echo two >&2; exit 7'], { clock });
  assert.deepEqual(result, { status: 7, output: 'out\n', errorText: 'one; two' });
});

test('a program that is missing is named with its package', async () => {
  await assert.rejects(runTool('caisson-no-such-program', [], { clock }), (error) =>
    isCaissonError(error, 'tool-missing'),
  );
});

test('a program that takes too long is killed', async () => {
  await assert.rejects(runTool('sleep', ['60'], { clock, milliseconds: 50 }), (error) =>
    isCaissonError(error, 'timeout'),
  );
});

test('a child that outlives the program does not hold up the answer', async () => {
  const { status, output } = await runTool('sh', ['-c', 'sleep 600 & echo $!'], { clock });
  assert.deepEqual([status, /^\d+\n$/.test(output)], [0, true]);
  assert.equal(process.kill(Number(output), 'SIGKILL'), true, 'it lives on');
});

test('output beyond the bound is dropped, the program still ends', async () => {
  const result = await runTool('sh', ['-c', `head -c ${toolOutputBytesMax * 3} /dev/zero`], { clock });
  assert.deepEqual([result.status, result.output.length], [0, toolOutputBytesMax]);
});

test('the caller’s environment does not reach the program', async () => {
  process.env['CAISSON_TEST_SECRET'] = 'x';
  const result = await runTool('sh', ['-c', 'echo "[$CAISSON_TEST_SECRET] $LC_ALL"'], { clock });
  assert.equal(result.output, '[] C\n');
});
