/**
 * Where a volume of a caller of `api.ts` lies and what opens it: stores, anchors and keys from plain options.
 *
 * Invariants: a store that was opened here belongs to whoever asked; what was made from a secret is wiped after use.
 */
import { openFileAnchor } from './anchor/file-anchor.ts';
import { chooseSealer } from './crypto/choose-sealer.ts';
import { systemRandom } from './crypto/random.ts';
import { createKeyFileSource } from './keys/key-file.ts';
import type { KeySource } from './keys/key-source.ts';
import { noneSource } from './keys/none.ts';
import { openKeySource } from './keys/open-key-source.ts';
import { createPassphraseSource, passphraseFromBytes } from './keys/passphrase.ts';
import { patientClock, systemClock } from './lib/clock.ts';
import { CaissonError } from './lib/errors.ts';
import { fromHex } from './lib/hex.ts';
import { CachedStore } from './store/cached-store.ts';
import { nodeFileSystem } from './store/node-file-system.ts';
import { openStore, parseStoreUrl } from './store/open-store.ts';
import { createReadCache } from './store/read-cache-file.ts';
import type { Store } from './store/store.ts';
import type { VolumeEnvironment, VolumeLog, VolumeTuning } from './volume/volume-types.ts';

/** Where a volume lies, and where its newest state is remembered. */
export interface Place {
  /** `dir:/srv/volumes`, or a plain path; `s3://bucket/prefix?endpoint=https://host`. */
  readonly store: string;
  /** A folder outside the store and out of its operator's reach: it makes a rollback visible. */
  readonly anchorFolder: string;
  /** Where a store on another machine (`s3://`) keeps on this one what is acknowledged and not yet published. */
  readonly spoolFolder?: string;
  /** Where sealed pieces that were fetched from such a store are kept; without it each read goes to the store. */
  readonly readCacheFolder?: string;
  readonly tuning?: Partial<VolumeTuning>;
  readonly log?: VolumeLog;
}

/** What opens a volume. Copied; the caller may wipe its own. `none` goes with protection `none` alone. */
export type Key =
  | { readonly passphrase: string | Uint8Array }
  | { readonly keyFile: Uint8Array }
  | { readonly source: KeySource }
  /** A source outside this process, as `--key` of the command takes it (docs/key-sources.md); it holds no secret. */
  | { readonly url: string }
  | 'none';

export async function openEnvironment(place: Place, create: boolean): Promise<VolumeEnvironment> {
  const { sealer } = chooseSealer();
  const store = await openPlacedStore(place, create);
  try {
    return {
      ...{ store, sealer, clock: systemClock, random: systemRandom },
      anchor: await openFileAnchor(nodeFileSystem, place.anchorFolder),
      ...(place.tuning === undefined ? {} : { tuning: place.tuning }),
      ...(place.log === undefined ? {} : { log: place.log }),
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Without what surrounds it. */
export async function openPlacedStore(
  place: Pick<Place, 'store' | 'anchorFolder' | 'spoolFolder' | 'readCacheFolder'>,
  create: boolean,
): Promise<Store> {
  checkAnchorFolder(place);
  const { spoolFolder, readCacheFolder } = place;
  const remote =
    spoolFolder === undefined ? undefined : { spoolFolder, environment: process.env, random: systemRandom };
  const opened = await openStore(place.store, { create, ...(remote === undefined ? {} : { remote }) });
  return opened.isRemote && readCacheFolder !== undefined
    ? new CachedStore(opened, createReadCache(readCacheFolder, undefined, systemRandom), true)
    : opened;
}

export async function withEnvironment<Result>(
  place: Place,
  create: boolean,
  use: (environment: VolumeEnvironment) => Promise<Result>,
): Promise<Result> {
  const environment = await openEnvironment(place, create);
  try {
    return await use(environment);
  } finally {
    await environment.store.close();
  }
}

/** An anchor inside the store would be rolled back with it. */
function checkAnchorFolder({ store, anchorFolder }: Pick<Place, 'store' | 'anchorFolder'>): void {
  const { location } = parseStoreUrl(store);
  if (!anchorFolder.startsWith('/')) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      `the anchor's folder ${JSON.stringify(anchorFolder)} is not absolute`,
      {
        remedy: 'Give a path that begins with "/".',
      },
    );
  }
  if (`${anchorFolder}/`.startsWith(`${location}/`)) {
    throw new CaissonError('invalid', 'argument-invalid', `the anchor's folder ${anchorFolder} lies in the store`, {
      remedy: 'Choose a folder outside the store and out of reach of whoever operates it.',
    });
  }
}

/** The source lives as long as the call that needs it; what this file made from a secret is wiped. */
export async function withKey<Result>(key: Key, use: (source: KeySource) => Promise<Result>): Promise<Result> {
  const { source, wipe } = await sourceOf(key);
  try {
    return await use(source);
  } finally {
    wipe();
  }
}

export async function sourceOf(key: Key): Promise<{ readonly source: KeySource; readonly wipe: () => void }> {
  if (key === 'none') return { source: noneSource, wipe: () => undefined };
  if ('source' in key) return { source: key.source, wipe: () => undefined };
  if ('url' in key) {
    const context = { clock: patientClock, random: systemRandom, environment: process.env };
    const source = await openKeySource(key.url, context);
    return { source, wipe: () => source.wipe() };
  }
  const source =
    'keyFile' in key
      ? createKeyFileSource({ content: key.keyFile, random: systemRandom })
      : passphraseSource(key.passphrase);
  return { source, wipe: () => source.wipe() };
}

function passphraseSource(text: string | Uint8Array): ReturnType<typeof createPassphraseSource> {
  const passphrase = passphraseFromBytes(typeof text === 'string' ? new TextEncoder().encode(text) : text);
  try {
    return createPassphraseSource({ passphrase, random: systemRandom });
  } finally {
    passphrase.fill(0);
  }
}

export function parseId(text: string): Uint8Array {
  const volumeIdBytes = 16;
  const id = fromHex(text, volumeIdBytes);
  if (id !== undefined) return id;
  throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(text)} is not the id of a volume`, {
    remedy: 'An id has 32 hexadecimal digits, as createVolume and listVolumes give it.',
  });
}
