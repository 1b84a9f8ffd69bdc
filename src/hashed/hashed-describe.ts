/** What an image takes in the store, from its tree alone: no leaf is read. */
import type { Store } from '../store/store.ts';
import { childCount, digestBytes, formatRoot, headerBytes, leafBytes, rootRecordBytes } from './hashed-format.ts';
import { walkTree } from './hashed-removal.ts';
import { readRootRecord } from './hashed-tree.ts';

export interface HashedDescription {
  readonly root: string;
  readonly imageBytes: number;
  /** Content that is not zeros, in whole leaves. */
  readonly dataBytes: number;
  /** Places of the tree that hold an object; equal ones share it, with other images too. */
  readonly objectCount: number;
  readonly objectBytes: number;
}

export async function describeHashed(store: Store, root: Uint8Array): Promise<HashedDescription> {
  const record = await readRootRecord(store, root);
  const dataBytes = record.dataLeaves * leafBytes;
  let objectCount = 1;
  let objectBytes = rootRecordBytes + dataBytes;
  await walkTree(store, record, (level, index) => {
    objectCount++;
    objectBytes += headerBytes + childCount(record.imageBytes, level, index) * digestBytes;
    return true;
  });
  return { root: formatRoot(root), imageBytes: record.imageBytes, dataBytes, objectCount, objectBytes };
}
