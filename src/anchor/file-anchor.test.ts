import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { anchorConformance, stateAt, volumeId } from '../../test/conformance/anchor.ts';
import { rejects } from '../../test/conformance/store.ts';
import { nodeFileSystem } from '../store/node-file-system.ts';
import { openFileAnchor } from './file-anchor.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-anchor-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
let folderCount = 0;
const newFolder = (): string => path.join(base, 'state', String(++folderCount));
const fileName = `${Buffer.from(volumeId).toString('hex')}.anchor`;

anchorConformance('file on the real file system', async () => {
  const folder = newFolder();
  return {
    open: () => openFileAnchor(nodeFileSystem, folder),
    dispose: async () => fs.rmSync(folder, { recursive: true, force: true }),
  };
});

describe('file anchor', () => {
  it('is one small file that does not grow, and nothing is left after forgetting', async () => {
    const folder = newFolder();
    const anchor = await openFileAnchor(nodeFileSystem, folder);
    for (let sequence = 0; sequence < 5; sequence++) await anchor.advance(stateAt(1, 1, sequence));
    assert.equal(fs.statSync(path.join(folder, fileName)).size, 8192);
    await anchor.forget(volumeId);
    assert.deepEqual(fs.readdirSync(folder), []);
  });

  it('one damaged slot costs at most the last advance, two are refused and stay refused', async () => {
    const folder = newFolder();
    const anchor = await openFileAnchor(nodeFileSystem, folder);
    for (let sequence = 1; sequence <= 4; sequence++) await anchor.advance(stateAt(1, 1, sequence));
    damage(path.join(folder, fileName), 100); // slot 0 holds the fourth state
    assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 3));
    damage(path.join(folder, fileName), 4096 + 100);
    await rejects(anchor.read(volumeId), 'anchor-tampered');
    await rejects(anchor.advance(stateAt(1, 1, 5)), 'anchor-tampered');
  });

  it('refuses the file of another volume, a cut one, an empty one', async () => {
    const folder = newFolder();
    const anchor = await openFileAnchor(nodeFileSystem, folder);
    const otherId = new Uint8Array(16).fill(9);
    await anchor.advance(stateAt(1, 1, 1, { volumeId: otherId }));
    const file = path.join(folder, fileName);
    fs.copyFileSync(path.join(folder, `${Buffer.from(otherId).toString('hex')}.anchor`), file);
    await rejects(anchor.read(volumeId), 'anchor-tampered');
    for (const size of [0, 4096, 8191, 9000]) {
      fs.writeFileSync(file, new Uint8Array(size));
      await rejects(anchor.read(volumeId), 'anchor-tampered');
      await rejects(anchor.advance(stateAt(1, 1, 1)), 'anchor-tampered');
    }
  });

  it("a draft that a crash left behind is no anchor and in nobody's way", async () => {
    const folder = newFolder();
    const anchor = await openFileAnchor(nodeFileSystem, folder);
    fs.writeFileSync(path.join(folder, `${fileName}.new`), 'half');
    assert.equal(await anchor.read(volumeId), undefined);
    await anchor.advance(stateAt(1, 1, 1));
    assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 1));
  });
});

function damage(file: string, position: number): void {
  const bytes = fs.readFileSync(file);
  bytes[position]! ^= 0x40;
  fs.writeFileSync(file, bytes);
}
