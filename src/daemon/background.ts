/**
 * A daemon that outlives the command that started it: a session of its own, no terminal, its log in
 * the state folder. It starts with no volume, so no secret has to pass through its arguments; the
 * command then asks it over the admin socket like any other daemon.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import type { Readable } from 'node:stream';
import { CaissonError } from '../lib/errors.ts';
import type { Folders } from '../lib/folders.ts';
import { daemonReadyMillisecondsMax } from '../lib/limits.ts';
import { makePrivateFolder } from './small-files.ts';

const readyDescriptor = 3;
/** Enough for the one error that ended a failed start. */
const logTailBytes = 4096;

export async function startBackground(folders: Folders, entryPoint: string): Promise<void> {
  makePrivateFolder(folders.logs);
  const logFile = `${folders.logs}/daemon.log`;
  const log = fs.openSync(logFile, 'a', 0o600);
  const logStart = fs.fstatSync(log).size;
  try {
    const options = ['serve', '--background', '--ready-fd', String(readyDescriptor)];
    const child = spawn(process.execPath, [...process.execArgv, entryPoint, ...options], {
      detached: true,
      cwd: '/',
      stdio: ['ignore', log, log, 'pipe'],
    });
    await ready(child, () => tailOf(logFile, logStart), logFile);
    child.unref();
  } finally {
    fs.closeSync(log);
  }
}

async function ready(child: ChildProcess, tail: () => string, logFile: string): Promise<void> {
  const pipe = child.stdio[readyDescriptor] as Readable;
  let text = '';
  const outcome = await new Promise<'told' | 'ended' | 'late'>((resolve) => {
    const timer = setTimeout(() => resolve('late'), daemonReadyMillisecondsMax);
    const settle = (how: 'told' | 'ended'): void => {
      clearTimeout(timer);
      resolve(how);
    };
    child.once('error', () => settle('ended'));
    pipe.setEncoding('utf8');
    pipe.on('data', (piece: string) => (text += piece));
    pipe.once('end', () => settle(text === 'ready\n' ? 'told' : 'ended'));
    pipe.once('error', () => settle('ended'));
  });
  pipe.destroy();
  if (outcome === 'told') return;
  if (outcome === 'late') child.kill('SIGKILL');
  const why = outcome === 'late' ? `it was not ready after ${daemonReadyMillisecondsMax} ms` : tail();
  throw new CaissonError('io', 'daemon-unreachable', `the background daemon did not start: ${why}`, {
    remedy: `See ${logFile}.`,
  });
}

function tailOf(logFile: string, start: number): string {
  const bytes = fs.readFileSync(logFile).subarray(start).subarray(-logTailBytes);
  const line = bytes
    .toString('utf8')
    .trim()
    .split('\n')
    .find((text) => text.startsWith('caisson:'));
  return line?.replace(/^caisson: /, '') ?? 'it ended without a word';
}
