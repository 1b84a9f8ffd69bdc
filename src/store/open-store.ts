/** From the text a user writes to a store: `dir:/path`, or a plain path, which means the same; `s3://bucket/prefix`; `block:/dev/sdX`. */
import path from 'node:path';
import { CaissonError } from '../lib/errors.ts';
import type { Environment } from '../lib/folders.ts';
import type { Random } from '../lib/random.ts';
import { openDirStore } from './dir-store.ts';
import { nodeFileSystem } from './node-file-system.ts';
import type { Store } from './store.ts';
import type { StoreCounts } from './store-counts.ts';

export interface OpenStoreOptions {
  readonly create: boolean;
  /** For a block device: formats it although something else is on it. */
  readonly overwriteDevice?: boolean;
  /** Needed for a store on another machine. */
  readonly remote?: RemoteStoreOptions;
}

/** What a store on another machine needs on this one. */
export interface RemoteStoreOptions {
  /** For spools and locks, which belong to this machine: the same for every process, and never emptied. */
  readonly spoolFolder: string;
  readonly environment: Environment;
  readonly random: Random;
  readonly counts?: StoreCounts;
}

interface StoreKind {
  /** Checks what follows the scheme; a folder is made absolute. */
  locate(rest: string): string;
  open(rest: string, options: OpenStoreOptions): Promise<Store>;
}

const kinds: Readonly<Record<string, StoreKind>> = {
  dir: {
    locate: directoryOf,
    open: (rest, options) => openDirStore(nodeFileSystem, directoryOf(rest), options),
  },
  block: {
    locate: deviceOf,
    open: async (rest, options) => {
      const { openBlockDevice } = await import('./block/open-block-device.ts');
      return openBlockDevice(deviceOf(rest), options);
    },
  },
  s3: {
    locate: (rest) => rest.replace(/\?.*$/, ''),
    open: async (rest, { create, remote }) => {
      if (remote === undefined) throw spoolFolderMissing();
      const { openS3Store } = await import('./s3/open-s3-store.ts');
      return openS3Store(rest, { create, ...remote });
    },
  },
};

export async function openStore(url: string, options: OpenStoreOptions): Promise<Store> {
  const { scheme, rest } = splitUrl(url);
  if (options.overwriteDevice === true && scheme !== 'block') {
    throw new CaissonError('invalid', 'argument-invalid', `${scheme}: is no device that could be overwritten`, {
      remedy: 'Leave --overwrite-device away; it belongs to a store such as block:/dev/sdX.',
    });
  }
  return kinds[scheme]!.open(rest, options);
}

/** The folder in which the spools of a store lie, as `<volume>/spool/<name>`; undefined where they are no files. */
export async function spoolRootOf(url: string, remote: RemoteStoreOptions): Promise<string | undefined> {
  const { scheme, rest } = splitUrl(url);
  if (scheme === 'dir') return directoryOf(rest);
  if (scheme !== 's3') return undefined;
  const [{ spoolFolderOf }, { parseS3Url }] = await Promise.all([
    import('./s3/open-s3-store.ts'),
    import('./s3/s3-url.ts'),
  ]);
  return spoolFolderOf(parseS3Url(rest, remote.environment), remote.spoolFolder);
}

/** The kind of store and where it lies, checked; a relative path is resolved against the working folder. */
export function parseStoreUrl(url: string): { readonly scheme: string; readonly location: string } {
  const { scheme, rest } = splitUrl(url);
  return { scheme, location: kinds[scheme]!.locate(rest) };
}

function splitUrl(url: string): { readonly scheme: string; readonly rest: string } {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):([^]*)$/.exec(url);
  if (match === null) return { scheme: 'dir', rest: url };
  const [, scheme, rest] = match as unknown as [string, string, string];
  if (!Object.hasOwn(kinds, scheme)) {
    const known = Object.keys(kinds).map((name) => `${name}:`);
    throw new CaissonError('invalid', 'argument-invalid', `unknown kind of store: ${scheme}:`, {
      remedy: `Known kinds are ${known.join(', ')} (as in dir:/var/lib/caisson/store, block:/dev/sdX or s3://bucket/prefix).`,
      details: { scheme },
    });
  }
  return { scheme, rest };
}

function deviceOf(location: string): string {
  if (location === '' || location.includes('\0')) {
    throw new CaissonError('invalid', 'argument-invalid', 'the store needs a device or a file', {
      remedy: 'Write it as block:/dev/sdX, or block:/srv/caisson.img for a file that has its size already.',
    });
  }
  return path.resolve(location);
}

function directoryOf(location: string): string {
  if (location === '' || location.includes('\0')) {
    throw new CaissonError('invalid', 'argument-invalid', 'the store needs a folder', {
      remedy: 'Write it as dir:/var/lib/caisson/store.',
    });
  }
  const folder = path.resolve(location);
  if (folder === '/') throw new CaissonError('invalid', 'argument-invalid', 'the root folder cannot be a store');
  return folder;
}

function spoolFolderMissing(): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', 'a store on another machine needs a local folder for spools', {
    remedy: 'Name a folder that outlives the process, and give every process on this machine the same.',
  });
}
