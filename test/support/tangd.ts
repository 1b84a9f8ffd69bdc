/** A real Tang server: tangd speaks one connection on its standard input and output, and this process listens for it. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readdirSync, renameSync } from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { toolOutput } from './tools.ts';

const folderOfPrograms = '/usr/libexec';
export const tangdProgram = path.join(folderOfPrograms, 'tangd');

export class Tangd {
  readonly folder: string;
  readonly #children = new Set<ChildProcess>();
  readonly #server = net.createServer((socket) => {
    const child = spawn(tangdProgram, [this.folder], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
    for (const stream of [socket, child.stdin, child.stdout]) stream.on('error', () => undefined);
    socket.pipe(child.stdin);
    child.stdout.pipe(socket);
    socket.on('close', () => child.kill());
  });
  origin = '';

  constructor(folder: string) {
    this.folder = folder;
  }

  async start(): Promise<this> {
    await this.makeKeys();
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.origin = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  stop(): void {
    this.#server.close();
    for (const child of this.#children) child.kill();
  }

  async makeKeys(): Promise<void> {
    await toolOutput(path.join(folderOfPrograms, 'tangd-keygen'), [this.folder]);
  }

  /** Hides the keys that are there, as an administrator does, and makes new ones. */
  async rotate(): Promise<void> {
    for (const name of readdirSync(this.folder).filter((file) => !file.startsWith('.')))
      renameSync(path.join(this.folder, name), path.join(this.folder, `.${name}`));
    await this.makeKeys();
  }

  /** By `jose`, which is not our code. */
  async thumbprint(): Promise<string> {
    const thumbprints: string[] = [];
    for (const name of readdirSync(this.folder).filter((file) => !file.startsWith('.'))) {
      const file = path.join(this.folder, name);
      const key = JSON.parse(await toolOutput('jose', ['fmt', '-j', file, '-o-'])) as { alg: string };
      if (key.alg === 'ES512')
        thumbprints.push((await toolOutput('jose', ['jwk', 'thp', '-a', 'S256', '-i', file])).trim());
    }
    return thumbprints[0] ?? '';
  }

  get url(): Promise<string> {
    return this.thumbprint().then((thumbprint) => `tang:${this.origin}?thumbprint=${thumbprint}`);
  }
}
