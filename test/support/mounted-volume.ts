/** A volume mounted by `caisson mount`. Nothing here looks into the mount except child processes with a time limit. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Home } from './caisson.ts';
import { abortMountsBelow, leftoversBelow } from './mount-guard.ts';
import { requireFile, requireRoot, requireTool, runTool } from './tools.ts';

export class MountedVolume {
  readonly name = 'data';
  readonly home: Home;
  readonly directory: string;

  private constructor(home: Home) {
    this.home = home;
    this.directory = home.path('mnt');
  }

  /** Undefined after the test was marked as skipped. The volume is not mounted yet. */
  static async create(t: TestContext, size: string, ...tools: string[]): Promise<MountedVolume | undefined> {
    const volume = MountedVolume.prepare(t, ...tools);
    await volume?.home.createVolume(volume.name, size);
    return volume;
  }

  /** The same before there is a volume. */
  static prepare(t: TestContext, ...tools: string[]): MountedVolume | undefined {
    if (!requireRoot(t) || !requireFile(t, '/dev/fuse') || !requireFile(t, '/dev/loop-control')) return undefined;
    if (!['mount', 'umount', 'losetup', 'blkid', ...tools].every((name) => requireTool(t, name))) return undefined;
    const home = new Home(t, 'launcher');
    const volume = new MountedVolume(home);
    home.clearing.push(() => volume.#clear());
    mkdirSync(volume.directory);
    return volume;
  }

  async mount(...options: string[]): Promise<{ notes: string[]; fileSystem: string }> {
    return (await this.home.json(['mount', this.name, this.directory, ...options])) as never;
  }

  /** Ends the daemon, too, which the mount had started. */
  async unmount(): Promise<{ notes: string[] }> {
    const unmounted = await this.home.json(['umount', this.name]);
    assert.deepEqual(await leftoversBelow(this.home.folder), []);
    return unmounted as never;
  }

  async status(): Promise<{ pid: number; volumes: { uri: string }[] }> {
    return (await this.home.json(['status'])) as never;
  }

  async kill(): Promise<void> {
    const { pid } = await this.status();
    process.kill(pid, 'SIGKILL');
    await this.untilUnreachable();
  }

  /** After an unmount or a kill: the daemon is gone, and its locks with it. */
  async untilUnreachable(): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt++) {
      const { code, stderr } = await this.home.run(['status', '-o', 'json']);
      if (code !== 0 && stderr.includes('daemon-unreachable')) return;
      await sleep(50);
    }
    assert.fail('the daemon did not end');
  }

  /** Runs a program that may look into the mount; it must succeed. */
  async tool(name: string, ...parameters: string[]): Promise<string> {
    const options = { folder: this.home.folder, timeoutMilliseconds: 60_000 };
    const { status, stdout, stderr } = await runTool(name, parameters, options);
    assert.equal(status, 0, `${name} ${parameters.join(' ')} ended with ${status}: ${stderr} ${stdout}`);
    return stdout;
  }

  /** After `caisson stop`: what a test that failed half-way, or a fault of ours, has left is taken away by force. */
  async #clear(): Promise<void> {
    if ((await leftoversBelow(this.home.folder)).length === 0) return;
    await abortMountsBelow(this.home.folder);
    this.#killDaemon();
    let stuck = await leftoversBelow(this.home.folder);
    // A loop device lets go of its file when the kernel has closed what was detached lazily.
    for (let attempt = 0; stuck.length > 0 && attempt < 100; attempt++) {
      await sleep(50);
      stuck = await leftoversBelow(this.home.folder);
    }
    // The folder must not be emptied through a mount that is still there.
    if (stuck.length > 0) throw new Error(`still mounted after the test: ${stuck.join(', ')}`);
  }

  /** Also one that answers no more; its number is looked up where the mount notes its owner. */
  #killDaemon(): void {
    const record = this.home.path('.local/state/caisson/mounts', `${this.name}.json`);
    if (!existsSync(record)) return;
    const { owner } = JSON.parse(readFileSync(record, 'utf8')) as { owner: { pid: number } };
    if (environmentOf(owner.pid).includes(`HOME=${this.home.folder}\0`)) process.kill(owner.pid, 'SIGKILL');
  }
}

/** Empty for a process that has ended, also when nobody has waited for it yet. */
function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    return '';
  }
}
