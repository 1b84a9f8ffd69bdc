/** Looks for pieces of plaintext in every file of a store, as somebody who stole the disk would. */
import fs from 'node:fs/promises';
import path from 'node:path';

const pieceBytes = 4 * 1024 * 1024;

export interface SearchReport {
  /** How many of the needles were found anywhere. */
  readonly hits: number;
  readonly bytes: number;
}

export async function searchStore(
  folder: string,
  needles: readonly Buffer[],
  signal: AbortSignal,
): Promise<SearchReport> {
  const found = new Set<Buffer>();
  let bytes = 0;
  for (const file of await filesBelow(folder)) {
    bytes += await searchFile(file, needles, found, signal);
  }
  return { hits: found.size, bytes };
}

/** Regular files only: a store may have the sockets of locks, never anything to follow. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await fs.readdir(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

async function searchFile(
  file: string,
  needles: readonly Buffer[],
  found: Set<Buffer>,
  signal: AbortSignal,
): Promise<number> {
  // Pieces overlap, so that a needle on their border is found too.
  const overlap = Math.max(...needles.map((needle) => needle.length)) - 1;
  const buffer = Buffer.alloc(pieceBytes);
  const handle = await fs.open(file, 'r');
  try {
    let offset = 0;
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, pieceBytes, offset);
      const piece = buffer.subarray(0, bytesRead);
      for (const needle of needles) if (!found.has(needle) && piece.includes(needle)) found.add(needle);
      if (bytesRead < pieceBytes) return offset + bytesRead;
      offset += pieceBytes - overlap;
    }
  } finally {
    await handle.close();
  }
}
