/** The `caisson` command with a home of its own: configuration, anchors and sockets in a scratch folder. */
import fs from 'node:fs';
import path from 'node:path';
import { run, startServer } from './processes.ts';
import type { RunningServer } from './processes.ts';

export const caissonCommand = path.join(import.meta.dirname, '..', 'bin', 'caisson');

export interface CreateVolume {
  readonly name: string;
  readonly bytes: number;
  readonly protection: 'sealed' | 'none';
  readonly durability?: 'local' | 'remote' | 'anchored';
}

/** A store that is not a folder of the home. */
export interface HomeStore {
  readonly url: string;
  /** Its credentials. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface ServedVolume {
  readonly server: RunningServer;
  readonly uri: string;
  /** From the start of the process to the moment in which it served and said so. */
  readonly readyMilliseconds: number;
}

export class CaissonHome {
  readonly folder: string;
  readonly store: string;
  readonly storeUrl: string;
  readonly environment: Readonly<Record<string, string>>;

  /** `configuration` is the text of config.yaml; it is what differs between our own servers. */
  constructor(folder: string, configuration = '', store?: HomeStore) {
    this.folder = folder;
    this.store = path.join(folder, 'store');
    this.storeUrl = store?.url ?? `dir:${this.store}`;
    const file = path.join(folder, 'configuration', 'config.yaml');
    fs.mkdirSync(path.dirname(file), { recursive: true });
    if (configuration !== '') fs.writeFileSync(file, configuration);
    this.environment = {
      ...store?.environment,
      HOME: folder,
      CAISSON_CONFIG: file,
      CAISSON_STATE: path.join(folder, 'state'),
      CAISSON_RUNTIME: path.join(folder, 'run'),
    };
  }

  get keyFile(): string {
    return path.join(this.folder, 'key');
  }

  async caisson(...parameters: string[]): Promise<string> {
    const { stdout } = await run(caissonCommand, parameters, { environment: this.environment });
    return stdout;
  }

  /** Returns the volume's id. */
  async create({ name, bytes, protection, durability }: CreateVolume): Promise<string> {
    if (!fs.existsSync(this.keyFile)) await this.caisson('key', 'generate', this.keyFile);
    const answer = await this.caisson(
      ...['volume', 'create', name, '--size', String(bytes), '--store', this.storeUrl],
      ...(durability === undefined ? [] : ['--durability', durability]),
      ...['--protection', protection, ...(protection === 'none' ? [] : ['--key-file', this.keyFile]), '-o', 'json'],
    );
    return (JSON.parse(answer) as { public: { volumeId: string } }).public.volumeId;
  }

  async serve(name: string, program = caissonCommand, leading: readonly string[] = []): Promise<ServedVolume> {
    const start = performance.now();
    const server = startServer(program, [...leading, 'serve', name, '--ready-fd', '3'], this.environment, [
      'ignore',
      'ignore',
      'pipe',
      'pipe',
    ]);
    const ready = server.child.stdio[3];
    await new Promise<void>((resolve, reject) => {
      ready?.once('data', () => resolve());
      server.child.once('close', () => reject(new Error(`caisson serve ended: ${server.errors().trim()}`)));
      server.child.once('error', reject);
    });
    const readyMilliseconds = performance.now() - start;
    const socket = path.join(this.folder, 'run', `${name}.sock`);
    return { server, uri: `nbd+unix:///${name}?socket=${socket}`, readyMilliseconds };
  }
}
