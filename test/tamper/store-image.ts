/** All bytes of a volume's store, to be changed at will and put into a store of its own. */
import type { AnchorState } from '../../src/anchor/anchor.ts';
import { Region } from '../../src/lib/region.ts';
import { storeMutableObjectBytesMax } from '../../src/lib/limits.ts';
import { parseKey } from '../../src/store/paths.ts';
import type { Store } from '../../src/store/store.ts';
import { MemoryAnchor } from '../sim/memory-anchor.ts';
import { MemoryMedium, MemoryStore } from '../sim/memory-store.ts';

const objectBytesMax = 64 * 1024 * 1024;

export interface StoreImage {
  /** Key -> bytes; the head is among them. */
  readonly objects: ReadonlyMap<string, Uint8Array>;
  readonly spool: ReadonlyMap<string, Uint8Array>;
}

export async function captureImage(store: Store, prefix: string): Promise<StoreImage> {
  const objects = new Map<string, Uint8Array>();
  for await (const { key } of store.list(prefix)) objects.set(key, await store.get(key, objectBytesMax));
  const spool = new Map<string, Uint8Array>();
  const area = await store.spool(prefix);
  for (const { key } of await area.list()) {
    const reader = await area.open(key);
    const region = new Region(Math.max(reader.size, 1));
    await reader.read(0, reader.size, region, 0);
    spool.set(key, region.bytes.subarray(0, reader.size));
    await reader.close();
  }
  return { objects, spool };
}

export async function storeOf(image: StoreImage, prefix: string): Promise<Store> {
  const store = new MemoryStore(new MemoryMedium());
  for (const [key, bytes] of image.objects) {
    if (parseKey(key)?.kind === 'head' && bytes.length <= storeMutableObjectBytesMax)
      await store.swap(key, null, bytes);
    else await store.create(key, bytes);
  }
  const area = await store.spool(prefix);
  for (const [name, bytes] of image.spool) {
    const file = await area.create(name);
    if (bytes.length > 0) await file.write(0, Region.from(bytes), 0, bytes.length);
    await file.close();
  }
  return store;
}

export async function anchorOf(state: AnchorState | undefined): Promise<MemoryAnchor> {
  const anchor = new MemoryAnchor();
  if (state !== undefined) await anchor.advance(state);
  return anchor;
}

/** The image with one object or spool file changed; undefined removes it. */
export function withObject(image: StoreImage, key: string, bytes: Uint8Array | undefined): StoreImage {
  const isSpool = image.spool.has(key);
  const changed = new Map(isSpool ? image.spool : image.objects);
  if (bytes === undefined) changed.delete(key);
  else changed.set(key, bytes);
  return isSpool ? { objects: image.objects, spool: changed } : { objects: changed, spool: image.spool };
}

export function bytesOf(image: StoreImage, key: string): Uint8Array {
  return image.objects.get(key) ?? image.spool.get(key)!;
}
