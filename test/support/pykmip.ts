/** A real KMIP server, PyKMIP, in a process of its own. It makes one database and one certificate policy for each folder. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isListening } from '../../src/cli/demo/ports.ts';
import { freePort, launchOnFreePorts } from './ports.ts';
import type { TlsFiles } from './tls-files.ts';

/** The system's own: its packages come from the system too. */
const python = '/usr/bin/python3';
const startMilliseconds = 60_000;

export function hasPykmip(): boolean {
  return spawnSync(python, ['-c', 'import kmip.services.server'], { timeout: startMilliseconds }).status === 0;
}

export class Pykmip {
  readonly #folder: string;
  readonly #files: TlsFiles;
  #child: ChildProcess | undefined;
  #output = '';
  port = 0;

  constructor(folder: string, files: TlsFiles) {
    this.#folder = folder;
    this.#files = files;
  }

  async start(): Promise<this> {
    return launchOnFreePorts(async () => {
      await this.stop();
      return this.#startOn(await freePort());
    });
  }

  async #startOn(port: number): Promise<this> {
    this.port = port;
    const policies = path.join(this.#folder, 'policies');
    mkdirSync(policies, { recursive: true });
    const { authority, server } = this.#files;
    const lines = {
      ...{ hostname: '127.0.0.1', port: this.port, certificate_path: server.certificate, key_path: server.key },
      ...{ ca_path: authority, auth_suite: 'TLS1.2', policy_path: policies, enable_tls_client_auth: 'True' },
      ...{ logging_level: 'WARNING', database_path: path.join(this.#folder, 'kmip.db') },
    };
    const configuration = path.join(this.#folder, 'server.conf');
    const text = Object.entries(lines).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(configuration, `[server]\n${text.join('')}`);
    const program =
      'import sys; from kmip.services.server.server import KmipServer\n' +
      `server = KmipServer(config_path=sys.argv[1], log_path=sys.argv[2])\nwith server: server.serve()`;
    const options = [configuration, path.join(this.#folder, 'server.log')];
    const child = spawn(python, ['-c', program, ...options], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (piece: string) => (this.#output += piece));
    this.#child = child;
    for (const end = Date.now() + startMilliseconds; ; await pause(50)) {
      if (await isListening(this.port)) return this;
      if (child.exitCode !== null || Date.now() > end) throw new Error(`PyKMIP did not start:\n${this.#output}`);
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    // It has a process of its own beside it, which must end with it: both are one group.
    process.kill(-child.pid, 'SIGKILL');
    await ended;
  }
}
