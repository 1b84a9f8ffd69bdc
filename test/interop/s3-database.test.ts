/**
 * PostgreSQL on a mounted volume whose objects lie on an S3 server, while daemon and database are killed
 * with SIGKILL: what it called committed is there, its checksums and its indexes are right.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MountedVolume } from '../support/mounted-volume.ts';
import { launchRadosgw, launchVersitygw, serverKeys, serverTools } from '../support/s3-servers.ts';
import type { S3Server } from '../support/s3-servers.ts';
import { mustRun, requireFile, requireTool, runTool } from '../support/tools.ts';

const limit = { timeout: 180_000 };
const configuration = `
tuning:
  segmentBytesMax: 4MiB
  checkpointBytes: 8MiB
  checkpointMilliseconds: 1000
`;
const commitsMin = 60;
const commitsMax = 100_000;
const readySecondsMax = 60;
const programsFolder = '/usr/lib/postgresql';
const user = 'postgres';

// Stopped after the daemons, which would wait for them otherwise.
const servers: S3Server[] = [];
after(async () => {
  for (const server of servers) await server.stop();
});

/** The newest of the versions that the distribution keeps beside each other. */
function programs(): string {
  const versions = fs.readdirSync(programsFolder).toSorted((left, right) => Number(right) - Number(left));
  return path.join(programsFolder, versions[0] ?? '', 'bin');
}

/** A database cluster in the mount; everything runs as the distribution's user, since PostgreSQL refuses root. */
class Database {
  readonly #t: TestContext;
  readonly #data: string;
  readonly #sockets: string;
  #postmaster: ChildProcess | undefined;

  constructor(t: TestContext, volume: MountedVolume) {
    this.#t = t;
    this.#data = path.join(volume.directory, 'cluster');
    this.#sockets = volume.home.path('sockets');
    fs.chmodSync(volume.home.folder, 0o711);
    fs.mkdirSync(this.#sockets);
  }

  async create(): Promise<void> {
    fs.mkdirSync(this.#data, { mode: 0o700 });
    await mustRun('chown', user, this.#data, this.#sockets);
    await this.run('initdb', '-k', '-A', 'trust', '-U', user, '-D', this.#data);
  }

  async start(): Promise<void> {
    const settings = ['-c', 'listen_addresses=', '-c', `unix_socket_directories=${this.#sockets}`];
    const log = fs.openSync(`${this.#sockets}.log`, 'a');
    this.#postmaster = spawn('setpriv', this.#as('postgres', '-D', this.#data, ...settings), {
      stdio: ['ignore', log, log],
    });
    fs.closeSync(log);
    this.#t.after(() => (this.#postmaster?.exitCode === null ? this.kill() : undefined));
    for (let attempt = 0; attempt < readySecondsMax * 5; attempt++) {
      if ((await runTool('setpriv', this.#as('pg_isready', '-q'), this.#options)).status === 0) return;
      await sleep(200);
    }
    assert.fail(`the database did not start: ${fs.readFileSync(`${this.#sockets}.log`, 'utf8')}`);
  }

  async run(program: string, ...parameters: string[]): Promise<string> {
    const { status, stdout, stderr } = await runTool('setpriv', this.#as(program, ...parameters), this.#options);
    assert.equal(status, 0, `${program} ended with ${status}: ${stderr}${stdout}`);
    return stdout;
  }

  begin(program: string, ...parameters: string[]): ChildProcess {
    const child = spawn('setpriv', this.#as(program, ...parameters), { env: this.#environment, stdio: 'pipe' });
    child.stdin?.on('error', () => undefined); // it ends before it has read everything
    child.stderr?.resume();
    this.#t.after(() => child.kill('SIGKILL'));
    return child;
  }

  /** Its children, too: one that waits for a lock would never notice that nobody is left to give it. */
  async kill(): Promise<void> {
    const { pid } = this.#postmaster!;
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
    const ended = new Promise((resolve) => this.#postmaster?.once('close', resolve));
    this.#postmaster?.kill('SIGKILL');
    await ended;
    for (const child of children) {
      try {
        process.kill(child, 'SIGKILL');
      } catch {
        // It went with its parent.
      }
    }
  }

  /** Cleanly; then every page's checksum is compared. */
  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#postmaster?.once('close', resolve));
    this.#postmaster?.kill('SIGINT');
    await ended;
    await this.run('pg_checksums', '--check', '-D', this.#data);
  }

  get #environment(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      LC_ALL: 'C.UTF-8',
      PGHOST: this.#sockets,
      PGUSER: user,
      PGDATABASE: user,
    };
  }

  get #options(): {
    readonly timeoutMilliseconds: number;
    readonly environment: Record<string, string>;
    folder: string;
  } {
    return { timeoutMilliseconds: 120_000, environment: this.#environment, folder: this.#sockets };
  }

  #as(program: string, ...parameters: string[]): string[] {
    const identity = [`--reuid=${user}`, `--regid=${user}`, '--init-groups', '--pdeathsig=SIGKILL'];
    return [...identity, path.join(programs(), program), ...parameters];
  }
}

/** Commits one number after the other beside pgbench; after enough of them daemon and database are killed. The last number. */
async function commitAndKill(volume: MountedVolume, database: Database, first: number): Promise<number> {
  const { pid } = await volume.status();
  const bench = database.begin('pgbench', '-n', '-c', '3', '-T', '100');
  const client = database.begin('psql', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1');
  bench.stdout?.resume();
  let last = first - 1;
  let rest = '';
  client.stdout?.on('data', (piece: Buffer) => {
    const lines = `${rest}${piece.toString()}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('committed ')) last = Number(line.substring('committed '.length));
  });
  const ended = new Promise((resolve) => client.once('close', resolve));
  const statements: string[] = [];
  for (let number = first; number < first + commitsMax; number++)
    statements.push(
      `INSERT INTO book VALUES (${number}, repeat('x', ${number % 3000}));\n\\echo committed ${number}\n`,
    );
  client.stdin?.end(statements.join(''));
  while (last < first + commitsMin && client.exitCode === null) await sleep(10);
  assert.equal(client.exitCode, null, 'the client is at work');
  process.kill(pid, 'SIGKILL');
  await database.kill();
  await ended;
  await volume.untilUnreachable();
  return last;
}

for (const [name, launch, kills] of [
  ['radosgw', launchRadosgw, 2],
  ['versitygw', launchVersitygw, 1],
] as const) {
  test(`PostgreSQL on ${name} loses no committed row in kills, and its checksums hold`, limit, async (t) => {
    if (!requireTool(t, ...serverTools[name], 'mkfs.ext4', 'e2fsck', 'nbdcopy') || !requireFile(t, programsFolder))
      return;
    const volume = MountedVolume.prepare(t);
    if (volume === undefined) return;
    const server = await launch();
    servers.push(server);
    await server.makeBucket('databases');
    const { home } = volume;
    Object.assign(home.environment, serverKeys);
    home.write('.config/caisson/config.yaml', configuration);
    const options = ['--size', '384M', '--durability', 'remote', '--key-file', home.keyFile('remote.key')];
    await home.json(['volume', 'create', volume.name, '--store', server.url('databases'), ...options]);
    await volume.mount('--mkfs', 'ext4');
    const database = new Database(t, volume);
    await database.create();
    await database.start();
    await database.run('pgbench', '-i', '-q', '-s', '2');
    await database.run('psql', '-q', '-c', 'CREATE TABLE book (number integer PRIMARY KEY, filling text)');
    let first = 1;
    for (let kill = 0; kill < kills; kill++) {
      const last = await commitAndKill(volume, database, first);
      await home.run(['umount', volume.name]);
      // The second time nothing is left of this machine but the anchor: level `remote` promises as much.
      if (kill === 1) fs.rmSync(home.path('.local/state/caisson/spools'), { recursive: true });
      await volume.mount();
      await database.start();
      const counted = await database.run('psql', '-A', '-t', '-c', 'SELECT count(*), max(number) FROM book');
      const [rows, highest] = counted.trim().split('|').map(Number);
      t.diagnostic(`committed ${last}, there ${highest}`);
      assert.equal(rows, highest, 'no row in between is missing');
      assert.ok(highest! >= last, `${last} were committed, ${highest} are there`);
      await database.run('pg_amcheck', '--install-missing', '--heapallindexed', '--database', user);
      first = highest! + 1;
    }
    await database.stop();
    await volume.unmount();
    await volume.untilUnreachable();
    const served = await home.serve([volume.name, '--read-only']);
    const image = home.path('image');
    await volume.tool('nbdcopy', served.ready.volumes[0]?.uri ?? '', image);
    await volume.tool('e2fsck', '-f', '-n', image);
    served.child.kill('SIGTERM');
    assert.equal((await served.ended).code, 0);
    assert.deepEqual((await home.json(['volume', 'verify', volume.name]))['findings'], []);
  });
}
