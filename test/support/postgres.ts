/** A PostgreSQL server of a test: a cluster in a folder of its own, on a socket there, ended with the test. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, runTool } from './tools.ts';

const programsFolder = '/usr/lib/postgresql';
const user = 'postgres';
const readyAttemptsMax = 300;

export function hasPostgres(): boolean {
  return process.getuid?.() === 0 && fs.existsSync(programsFolder);
}

export class PostgresServer {
  readonly folder: string;
  readonly #data: string;
  #postmaster: ChildProcess | undefined;

  private constructor(folder: string) {
    this.folder = folder;
    this.#data = path.join(folder, 'cluster');
  }

  /** Below `parent`, which its user has to be able to enter. */
  static async start(parent = os.tmpdir()): Promise<PostgresServer> {
    const folder = fs.mkdtempSync(path.join(parent, 'caisson-postgres-'));
    const server = new PostgresServer(folder);
    fs.mkdirSync(server.#data, { mode: 0o700 });
    const owned = await run('chown', ['-R', user, folder]);
    assert.equal(owned.status, 0, owned.output);
    const made = await server.program('initdb', '-A', 'trust', '-U', user, '-E', 'UTF8', '-D', server.#data);
    assert.equal(made.status, 0, made.stderr);
    await server.begin();
    return server;
  }

  url(database = user): string {
    return `postgresql://${user}@/${database}?host=${encodeURIComponent(this.folder)}`;
  }

  async begin(): Promise<void> {
    const settings = ['-c', 'listen_addresses=', '-c', `unix_socket_directories=${this.folder}`];
    const log = fs.openSync(path.join(this.folder, 'log'), 'a');
    this.#postmaster = spawn('setpriv', as('postgres', '-D', this.#data, ...settings), { stdio: ['ignore', log, log] });
    fs.closeSync(log);
    for (let attempt = 0; attempt < readyAttemptsMax; attempt++) {
      if ((await this.program('pg_isready', '-q', '-h', this.folder)).status === 0) return;
      await sleep(100);
    }
    assert.fail(`the server did not start: ${fs.readFileSync(path.join(this.folder, 'log'), 'utf8')}`);
  }

  async createDatabase(name: string): Promise<string> {
    await this.sql(`CREATE DATABASE ${name}`);
    return this.url(name);
  }

  async sql(text: string, database = user): Promise<string> {
    const { status, stdout, stderr } = await this.program(
      ...(['psql', '-h', this.folder, '-U', user, '-d', database, '-v', 'ON_ERROR_STOP=1', '-Atc', text] as const),
    );
    assert.equal(status, 0, stderr);
    return stdout;
  }

  /** At once, as a loss of power: sessions are cut off, nothing is written any more. */
  async stopAtOnce(): Promise<void> {
    const postmaster = this.#postmaster;
    if (postmaster === undefined || postmaster.exitCode !== null) return;
    const ended = new Promise((resolve) => postmaster.once('close', resolve));
    postmaster.kill('SIGQUIT');
    await ended;
    this.#postmaster = undefined;
  }

  async dispose(): Promise<void> {
    await this.stopAtOnce();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  program(name: string, ...parameters: string[]): ReturnType<typeof runTool> {
    return runTool('setpriv', as(name, ...parameters), { timeoutMilliseconds: 60_000, folder: this.folder });
  }
}

function as(program: string, ...parameters: string[]): string[] {
  const identity = [`--reuid=${user}`, `--regid=${user}`, '--init-groups', '--pdeathsig=SIGKILL'];
  return [...identity, path.join(programsFolder, newestVersion(), 'bin', program), ...parameters];
}

function newestVersion(): string {
  return fs.readdirSync(programsFolder).toSorted((left, right) => Number(right) - Number(left))[0] ?? '';
}
