/**
 * The demo itself, step by step; each fills its part of the report. A step that cannot show what it
 * claims throws, and nothing after it runs.
 *
 * `sabotage` makes one step break its own promise, so that tests can see the demo fail: a demo that
 * cannot fail shows nothing.
 */
import fs from 'node:fs/promises';
import type { BenchReport } from '../../admin/schema.ts';
import { CaissonError } from '../../lib/errors.ts';
import { formatBytes } from '../../lib/sizes.ts';
import { check, checkSound, flipByte, rollBack } from './attacks.ts';
import { hasEnded } from './caisson.ts';
import { countLostRecords, loadUntilKilled } from './load.ts';
import type { LoadReport } from './load.ts';
import { ratesOf } from './report.ts';
import type { DemoReport, WayName } from './report.ts';
import { searchStore } from './search.ts';
import type { Steps } from './steps.ts';
import { hashOf, prepareTree } from './tree.ts';
import type { Tree } from './tree.ts';
import { createBuiltInWay } from './way-built-in.ts';
import { createMountWay } from './way-mount.ts';
import { createNbdWay } from './way-nbd.ts';
import { afterMount, chooseWay, volumeBytes } from './way.ts';
import type { Choice, OpenedVolume, VolumeName, Way, WayContext } from './way.ts';
import type { Workspace } from './workspace.ts';

export type Sabotage = 'files' | 'search' | 'flip' | 'old-copy';

export const stepCount = 9;
const engineSeconds = '0.3';
const volumeNames: readonly VolumeName[] = ['sealed', 'plain'];
/** What a mount that this machine does not allow is refused with. */
const noMountCodes: ReadonlySet<string> = new Set([
  'mount-failed',
  'tool-missing',
  'permission-missing',
  'unsupported',
]);

export interface ScenarioOptions {
  readonly way: WayName | undefined;
  readonly sabotage: Sabotage | undefined;
  readonly filesMax: number;
  readonly signal: AbortSignal;
}

export class Scenario {
  readonly #workspace: Workspace;
  readonly #steps: Steps;
  readonly #options: ScenarioOptions;
  readonly #report: DemoReport;
  readonly #seconds = { writeSealed: 0, writePlain: 0, readSealed: 0 };

  constructor(workspace: Workspace, steps: Steps, options: ScenarioOptions, report: DemoReport) {
    this.#workspace = workspace;
    this.#steps = steps;
    this.#options = options;
    this.#report = report;
  }

  async run(): Promise<void> {
    const steps = this.#steps;
    const choice = chooseWay(this.#options.way);
    const tree = await this.#collect();
    await this.#step('create', 'Create a sealed volume, and an unprotected one to compare', () => this.#create());
    const way = await this.#fill(tree, choice);
    let load: LoadReport = { acknowledgedRecords: 0, bulkWrites: 0 };
    await this.#step('kill', 'Kill the daemon with -9 while it writes', async () => {
      load = await this.#kill(way);
      return `${load.acknowledgedRecords} writes were acknowledged as durable, ${load.bulkWrites} MiB were on their way`;
    });
    await this.#step('recover', 'Recover, and check every file', () => this.#recover(way, tree, load));
    await this.#step('search', 'Search the store for the plaintext', () => this.#search(tree));
    await this.#step('flip', 'Change one byte in the store', () => this.#flip());
    await this.#step('rollback', 'Put an old copy of the store back', () => this.#rollBack(way));
    await steps.run('cost', 'Measure what sealing costs', () => this.#cost(way, tree));
  }

  async #step(step: string, title: string, act: () => Promise<string>): Promise<void> {
    this.#options.signal.throwIfAborted();
    await this.#steps.run(step, title, act);
    this.#options.signal.throwIfAborted();
  }

  async #collect(): Promise<Tree> {
    const collected: Tree[] = [];
    await this.#step('collect', 'Collect files', async () => {
      const tree = await prepareTree(this.#workspace.path('files'), this.#options.filesMax, this.#options.signal);
      collected.push(tree);
      this.#report.files = { count: tree.files.length, bytes: tree.bytes };
      return `${tree.files.length} files, ${formatBytes(tree.bytes)}, one with a planted secret`;
    });
    const [tree] = collected;
    if (tree === undefined) throw new CaissonError('bug', 'assertion-failed', 'no files were collected');
    return tree;
  }

  async #create(): Promise<string> {
    const { caisson } = this.#workspace;
    const key = this.#workspace.path('key');
    await caisson.json(['key', 'generate', key]);
    for (const name of volumeNames) {
      const protection = name === 'sealed' ? ['--key-file', key] : ['--protection', 'none'];
      const store = ['--store', `dir:${this.#workspace.store(name)}`];
      await caisson.json(['volume', 'create', name, '--size', String(volumeBytes), ...store, ...protection]);
    }
    return `${formatBytes(volumeBytes)} each, thin; the key is a file outside the store`;
  }

  /** Copies the files into both volumes, by the chosen way or by the next one where that is not possible. */
  async #fill(tree: Tree, choice: Choice): Promise<Way> {
    const { folder, caisson } = this.#workspace;
    const context: WayContext = { caisson, folder, tree, signal: this.#options.signal };
    let way = createWay(choice.name, context);
    await this.#step('fill', 'Copy the files in', async () => {
      let reason = choice.reason;
      let sealed: OpenedVolume;
      try {
        sealed = await this.#open(way, 'sealed', true);
      } catch (error) {
        if (way.name !== 'mount' || this.#options.way !== undefined || !isNoMount(error)) throw error;
        const next = afterMount(error.message);
        way = createWay(next.name, context);
        reason = next.reason;
        sealed = await this.#open(way, 'sealed', true);
      }
      this.#report.way = way.name;
      this.#report.wayReason = reason;
      this.#seconds.writeSealed = await secondsOf(() => sealed.putTree());
      await sealed.close();
      await fs.cp(this.#workspace.store('sealed'), this.#workspace.path('old-copy'), { recursive: true });
      const plain = await this.#open(way, 'plain', true);
      this.#seconds.writePlain = await secondsOf(() => plain.putTree());
      await plain.close();
      return `${way.description} (${reason})`;
    });
    return way;
  }

  async #kill(way: Way): Promise<LoadReport> {
    const volume = await this.#open(way, 'sealed', false);
    const kill = async (): Promise<void> => {
      process.kill(volume.pid, 'SIGKILL');
      check(await hasEnded(volume.pid), `the daemon (process ${volume.pid}) survived SIGKILL`);
    };
    try {
      return await loadUntilKilled(volume, kill, this.#options.signal);
    } finally {
      await volume.abandon();
    }
  }

  async #recover(way: Way, tree: Tree, { acknowledgedRecords }: LoadReport): Promise<string> {
    const expected = this.#options.sabotage === 'files' ? withWrongHash(tree) : tree;
    await way.clearCrash('sealed');
    const start = performance.now();
    const volume = await this.#open(way, 'sealed', false);
    const recoverySeconds = secondsSince(start);
    let changedFiles = 0;
    let lostWrites = 0;
    try {
      this.#seconds.readSealed = await secondsOf(async () => (changedFiles = await volume.countChangedFiles(expected)));
      lostWrites = await countLostRecords(volume, acknowledgedRecords);
    } finally {
      await volume.close();
    }
    const acknowledged = { acknowledgedWrites: acknowledgedRecords, lostWrites, changedFiles, recoverySeconds };
    this.#report.crash = { ...acknowledged, fileSystemCheck: 'not-run' };
    check(changedFiles === 0, `${changedFiles} of ${tree.files.length} files are not what they were`);
    check(lostWrites === 0, `${lostWrites} of ${acknowledgedRecords} acknowledged writes are lost`);
    const fileSystemCheck = await way.checkFileSystem('sealed');
    this.#report.crash = { ...acknowledged, fileSystemCheck };
    const fsck = fileSystemCheck === 'clean' ? ', fsck.ext4 finds nothing to mend' : '';
    return `all ${tree.files.length} files and all ${acknowledgedRecords} writes are there${fsck}`;
  }

  async #search(tree: Tree): Promise<string> {
    const { signal, sabotage } = this.#options;
    const searched = sabotage === 'search' ? 'plain' : 'sealed';
    const sealed = await searchStore(this.#workspace.store(searched), tree.needles, signal);
    const plain = await searchStore(this.#workspace.store('plain'), tree.needles, signal);
    const needles = tree.needles.length;
    this.#report.search = { needles, storeBytes: sealed.bytes, sealedHits: sealed.hits, plainHits: plain.hits };
    check(sealed.hits === 0, `${sealed.hits} of ${needles} pieces of plaintext were found in the sealed store`);
    check(plain.hits === needles, `only ${plain.hits} of ${needles} pieces were found in the unprotected store`);
    return `0 of ${needles} pieces in ${formatBytes(sealed.bytes)}; in the unprotected volume ${plain.hits} of ${needles}`;
  }

  async #flip(): Promise<string> {
    const { caisson } = this.#workspace;
    const flip = await flipByte(caisson, this.#workspace.store('sealed'), this.#options.sabotage !== 'flip');
    this.#report.flip = flip;
    await checkSound(caisson);
    return `refused: ${flip.keyCodes.join(', ')}; without the key: ${flip.publicCodes.join(', ')}. Put back: sound again`;
  }

  async #rollBack(way: Way): Promise<string> {
    const { caisson } = this.#workspace;
    const store = this.#workspace.store('sealed');
    const oldCopy = this.#workspace.path('old-copy');
    if (this.#options.sabotage === 'old-copy') {
      await fs.rm(oldCopy, { recursive: true });
      await fs.cp(store, oldCopy, { recursive: true });
    }
    const rollback = await rollBack(caisson, store, oldCopy, async () => {
      await (await this.#open(way, 'sealed', false)).close();
    });
    this.#report.rollback = rollback;
    await checkSound(caisson);
    return `refused: ${rollback.openCode}, although every byte of it was once right. Newest put back: sound again`;
  }

  async #cost(way: Way, tree: Tree): Promise<string> {
    const plain = await this.#open(way, 'plain', false);
    let changed = 0;
    const readPlain = await secondsOf(async () => (changed = await plain.countChangedFiles(tree)));
    await plain.close();
    check(changed === 0, `${changed} files of the unprotected volume are not what they were`);
    const args = ['bench', '--folder', this.#workspace.folder, '--seconds', engineSeconds];
    const engine = await this.#workspace.caisson.json<BenchReport>(args);
    const { writeSealed, writePlain, readSealed } = this.#seconds;
    const write = ratesOf(tree.bytes, writeSealed, writePlain);
    const read = ratesOf(tree.bytes, readSealed, readPlain);
    this.#report.cost = { write, read, engine };
    return `files written at ${write.ratio.toFixed(2)} and read at ${read.ratio.toFixed(2)} of the unsealed speed`;
  }

  async #open(way: Way, volume: VolumeName, isNew: boolean): Promise<OpenedVolume> {
    const opened = await way.open(volume, isNew);
    this.#workspace.noteDaemon(opened.pid);
    return opened;
  }
}

function createWay(name: WayName, context: WayContext): Way {
  switch (name) {
    case 'mount':
      return createMountWay(context);
    case 'nbd':
      return createNbdWay(context);
    case 'built-in':
      return createBuiltInWay(context);
  }
}

function isNoMount(error: unknown): error is CaissonError {
  return error instanceof CaissonError && noMountCodes.has(error.code);
}

async function secondsOf(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return secondsSince(start);
}

/** Never 0, which nothing can be divided by. */
function secondsSince(start: number): number {
  return Math.max(1, Math.round(performance.now() - start)) / 1000;
}

function withWrongHash(tree: Tree): Tree {
  return {
    ...tree,
    files: tree.files.map((file, index) => (index === 0 ? { ...file, hash: hashOf(new Uint8Array()) } : file)),
  };
}
