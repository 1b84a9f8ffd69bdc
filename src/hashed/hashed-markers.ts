/**
 * Markers that keep builds and removals apart (spec/hashed-format.md, "Removing"). Each side writes its
 * own marker first and then looks for the other's, so that at least one of two that meet gives way.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import type { Random } from '../lib/random.ts';
import { hashedBuildKey, hashedBuildsPrefix, hashedRemovalKey, idBytes } from '../store/paths.ts';
import type { Store } from '../store/store.ts';

const buildMarker = new TextEncoder().encode('caisson hashed build\n');
const removalMarker = new TextEncoder().encode('caisson hashed removal\n');

export interface Announcement {
  withdraw(): Promise<void>;
}

export async function announceBuild(store: Store, random: Random): Promise<Announcement> {
  const key = hashedBuildKey(random.bytes(idBytes));
  await store.create(key, buildMarker);
  const withdraw = async (): Promise<void> => store.remove(key);
  try {
    await store.stat(hashedRemovalKey);
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) return { withdraw };
    await withdraw().catch(() => undefined); // the first error is the one to tell
    throw error;
  }
  await withdraw();
  throw new CaissonError('transient', 'volume-busy', `an image is being removed from ${store.url}`, {
    remedy:
      'Wait for its end. If that removal was broken off, finish it with "caisson volume rm NAME --delete-objects --force".',
  });
}

/** With `force` markers that were left behind are taken over; the caller knows that nobody is at work. */
export async function announceRemoval(store: Store, force: boolean): Promise<Announcement> {
  try {
    await store.create(hashedRemovalKey, removalMarker);
  } catch (error) {
    if (!isCaissonError(error, 'object-exists')) throw error;
    if (!force) throw busy(store, 'another removal is');
  }
  const withdraw = async (): Promise<void> => store.remove(hashedRemovalKey);
  const builds = await buildsIn(store).catch(async (error: unknown) => {
    await withdraw().catch(() => undefined); // the first error is the one to tell
    throw error;
  });
  if (builds.length > 0 && !force) {
    await withdraw();
    throw busy(store, builds.length === 1 ? 'a build is' : `${builds.length} builds are`);
  }
  for (const key of builds) await store.remove(key);
  return { withdraw };
}

async function buildsIn(store: Store): Promise<string[]> {
  const builds: string[] = [];
  for await (const { key } of store.list(hashedBuildsPrefix)) builds.push(key);
  return builds;
}

function busy(store: Store, who: string): CaissonError {
  return new CaissonError('transient', 'volume-busy', `${who} under way in ${store.url}`, {
    remedy: 'Wait for its end. If it was broken off and nobody is at work on the store, repeat with --force.',
  });
}
