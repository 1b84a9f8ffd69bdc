/**
 * Orphans: objects under a volume's own prefix that nothing names, as a crash or a deletion that failed leaves them.
 *
 * Invariants:
 * - Only what was listed before the judgement is removed. Ids are random and an object gets one before it is created, so
 *   what nothing names by then nothing will ever name; what is created later is in no list.
 * - Before every batch the head must still be ours: another writer may name what we do not know.
 * - Keys of no known shape, and everything outside the volume's own prefix, are left alone.
 */
import { orphanBatchMax, orphanKeysMax } from '../lib/limits.ts';
import { toHex } from '../lib/hex.ts';
import { isCaissonError } from '../lib/errors.ts';
import { readManifest } from '../manifest/manifest.ts';
import { catalogKey, manifestKey, parseKey } from '../store/paths.ts';
import { objectKey } from './object-names.ts';
import type { VolumeCore } from './volume-core.ts';

export interface SweepOptions {
  /** Resolves when no publication is running; the judgement follows in the same turn. */
  readonly settled: () => Promise<void>;
  /** Throws unless the head is still ours. */
  readonly checkFence: () => Promise<void>;
  /** Throws when the sweep is to end. */
  readonly check: () => void;
}

/** Returns the keys removed. */
export async function removeOrphans(core: VolumeCore, { settled, checkFence, check }: SweepOptions): Promise<string[]> {
  const { store } = core.environment;
  const listed: string[] = [];
  for await (const { key } of store.list(core.prefix)) {
    if (listed.length >= orphanKeysMax) break;
    listed.push(key);
  }
  const chain = await chainOf(core);
  await settled();
  forgetAttempts(core, chain);
  const named = namedKeys(core);
  const orphans = listed.filter((key) => {
    const parsed = parseKey(key);
    return parsed !== undefined && parsed.kind !== 'head' && !named.has(key);
  });
  for (const [at, key] of orphans.entries()) {
    check();
    if (at % orphanBatchMax === 0) await checkFence();
    await store.remove(key);
  }
  if (orphans.length > 0)
    core.environment.log?.('info', 'orphans were removed', { volume: toHex(core.volumeId), count: orphans.length });
  return orphans;
}

/** Everything that the newest state, pinned states and whatever is being written name. */
function namedKeys(core: VolumeCore): Set<string> {
  const { table, published, prefix } = core;
  const named = new Set<string>();
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry !== undefined && table.isOwn(index)) named.add(objectKey(prefix, entry));
  }
  for (const { id } of table.references) named.add(catalogKey(prefix, id));
  for (const { number, digest } of [...published.kept, ...published.pins])
    named.add(manifestKey(prefix, number, digest));
  return named;
}

/** An opening finds manifests by their numbers: some may be attempts that never became the head. */
function forgetAttempts({ published, prefix }: VolumeCore, chain: Chain): void {
  const right = new Set(chain.manifests.map(({ number, digest }) => manifestKey(prefix, number, digest)));
  published.kept = published.kept.filter(
    ({ number, digest }) => number < chain.from || number > chain.to || right.has(manifestKey(prefix, number, digest)),
  );
}

/** The manifests from number `from` to number `to`, each named by the digest that the next one states. */
interface Chain {
  readonly from: number;
  readonly to: number;
  readonly manifests: readonly { readonly number: number; readonly digest: Uint8Array }[];
}

async function chainOf(core: VolumeCore): Promise<Chain> {
  const { published, volumeId, prefix, environment } = core;
  const { number, digest, floor } = published;
  const manifests = [{ number, digest }];
  try {
    for (let last = manifests[0]!; last.number > floor;) {
      const { manifest } = await readManifest(environment.store, prefix, volumeId, last.number, last.digest);
      last = { number: last.number - 1, digest: manifest.previousDigest };
      manifests.push(last);
    }
  } catch (error) {
    // A checkpoint meanwhile may have deleted the oldest: what was not reached is kept.
    if (!isCaissonError(error, 'manifest-tampered')) throw error;
  }
  return { from: manifests.at(-1)!.number, to: number, manifests };
}
