/** What a move asks before it changes anything: what has to be copied, and whether the volume may leave and the target take it. */
import { equalBytes } from '../crypto/digest.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { HeadState } from '../manifest/head-format.ts';
import { PinKind } from '../manifest/manifest-format.ts';
import { readHead, type ReadHead } from '../manifest/manifest.ts';
import { catalogKey, manifestKey } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { objectKey } from './object-names.ts';
import type { MirroredObject } from './store-mirror.ts';
import type { VolumeCore } from './volume-core.ts';

/** Everything that the newest manifest, the manifests kept and those that are pinned name. */
export function namedObjects(core: VolumeCore): MirroredObject[] {
  const { table, published, prefix } = core;
  const named = new Map<string, MirroredObject>();
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry?.published !== true) continue;
    const key = objectKey(prefix, entry);
    named.set(key, { key, bytes: entry.bytes, digest: entry.digest, isNeeded: () => table.find(index) === entry });
  }
  for (const { id, bytes, digest } of table.references) {
    const key = catalogKey(prefix, id);
    const isNeeded = (): boolean => table.references.some((reference) => equalBytes(reference.id, id));
    named.set(key, { key, bytes, digest, isNeeded });
  }
  for (const { number, digest } of [...published.kept, ...published.pins]) {
    const key = manifestKey(prefix, number, digest);
    const isNeeded = (): boolean =>
      [...core.published.kept, ...core.published.pins].some(
        (other) => manifestKey(prefix, other.number, other.digest) === key,
      );
    named.set(key, { key, bytes: undefined, digest, isNeeded });
  }
  return [...named.values()];
}

/** A clone reads objects under its parent's prefix, and its parent must keep them: neither can leave alone. */
export function refuseAttached({ table, published, volumeId }: VolumeCore): void {
  const clones = published.pins.filter(({ kind }) => kind === PinKind.clone);
  if (clones.length > 0) {
    const ids = clones.map(({ id }) => toHex(id));
    throw new CaissonError('denied', 'volume-needed', `${ids.length} clones read objects of this volume where it is`, {
      remedy: `Remove them first, or rekey them, which makes them independent: ${ids.toSpliced(3).join(', ')}.`,
      details: { clones: ids.length },
    });
  }
  const inherits = (index: number): boolean => table.find(index) !== undefined && !table.isOwn(index);
  const hasForeignPage = table.references.some(({ owner }) => !equalBytes(owner, volumeId));
  let index = 0;
  while (index < table.length && !inherits(index)) index++;
  if (index === table.length && !hasForeignPage) return;
  throw new CaissonError('denied', 'volume-inherits', 'the volume is a clone and still reads objects of its parent', {
    remedy: 'Rekey it first: that seals anew what it took over. Snapshots of it that go back so far must go, too.',
  });
}

export async function refuseSameStore(core: VolumeCore, target: Store): Promise<void> {
  const found = await headIn(core, target);
  if (found === undefined || !equalBytes(found.head.holder, core.holder)) return;
  throw new CaissonError('invalid', 'argument-invalid', `the volume is in ${target.url} already`);
}

/** The version of the head that an earlier life of the volume left in the target, or null; refuses one that is not behind ours. */
export async function readStaleHead(core: VolumeCore, target: Store): Promise<string | null> {
  const found = await headIn(core, target);
  if (found === undefined) return null;
  const { head, version } = found;
  const isBehind = head.epoch < core.epoch && head.number <= core.published.number;
  if (isBehind && head.state !== HeadState.erased) return version;
  throw new CaissonError(
    'denied',
    'volume-exists',
    `${target.url} holds a state of this volume that is not behind this one: epoch ${head.epoch}, manifest ${head.number}`,
    {
      remedy: 'Choose another store, or look at that one first: it may be the volume that somebody works with.',
      details: { epoch: head.epoch, manifestNumber: head.number },
    },
  );
}

async function headIn(core: VolumeCore, target: Store): Promise<ReadHead | undefined> {
  try {
    return await readHead(target, core.prefix, core.volumeId);
  } catch (error) {
    if (isCaissonError(error, 'volume-missing')) return undefined;
    throw error;
  }
}
