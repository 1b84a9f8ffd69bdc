/** `caisson volume move`: closed, mounted and written to, stopped, and killed in the middle. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { Home } from '../support/caisson.ts';
import { FakeS3 } from '../support/fake-s3.ts';
import { requireFile, requireRoot, requireTool, run } from '../support/tools.ts';

test('a closed volume moves, and its name leads to the new store', async (context) => {
  const home = new Home(context);
  await home.createVolume('data', '64M');
  const writerKey = async (): Promise<string> =>
    ((await home.json(['volume', 'inspect', 'data'])) as unknown as { public: { writerKey: string } }).public.writerKey;
  const before = await writerKey();
  const other = home.path('other');
  const same = await home.error(['volume', 'move', 'data', '--store', home.store]);
  assert.equal(same.code, 'argument-invalid');
  const report = await home.json(['volume', 'move', 'data', '--store', other]);
  assert.equal(report['store'], `dir:${other}`);
  assert.equal(report['sourceRemains'], false);
  assert.deepEqual(objectsIn(home.store), []);
  const after = await home.json(['volume', 'inspect', 'data']);
  assert.equal(after['store'], `dir:${other}`);
  assert.equal(await writerKey(), before);
  assert.deepEqual((await home.json(['volume', 'verify', 'data']))['findings'], []);

  const kept = await home.json(['volume', 'move', 'data', '--store', home.store, '--keep-source']);
  assert.equal(kept['sourceRemains'], true);
  assert.ok(objectsIn(other).length > 0);
  assert.deepEqual((await home.json(['volume', 'verify', 'data']))['findings'], []);
  // Back over what was kept there.
  await home.json(['volume', 'move', 'data', '--store', other]);
  assert.deepEqual((await home.json(['volume', 'verify', 'data']))['orphans'], []);
});

test('a mounted file system moves under its writer, to a folder and on to a bucket', async (context) => {
  const { home, directory } = (await mountedVolume(context)) ?? {};
  if (home === undefined || directory === undefined) return;
  const server = await FakeS3.start();
  context.after(() => server.stop());
  const writer = new FileWriter(directory);
  await writer.beside(async () => writer.reaches(20));
  const other = home.path('other');
  const report = await writer.beside(async () => home.json(['volume', 'move', 'data', '--store', other]));
  assert.equal(report['store'], `dir:${other}`);
  assert.deepEqual(objectsIn(home.store), []);
  await writer.check();
  const url = `s3://bucket/far?endpoint=http://127.0.0.1:${server.port}`;
  await writer.beside(async () => {
    await home.json(['volume', 'move', 'data', '--store', url]);
    await writer.reaches(writer.files.size + 20);
  });
  assert.deepEqual(objectsIn(other), []);
  const status = (await home.json(['status'])) as unknown as { volumes: { latched: string | null }[] };
  assert.equal(status.volumes[0]?.latched, null);
  await unmountAndCheck(context, home, directory, writer);
  const back = home.path('back');
  await home.json(['volume', 'move', 'data', '--store', back]);
  await unmountAndCheck(context, home, directory, writer);
});

test('a daemon that is killed in the middle of a move leaves a volume that can be opened and moved', async (context) => {
  const { home, directory } = (await mountedVolume(context)) ?? {};
  if (home === undefined || directory === undefined) return;
  const writer = new FileWriter(directory);
  await writer.beside(async () => writer.reaches(60));
  for (const [turn, milliseconds] of [40, 120, 250, 400].entries()) {
    if (turn > 0) await home.json(['mount', 'data', directory]);
    const { pid } = (await home.json(['status'])) as unknown as { pid: number };
    const moving = home.run(['volume', 'move', 'data', '--store', home.path(`other-${turn % 2}`)]);
    await new Promise((resolve) => setTimeout(resolve, 600 + milliseconds));
    process.kill(pid, 'SIGKILL');
    await moving;
    await run('umount', ['-l', directory]);
    await home.run(['umount', 'data']);
    const { stdout } = await home.run(['volume', 'verify', 'data', '-o', 'json']);
    assert.deepEqual((JSON.parse(stdout) as { findings: unknown[] }).findings, []);
    await home.json(['mount', 'data', directory]);
    await writer.check();
    await home.json(['umount', 'data']);
  }
  await home.json(['volume', 'move', 'data', '--store', home.path('last')]);
  await unmountAndCheck(context, home, directory, writer);
});

/** Writes small files with their digests in their names, durably, until it is told to stop. */
class FileWriter {
  readonly files = new Map<string, string>();
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Writes while `act` runs. */
  async beside<Value>(act: () => Promise<Value>): Promise<Value> {
    let isOver = false;
    const acting = act().finally(() => (isOver = true));
    acting.catch(() => undefined);
    while (!isOver) {
      const content = crypto.getRandomValues(new Uint8Array(40_000));
      const name = createHash('sha256').update(content).digest('hex');
      const file = await fs.promises.open(path.join(this.#directory, name), 'wx');
      await file.writeFile(content);
      await file.sync();
      await file.close();
      this.files.set(name, name);
      if (this.files.size > 900) await acting;
    }
    return acting;
  }

  async reaches(count: number): Promise<void> {
    while (this.files.size < Math.min(count, 900)) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Never synchronously: the bucket is in this very process. */
  async check(): Promise<void> {
    for (const name of this.files.keys()) {
      const content = await fs.promises.readFile(path.join(this.#directory, name));
      assert.equal(createHash('sha256').update(content).digest('hex'), name);
    }
  }
}

async function mountedVolume(
  context: TestContext,
): Promise<{ readonly home: Home; readonly directory: string } | undefined> {
  if (!requireRoot(context) || !requireFile(context, '/dev/fuse') || !requireTool(context, 'mkfs.ext4', 'e2fsck'))
    return undefined;
  const home = new Home(context);
  Object.assign(home.environment, { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK', AWS_REGION: 'us-east-1' });
  await home.createVolume('data', '96M');
  const directory = home.path('mnt');
  fs.mkdirSync(directory);
  home.clearing.push(() => run('umount', ['-l', directory]));
  await home.json(['mount', 'data', directory, '--mkfs', 'ext4']);
  return { home, directory };
}

/** The file system is sound and whole; mounted again if it was. */
async function unmountAndCheck(context: TestContext, home: Home, directory: string, writer: FileWriter): Promise<void> {
  await home.run(['umount', 'data']);
  const image = home.path('image');
  const served = await home.serve(['data', '--read-only']);
  const uri = served.ready.volumes[0]!.uri;
  if (requireTool(context, 'nbdcopy')) {
    const copied = await run('nbdcopy', [uri, image]);
    assert.equal(copied.status, 0, copied.output);
    const checked = await run('e2fsck', ['-fn', image]);
    assert.equal(checked.status, 0, checked.output);
  }
  await home.run(['stop']);
  await served.ended;
  assert.deepEqual((await home.json(['volume', 'verify', 'data']))['findings'], []);
  await home.json(['mount', 'data', directory]);
  await writer.check();
  await home.json(['umount', 'data']);
}

/** Names of the files in a store but for its marker. */
function objectsIn(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'caisson-store')
    .map(({ name }) => name)
    .filter((name) => !name.endsWith('.lock') && name !== 'lock');
}
