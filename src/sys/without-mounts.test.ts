import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { ToolRunner } from './run-tool.ts';
import { runTool } from './run-tool.ts';
import { withoutMounts } from './without-mounts.ts';

/** The text for the shell as it is run, where the mounts are detached by a program that names them instead. */
const shellOnly: ToolRunner = (name, parameters, options) => {
  assert.equal(name, 'unshare');
  const [, , script = '', ...rest] = parameters.slice(parameters.indexOf('--') + 1);
  return runTool('sh', ['-c', script.replace('umount -i -c -l', 'printf "<%s>" '), ...rest], options);
};

test('mount points and parameters reach the shell as they are', async () => {
  const run = withoutMounts(['/a b', '/$(id)', '/c;id'], shellOnly);
  const result = await run('printf', ['[%s]', '$HOME', '--', '`id`'], { clock: systemClock });
  assert.deepEqual(result, { status: 0, output: '</a b></$(id)></c;id>[$HOME][--][`id`]', errorText: '' });
});

test('with nothing to take away the program is run as ever', () => {
  assert.equal(withoutMounts([], runTool), runTool);
});

test('the program’s own status comes back, and one that is missing is named', async () => {
  const run = withoutMounts(['/a'], shellOnly);
  assert.equal((await run('sh', ['-c', 'exit 3'], { clock: systemClock })).status, 3);
  await assert.rejects(run('caisson-no-such-program', [], { clock: systemClock }), (error) =>
    isCaissonError(error, 'tool-missing'),
  );
});
