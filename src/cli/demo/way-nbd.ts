/**
 * The way without root: an ext4 image made from the files by mkfs.ext4, copied into the volume over
 * NBD by nbdcopy or qemu-img, copied back the same way, checked by fsck.ext4, unpacked by debugfs.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { findProgram, mustRunProgram } from './caisson.ts';
import { checkImage } from './image-check.ts';
import { filesBytesMax, RawVolume } from './raw-volume.ts';
import { countChanged } from './tree-check.ts';
import type { OpenedVolume, VolumeName, Way, WayContext } from './way.ts';

export function createNbdWay(context: WayContext): Way {
  const copier = findProgram('nbdcopy') === undefined ? 'qemu-img' : 'nbdcopy';
  return {
    name: 'nbd',
    description: `an ext4 image, made by mkfs.ext4 and copied over NBD by ${copier}`,
    open: (volume, isNew) => openImageVolume(context, volume, isNew),
    // Without a mount a killed daemon leaves nothing that the next one does not put right by itself.
    clearCrash: async () => undefined,
    checkFileSystem: async (volume) => {
      const raw = await RawVolume.open(context.caisson, volume);
      const image = path.join(context.folder, 'fsck.img');
      try {
        await copyOut(raw, image, context.folder);
        await checkImage(program('fsck.ext4'), image, context.folder);
      } finally {
        await fs.rm(image, { force: true });
        await raw.close();
      }
      return 'clean';
    },
  };
}

async function openImageVolume(context: WayContext, volume: VolumeName, isNew: boolean): Promise<OpenedVolume> {
  const { folder, signal, caisson } = context;
  if (isNew) await makeImage(context);
  const raw = await RawVolume.open(caisson, volume);
  return {
    pid: raw.pid,
    putRecord: (index, bytes) => raw.putRecord(index, bytes),
    readRecord: (index, bytes) => raw.readRecord(index, bytes),
    putBulk: (index, bytes) => raw.putBulk(index, bytes),
    close: () => raw.close(),
    abandon: () => raw.abandon(),
    putTree: async () => {
      const image = await makeImage(context);
      await copyIn(raw, image, folder);
      await raw.client.flush();
    },
    countChangedFiles: async (tree) => {
      const image = path.join(folder, 'back.img');
      const unpacked = path.join(folder, 'back');
      try {
        await copyOut(raw, image, folder);
        await fs.mkdir(unpacked);
        await mustRunProgram(program('debugfs'), ['-R', 'rdump / back', image], folder);
        return await countChanged(tree, signal, ({ name }) => fs.readFile(path.join(unpacked, name)));
      } finally {
        await fs.rm(image, { force: true });
        await fs.rm(unpacked, { recursive: true, force: true });
      }
    },
  };
}

/** Made once, before anything is timed; the second volume gets the same image. */
async function makeImage({ folder, tree }: WayContext): Promise<string> {
  const image = path.join(folder, 'files.img');
  if (
    await fs.access(image).then(
      () => true,
      () => false,
    )
  )
    return image;
  const size = `${filesBytesMax / 1024}k`;
  await mustRunProgram(program('mkfs.ext4'), ['-q', '-F', '-d', tree.folder, image, size], folder);
  return image;
}

async function copyIn({ served }: RawVolume, image: string, folder: string): Promise<void> {
  const nbdcopy = findProgram('nbdcopy');
  if (nbdcopy !== undefined) await mustRunProgram(nbdcopy, ['--flush', image, served.uri], folder);
  else
    await mustRunProgram(program('qemu-img'), ['convert', '-n', '-f', 'raw', '-O', 'raw', image, served.uri], folder);
}

/** The whole volume: the file system is as large as its image was, whatever lies behind it. */
async function copyOut({ served }: RawVolume, image: string, folder: string): Promise<void> {
  const nbdcopy = findProgram('nbdcopy');
  if (nbdcopy !== undefined) await mustRunProgram(nbdcopy, [served.uri, image], folder);
  else await mustRunProgram(program('qemu-img'), ['convert', '-f', 'raw', '-O', 'raw', served.uri, image], folder);
}

function program(name: string): string {
  // The choice of this way made sure of it; should it vanish in between, running the bare name says so.
  return findProgram(name) ?? name;
}
