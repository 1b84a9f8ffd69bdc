/** What a volume does to its store, small, and the judge of what a store shows after a crash. */
import { Region } from '../../src/lib/region.ts';
import * as paths from '../../src/store/paths.ts';
import type { Store } from '../../src/store/store.ts';
import { pattern } from '../conformance/store.ts';

const prefix = paths.volumePrefix(new Uint8Array(16).fill(1));
const head = paths.headKey(prefix);

/** What the workload was told is done, and what it had only asked for. */
export class Acknowledged {
  readonly done = new Map<string, Uint8Array>();
  readonly asked = new Map<string, Uint8Array[]>();

  async put(key: string, bytes: Uint8Array, put: () => Promise<unknown>): Promise<void> {
    this.asked.set(key, [...(this.asked.get(key) ?? []), bytes]);
    await put();
    this.done.set(key, bytes);
  }

  complaints(found: Map<string, Uint8Array>): string[] {
    const complaints: string[] = [];
    for (const key of this.done.keys()) if (!found.has(key)) complaints.push(`${key} was acknowledged and is gone`);
    for (const [key, bytes] of found) {
      const asked = this.asked.get(key) ?? [];
      const index = asked.findIndex((candidate) => Buffer.compare(candidate, bytes) === 0);
      const done = this.done.get(key);
      if (index < 0) complaints.push(`${key} has bytes that nobody wrote`);
      else if (done !== undefined && index < asked.indexOf(done)) complaints.push(`${key} is older than acknowledged`);
    }
    return complaints;
  }
}

export async function workload(store: Store, acknowledged: Acknowledged): Promise<void> {
  const lock = await store.lock(prefix);
  const spool = await store.spool(prefix);
  let version: string | null = null;
  for (let round = 1; round <= 3; round++) {
    const segment = paths.segmentKey(prefix, new Uint8Array(16).fill(round));
    const file = await spool.create(`${round}`);
    const content = pattern(3000, round);
    await Promise.all([
      file.write(0, Region.from(content), 0, 1500),
      file.write(1500, Region.from(content), 1500, 1500),
    ]);
    await file.sync();
    await file.close();
    await acknowledged.put(segment, content, () => spool.publish(`${round}`, segment));
    await spool.remove(`${round}`);
    const manifest = paths.manifestKey(prefix, round, new Uint8Array(32).fill(round));
    await acknowledged.put(manifest, pattern(700, round), () => store.create(manifest, pattern(700, round)));
    let next: string | undefined;
    await acknowledged.put(head, pattern(600, round), async () => {
      next = await store.swap(head, version, pattern(600, round));
    });
    version = next!;
  }
  await lock.release();
  await store.close();
}

export async function collected(store: Store): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for await (const { key } of store.list('')) found.set(key, await store.get(key, 1 << 20));
  return found;
}
