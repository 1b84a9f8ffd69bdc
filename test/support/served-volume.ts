/** A sealed volume on the real engine, served by the real command, which a test may kill and start again. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import type { TestContext } from 'node:test';
import { Home } from './caisson.ts';
import type { Served } from './caisson.ts';
import { runTool } from './tools.ts';
import type { ToolOptions, ToolResult } from './tools.ts';

/** The distribution's Python is the one that has libnbd's module. */
export const python = '/usr/bin/python3';

export interface ServedVolumeOptions {
  readonly size?: string;
  /** Makes the folder that the store lies in; by default one in the home. */
  readonly prepareStore?: (home: Home) => Promise<string>;
  /** What FLUSH waits for; `local` by default. */
  readonly durability?: 'local' | 'remote' | 'anchored';
  /** Lines of config.yaml. */
  readonly configuration?: string;
}

export interface AdoptOptions {
  /** Whose key opens it. */
  readonly from: ServedVolume;
  readonly store: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly configuration: string;
}

/** An extent of `base:allocation`, as nbdinfo prints it. */
export interface MapExtent {
  readonly offset: number;
  readonly length: number;
  /** 0 is data; 3 is a hole that reads as zeroes. */
  readonly type: number;
}

export class ServedVolume {
  readonly name = 'data';
  readonly home: Home;
  #served: Served | undefined;

  private constructor(home: Home) {
    this.home = home;
  }

  static async create(t: TestContext, options: ServedVolumeOptions = {}): Promise<ServedVolume> {
    const home = new Home(t, 'launcher');
    const volume = new ServedVolume(home);
    if (options.configuration !== undefined) home.write('.config/caisson/config.yaml', options.configuration);
    const store = (await options.prepareStore?.(home)) ?? home.store;
    const size = ['--size', options.size ?? '64M', '--durability', options.durability ?? 'local'];
    const key = home.keyFile();
    await home.json(['volume', 'create', volume.name, ...size, '--store', store, '--key-file', key]);
    await volume.start();
    return volume;
  }

  /** The same volume from another machine: another home, without the first one's spool and anchor. */
  static async adopt(t: TestContext, { from, store, environment, configuration }: AdoptOptions): Promise<ServedVolume> {
    const home = new Home(t, 'launcher');
    const volume = new ServedVolume(home);
    Object.assign(home.environment, environment);
    home.write('.config/caisson/config.yaml', configuration);
    const key = home.write('key', fs.readFileSync(from.home.path('key'), 'utf8'));
    const options = ['--store', store, '--key-file', key, '--accept-missing-anchor'];
    await home.json(['volume', 'adopt', volume.name, ...options]);
    await volume.start();
    return volume;
  }

  get served(): Served {
    assert.ok(this.#served !== undefined, 'the volume is served');
    return this.#served;
  }

  get uri(): string {
    const [volume] = this.served.ready.volumes;
    assert.ok(volume !== undefined);
    return volume.uri;
  }

  get socket(): string {
    return this.served.ready.volumes[0]?.socket ?? '';
  }

  async start(...options: string[]): Promise<void> {
    this.#served = await this.home.serve([this.name, ...options]);
  }

  /** As a crash: whatever only the process knew is gone. */
  async kill(): Promise<void> {
    this.served.child.kill('SIGKILL');
    await this.served.ended;
  }

  async stop(): Promise<void> {
    this.served.child.kill('SIGTERM');
    const { code, stderr } = await this.served.ended;
    assert.equal(code, 0, stderr);
  }

  /** Every block that is mapped is read, and every object checked, by the product itself. */
  async assertSound(): Promise<{ unitsChecked: number; objectBytes: number }> {
    const report = (await this.home.json(['volume', 'verify', this.name])) as unknown as {
      findings: unknown[];
      unitsChecked: number;
      objectBytes: number;
    };
    assert.deepEqual(report.findings, []);
    return report;
  }

  async map(): Promise<MapExtent[]> {
    const { stdout } = await this.tool('nbdinfo', ['--map', '--json', this.uri]);
    return JSON.parse(stdout) as MapExtent[];
  }

  /** Runs a program in the home's folder; it must succeed. */
  async tool(name: string, parameters: readonly string[], options: ToolOptions = {}): Promise<ToolResult> {
    const result = await runTool(name, parameters, {
      folder: this.home.folder,
      timeoutMilliseconds: 60_000,
      ...options,
    });
    const said = `${result.stderr}\n${result.stdout}`;
    assert.equal(result.status, 0, `${name} ${parameters.join(' ')} ended with ${result.status}:\n${said}`);
    return result;
  }

  /** Runs lines of Python that have `nbd`, and `connect()` to this volume. */
  async python(script: string): Promise<string> {
    const opening = [
      'import nbd, sys',
      'def connect():',
      '    handle = nbd.NBD()',
      '    handle.add_meta_context("base:allocation")',
      `    handle.connect_uri(${JSON.stringify(this.uri)})`,
      '    return handle',
    ];
    const { stdout } = await this.tool(python, ['-'], { input: `${opening.join('\n')}\n${script}` });
    return stdout;
  }
}

export function dataBytes(map: readonly MapExtent[]): number {
  return map.filter(({ type }) => type === 0).reduce((sum, { length }) => sum + length, 0);
}
