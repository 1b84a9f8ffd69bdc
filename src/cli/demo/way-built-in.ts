/** The way that needs nothing but Node: files one behind the other on the bare volume, by the demo's own NBD client. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { blockBytes } from '../../lib/sizes.ts';
import { RawVolume } from './raw-volume.ts';
import { countChanged } from './tree-check.ts';
import type { Tree } from './tree.ts';
import type { OpenedVolume, VolumeName, Way, WayContext } from './way.ts';

export function createBuiltInWay(context: WayContext): Way {
  return {
    name: 'built-in',
    description: 'over NBD by a client of its own, the files one behind the other on the bare volume',
    open: (volume) => openBareVolume(context, volume),
    clearCrash: async () => undefined,
    checkFileSystem: async () => 'not-run',
  };
}

async function openBareVolume({ caisson, tree, signal }: WayContext, volume: VolumeName): Promise<OpenedVolume> {
  const raw = await RawVolume.open(caisson, volume);
  const offsets = offsetsOf(tree);
  return {
    pid: raw.pid,
    putRecord: (index, bytes) => raw.putRecord(index, bytes),
    readRecord: (index, bytes) => raw.readRecord(index, bytes),
    putBulk: (index, bytes) => raw.putBulk(index, bytes),
    close: () => raw.close(),
    abandon: () => raw.abandon(),
    putTree: async () => {
      for (const [index, { name }] of tree.files.entries()) {
        signal.throwIfAborted();
        const bytes = await fs.readFile(path.join(tree.folder, name));
        if (bytes.length > 0) await raw.client.write(offsets[index] ?? 0, bytes);
      }
      await raw.client.flush();
    },
    countChangedFiles: (expected) =>
      countChanged(expected, signal, async ({ bytes }, index) =>
        bytes === 0 ? new Uint8Array() : raw.client.read(offsets[index] ?? 0, bytes),
      ),
  };
}

/** Each file begins on a block. */
function offsetsOf({ files }: Tree): number[] {
  let end = 0;
  return files.map(({ bytes }) => {
    const offset = end;
    end += Math.ceil(bytes / blockBytes) * blockBytes;
    return offset;
  });
}
