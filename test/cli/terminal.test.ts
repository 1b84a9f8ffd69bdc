/** Questions on a terminal, asked through a pseudo-terminal that Python makes. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Home } from '../support/caisson.ts';
import { requireTool } from '../support/tools.ts';

const entry = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Runs the command on a terminal of its own; answers each question as it comes; prints all that was shown. */
const driver = `
import json, os, pty, sys
command, answers = json.loads(sys.argv[1]), json.loads(sys.argv[2])
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
shown = b''
seen = 0
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    while answers and answers[0][0].encode() in shown[seen:]:
        seen = shown.index(answers[0][0].encode(), seen) + len(answers[0][0])
        os.write(terminal, answers.pop(0)[1].encode())
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps([code, shown.decode()]))
`;

function onTerminal(
  home: Home,
  args: readonly string[],
  answers: readonly [string, string][],
): Promise<[number, string]> {
  const command = JSON.stringify([process.execPath, '--disable-warning=ExperimentalWarning', entry, ...args]);
  return new Promise((resolve, reject) => {
    const child = spawn('python3', ['-c', driver, command, JSON.stringify(answers)], {
      env: home.environment,
      cwd: home.folder,
      timeout: 60_000,
    });
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => (output += piece));
    child.stderr.setEncoding('utf8').on('data', (piece: string) => (errors += piece));
    child.once('error', reject);
    child.once('close', () => {
      try {
        resolve(JSON.parse(output) as [number, string]);
      } catch {
        reject(new Error(`the driver failed: ${errors}`));
      }
    });
  });
}

test('a new passphrase is asked for twice, without echo, and opens the volume afterwards', async (context) => {
  if (!requireTool(context, 'python3')) return;
  const home = new Home(context);
  const create = ['volume', 'create', 'data', '--size', '1M', '--store', home.store];
  const [code, shown] = await onTerminal(home, create, [
    ['New passphrase for data: ', 'sesämeX\u007f open\r'],
    ['again: ', 'sesämeY\u007f open\r'],
  ]);
  assert.equal(code, 0, shown);
  assert.doesNotMatch(shown, /ses|open\r/);
  assert.match(shown, /created data/);
  const opened = await home.json(['volume', 'inspect', 'data', '--passphrase-fd', '0'], 'sesäme open\n');
  assert.notEqual(opened['sealed'], null);
  const [wrong, refusal] = await onTerminal(
    home,
    ['volume', 'inspect', 'data', '--unlock'],
    [['Passphrase of data: ', 'guess\r']],
  );
  assert.equal(wrong, 4, refusal);
  assert.doesNotMatch(refusal, /guess/);
});

test('two that differ, none at all, and a change of mind', async (context) => {
  if (!requireTool(context, 'python3')) return;
  const home = new Home(context);
  const create = ['volume', 'create', 'data', '--size', '1M', '--store', home.store];
  const [differ, message] = await onTerminal(home, create, [
    ['data: ', 'one\r'],
    ['again: ', 'two\r'],
  ]);
  assert.equal(differ, 2, message);
  assert.match(message, /differ/);
  assert.equal((await onTerminal(home, create, [['data: ', '\r']]))[0], 2);
  assert.equal((await onTerminal(home, create, [['data: ', 'half\u0003']]))[0], 130);
  assert.deepEqual((await home.json(['volume', 'ls']))['volumes'], []);
});

test('what destroys asks for the name', async (context) => {
  if (!requireTool(context, 'python3')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const [declined] = await onTerminal(home, ['volume', 'rm', 'data'], [['to go on: ', 'date\r']]);
  assert.equal(declined, 130);
  const noTerminal = await home.error(['volume', 'rm', 'data']);
  assert.deepEqual([noTerminal.exit, noTerminal.code], [2, 'argument-invalid']);
  const [removed, shown] = await onTerminal(home, ['volume', 'rm', 'data'], [['to go on: ', 'data\r']]);
  assert.equal(removed, 0, shown);
  assert.deepEqual((await home.json(['volume', 'ls']))['volumes'], []);
});

test('a restore and an erasure ask for the name and say what is lost', async (context) => {
  if (!requireTool(context, 'python3')) return;
  const home = new Home(context);
  await home.createVolume('data');
  await home.json(['snapshot', 'create', 'data', 'monday']);
  const restore = ['snapshot', 'restore', 'data', 'monday'];
  const [declined, question] = await onTerminal(home, restore, [['to go on: ', 'monday\r']]);
  assert.equal(declined, 130);
  assert.match(question, /written to data since monday will be lost/);
  const [restored, again] = await onTerminal(home, restore, [['to go on: ', 'data\r']]);
  assert.equal(restored, 0, again);
  assert.match(again, /data is again as it was at monday/);
  const file = home.path('receipt.json');
  const erase = ['volume', 'erase', 'data', '--receipt', file];
  assert.equal((await onTerminal(home, erase, [['to go on: ', '\r']]))[0], 130);
  assert.ok(!fs.existsSync(file));
  const [erased, shown] = await onTerminal(home, erase, [['to go on: ', 'data\r']]);
  assert.equal(erased, 0, shown);
  assert.match(shown, /The keys of data .* will be destroyed/);
  assert.match(shown, /erased data: its keys are destroyed/);
});

test('the passphrase is asked for again where an open volume is opened once more', async (context) => {
  if (!requireTool(context, 'python3')) return;
  const home = new Home(context);
  const secret = home.write('secret', 'correct horse\n');
  const create = ['volume', 'create', 'data', '--size', '1M', '--store', home.store, '--passphrase-fd', '0'];
  await home.json(create, 'correct horse\n');
  await home.serve(['data', '--passphrase-file', secret]);
  // The daemon has it open, so that needs none.
  await home.json(['snapshot', 'create', 'data', 'monday']);
  const nobody = await home.error(['attach', 'data@monday']);
  assert.deepEqual([nobody.exit, nobody.code], [4, 'key-source-unavailable']);
  const [wrong] = await onTerminal(home, ['attach', 'data@monday'], [['Passphrase of data: ', 'guess\r']]);
  assert.equal(wrong, 4);
  const [attached, shown] = await onTerminal(home, ['attach', 'data@monday'], [['of data: ', 'correct horse\r']]);
  assert.equal(attached, 0, shown);
  const [cloned, answer] = await onTerminal(
    home,
    ['volume', 'clone', 'data', 'test'],
    [['of data: ', 'correct horse\r']],
  );
  assert.equal(cloned, 0, answer);
  await home.json(['volume', 'inspect', 'test', '--passphrase-fd', '0'], 'correct horse\n');
});

test('a check shows a bar on a terminal', async (context) => {
  if (!requireTool(context, 'python3')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const [code, shown] = await onTerminal(home, ['volume', 'verify', 'data'], []);
  assert.equal(code, 0, shown);
  assert.match(shown, /verifying data ━+ 100 %/);
  assert.match(shown, /data is sound/);
});
