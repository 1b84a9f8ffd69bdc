/**
 * The files that the demo puts on its volumes: a bounded copy of the package's own folder and of what
 * is installed beside it, with one planted file whose marker cannot occur anywhere by chance. Copied
 * once, so that the hashes stay right whatever happens to the originals.
 */
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import { demoFreeBytesMin, demoNeedleCount, demoTreeBytesMax, demoTreeFileBytesMax } from '../../lib/limits.ts';
import { formatBytes } from '../../lib/sizes.ts';

export interface TreeFile {
  /** Relative, with "/". */
  readonly name: string;
  readonly bytes: number;
  readonly hash: string;
}

export interface Tree {
  readonly folder: string;
  readonly files: readonly TreeFile[];
  readonly bytes: number;
  /** What is searched for in the stores: the marker, then pieces of the files. */
  readonly needles: readonly Buffer[];
}

const needleBytes = 32;
/** A piece with fewer different bytes (blanks, zeros, a ruler) could be found anywhere. */
const needleDifferentBytesMin = 14;
/** Copies of the tree that lie on the disk at the same time, with room to spare. */
const copiesMax = 12;
const markerFile = 'planted-secret.txt';

export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Copies the tree to `folder`. */
export async function prepareTree(folder: string, filesMax: number, signal: AbortSignal): Promise<Tree> {
  const bytesMax = await treeBytesMax(path.dirname(folder));
  const marker = Buffer.from(`caisson-demo-secret-${randomBytes(24).toString('hex')}`);
  const candidates: Buffer[] = [];
  const files: TreeFile[] = [];
  let bytes = 0;
  const add = async (name: string, content: Buffer): Promise<void> => {
    const target = path.join(folder, name);
    await fs.mkdir(path.dirname(target), { recursive: true });
    await fs.writeFile(target, content);
    files.push({ name, bytes: content.length, hash: hashOf(content) });
    bytes += content.length;
    const piece = pieceOf(content);
    if (piece !== undefined) candidates.push(piece);
  };
  // On a block of its own, and not the only text there: a secret in the middle of a page.
  await add(markerFile, Buffer.concat([Buffer.from('The secret is '), marker, Buffer.from('; keep it.\n')]));
  candidates.length = 0;
  for await (const { name, file } of walk()) {
    signal.throwIfAborted();
    if (files.length >= filesMax) break;
    const content = await readBounded(file, Math.min(demoTreeFileBytesMax, bytesMax - bytes));
    if (content !== undefined) await add(name, content);
  }
  return { folder, files, bytes, needles: [marker, ...spread(candidates, demoNeedleCount - 1)] };
}

async function treeBytesMax(folder: string): Promise<number> {
  const { bavail, bsize } = await fs.statfs(folder);
  const freeBytes = bavail * bsize;
  if (freeBytes >= demoFreeBytesMin) return Math.min(demoTreeBytesMax, Math.floor(freeBytes / copiesMax));
  throw new CaissonError('full', 'store-full', `only ${formatBytes(freeBytes)} are free in ${folder}`, {
    remedy: `Give the demo a folder with ${formatBytes(demoFreeBytesMin)}: "caisson demo --folder DIRECTORY".`,
  });
}

/** The package's own files first, then what is installed in it or beside it. */
async function* walk(): AsyncGenerator<{ name: string; file: string }> {
  const root = await packageFolder();
  yield* walkFolder(root, 'caisson', (name) => name !== 'node_modules');
  const inside = path.join(root, 'node_modules');
  yield* walkFolder(inside, 'node_modules', () => true);
  const beside = path.dirname(root);
  if (path.basename(beside) === 'node_modules') {
    yield* walkFolder(beside, 'beside', (name) => name !== path.basename(root));
  }
}

async function* walkFolder(
  folder: string,
  name: string,
  isTaken: (name: string) => boolean,
): AsyncGenerator<{ name: string; file: string }> {
  const entries = await fs.readdir(folder, { withFileTypes: true }).catch(() => []);
  entries.sort((left, right) => (left.name < right.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith('.') || !isTaken(entry.name)) continue;
    const below = { name: `${name}/${entry.name}`, file: path.join(folder, entry.name) };
    if (entry.isFile()) yield below;
    else if (entry.isDirectory()) yield* walkFolder(below.file, below.name, () => true);
  }
}

async function packageFolder(): Promise<string> {
  let folder = import.meta.dirname;
  while (folder !== path.dirname(folder)) {
    if (
      await fs.access(path.join(folder, 'package.json')).then(
        () => true,
        () => false,
      )
    )
      return folder;
    folder = path.dirname(folder);
  }
  return import.meta.dirname;
}

/** Undefined: too large, or gone since it was listed. */
async function readBounded(file: string, bytesMax: number): Promise<Buffer | undefined> {
  try {
    const { size } = await fs.stat(file);
    if (size > bytesMax) return undefined;
    const content = await fs.readFile(file);
    return content.length > bytesMax ? undefined : content;
  } catch {
    return undefined;
  }
}

/** Within the first block of a file, so that every file system and every store keeps it in one piece. */
function pieceOf(content: Buffer): Buffer | undefined {
  for (let start = 0; start + needleBytes <= Math.min(content.length, 4096); start += needleBytes) {
    const piece = content.subarray(start, start + needleBytes);
    if (new Set(piece).size >= needleDifferentBytesMin) return Buffer.from(piece);
  }
  return undefined;
}

function spread<Item>(items: readonly Item[], countMax: number): Item[] {
  const step = Math.max(1, items.length / countMax);
  const count = Math.min(countMax, items.length);
  return Array.from({ length: count }, (_, index) => items[Math.floor(index * step)] as Item);
}
