/**
 * Removes an image and what no other image of the store needs. Fail-closed: before anything but the
 * record goes, every other image's tree was read and checked; what cannot be read stops the removal.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { hashedObjectsMax } from '../lib/limits.ts';
import {
  hashedNodesPrefix,
  hashedRootKey,
  hashedRootsPrefix,
  hashedSpansPrefix,
  parseHashedKey,
} from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import {
  childCount,
  digestBytes,
  fanOut,
  formatRoot,
  isDigestAt,
  isZero,
  spanLevel,
  topLevelOf,
} from './hashed-format.ts';
import type { RootRecord } from './hashed-format.ts';
import { announceRemoval } from './hashed-markers.ts';
import { readNode, readRootRecord } from './hashed-tree.ts';

export interface RemoveOptions {
  /** Goes on although markers say that a build or a removal is under way: they were left behind. */
  readonly force?: boolean;
}

export interface RemoveReport {
  readonly removedObjects: number;
  /** Images that are still in the store. */
  readonly imagesLeft: number;
}

/** The roots in a store, sorted, as `sha256:…`. */
export async function listHashed(store: Store): Promise<string[]> {
  return (await rootsIn(store)).map(formatRoot).sort();
}

export async function removeHashed(store: Store, root: Uint8Array, options: RemoveOptions = {}): Promise<RemoveReport> {
  const announcement = await announceRemoval(store, options.force ?? false);
  try {
    const roots = await rootsIn(store);
    const others = roots.filter((other) => !isDigestAt(other, 0, root));
    if (others.length === roots.length) {
      throw new CaissonError(
        'invalid',
        'volume-missing',
        `${store.url} holds no image with the root ${formatRoot(root)}`,
        {
          remedy: 'It may be removed already; forget its name with "caisson volume rm NAME".',
        },
      );
    }
    const needed = new Set<string>();
    for (const other of others) await markImage(store, other, needed);
    await store.remove(hashedRootKey(root));
    let removedObjects = 1;
    for (const prefix of [hashedNodesPrefix, hashedSpansPrefix]) removedObjects += await sweep(store, prefix, needed);
    return { removedObjects, imagesLeft: others.length };
  } finally {
    await announcement.withdraw();
  }
}

/** Calls `visit` for every node and span of an image that holds data, each place once. */
export async function walkTree(
  store: Store,
  record: RootRecord,
  visit: (level: number, index: number, digest: Uint8Array) => Promise<boolean> | boolean,
): Promise<void> {
  const descend = async (level: number, index: number, digest: Uint8Array): Promise<void> => {
    if (isZero(digest) || !(await visit(level, index, digest)) || level === spanLevel) return;
    const children = childCount(record.imageBytes, level, index);
    const digests = await readNode(store, digest, level, children);
    for (let child = 0; child < children; child++) {
      await descend(
        level - 1,
        index * fanOut + child,
        digests.subarray(child * digestBytes, (child + 1) * digestBytes),
      );
    }
  };
  await descend(topLevelOf(record.imageBytes), 0, record.top);
}

async function markImage(store: Store, root: Uint8Array, needed: Set<string>): Promise<void> {
  try {
    const record = await readRootRecord(store, root);
    await walkTree(store, record, (level, _index, digest) => {
      const name = nameOf(level === spanLevel ? 'span' : 'node', digest);
      // Equal digests lead to equal trees, but for the length of the last node, which is in the digest too.
      if (needed.has(name)) return false;
      if (needed.size >= hashedObjectsMax) throw tooMany(store);
      needed.add(name);
      return true;
    });
  } catch (error) {
    if (isCaissonError(error, 'limit-exceeded')) throw error;
    if (!(error instanceof CaissonError)) throw error;
    throw new CaissonError(
      error.kind,
      error.code,
      `nothing was removed: image ${formatRoot(root)} cannot be read: ${error.message}`,
      {
        remedy: 'Make that image again from its source, or remove it first: only then is known what it shares.',
        details: error.details,
        cause: error,
      },
    );
  }
}

async function sweep(store: Store, prefix: string, needed: ReadonlySet<string>): Promise<number> {
  const unneeded: string[] = [];
  for await (const { key } of store.list(prefix)) {
    const parsed = parseHashedKey(key);
    if (parsed !== undefined && !needed.has(nameOf(parsed.kind, parsed.digest))) unneeded.push(key);
  }
  for (const key of unneeded) await store.remove(key);
  return unneeded.length;
}

async function rootsIn(store: Store): Promise<Uint8Array[]> {
  const roots: Uint8Array[] = [];
  for await (const { key } of store.list(hashedRootsPrefix)) {
    const parsed = parseHashedKey(key);
    if (parsed?.kind === 'root') roots.push(parsed.digest);
  }
  return roots;
}

/** One byte a character: half the memory of hexadecimal digits. */
function nameOf(kind: string, digest: Uint8Array): string {
  return `${kind === 'span' ? 's' : 'n'}${Buffer.from(digest).toString('latin1')}`;
}

function tooMany(store: Store): CaissonError {
  return new CaissonError(
    'full',
    'limit-exceeded',
    `the images of ${store.url} have more than ${hashedObjectsMax} objects`,
    {
      remedy: 'Nothing was removed. Keep images that share nothing in stores of their own.',
    },
  );
}
