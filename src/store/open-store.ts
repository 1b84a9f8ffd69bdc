/** From the text a user writes to a store: `dir:/path`, or a plain path, which means the same. */
import path from 'node:path';
import { CaissonError } from '../lib/errors.ts';
import { openDirStore } from './dir-store.ts';
import { nodeFileSystem } from './node-file-system.ts';
import type { Store } from './store.ts';

export interface OpenStoreOptions {
  readonly create: boolean;
}

const openers: Readonly<Record<string, (location: string, options: OpenStoreOptions) => Promise<Store>>> = {
  dir: (location, options) => openDirStore(nodeFileSystem, directoryOf(location), options),
};

export async function openStore(url: string, options: OpenStoreOptions): Promise<Store> {
  const { scheme, location } = parseStoreUrl(url);
  return openers[scheme]!(location, options);
}

/** The parts of a store's URL, checked; a relative path is resolved against the working folder. */
export function parseStoreUrl(url: string): { readonly scheme: string; readonly location: string } {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):([^]*)$/.exec(url);
  if (match === null) return { scheme: 'dir', location: directoryOf(url) };
  const [, scheme, location] = match as unknown as [string, string, string];
  if (!Object.hasOwn(openers, scheme)) {
    const known = Object.keys(openers).map((name) => `${name}:`);
    throw new CaissonError('invalid', 'argument-invalid', `unknown kind of store: ${scheme}:`, {
      remedy: `Known kinds are ${known.join(', ')} (as in dir:/var/lib/caisson/store).`,
      details: { scheme },
    });
  }
  return { scheme, location: directoryOf(location) };
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
