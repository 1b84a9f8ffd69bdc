/**
 * Collateral that was fetched elsewhere and brought here: a bundle, or a folder of them (spec/collateral.md, "Bundle"). Read once;
 * a broker that is to see new files reads them again.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { collateralBundleBytesMax, collateralBundleEntriesMax, collateralFreshMilliseconds } from '../../lib/limits.ts';
import type { Collateral, CollateralSource } from '../attest/collateral.ts';
import { decodeBundle, type NamedCollateral } from './bundle-format.ts';

/** `configuration-invalid` where there is nothing to read, or a file is no bundle. */
export async function offlineBundle(path: string): Promise<CollateralSource> {
  const entries = new Map<string, Collateral>();
  for (const file of await bundleFiles(path))
    for (const entry of decodeFile(file, await readBounded(file))) {
      const known = entries.get(entry.name);
      if (known === undefined || known.obtainedAt < entry.obtainedAt) entries.set(entry.name, entry);
    }
  return sourceOf(entries);
}

function decodeFile(file: string, bytes: Uint8Array): readonly NamedCollateral[] {
  try {
    return decodeBundle(bytes);
  } catch (cause) {
    if (!(cause instanceof CaissonError)) throw cause;
    throw new CaissonError(cause.kind, cause.code, `${file} is no bundle of collateral: ${cause.message}`, {
      remedy: 'Make one with "caisson broker collateral-fetch", and copy it here as it is.',
      cause,
    });
  }
}

/** The first source that has it; one that does not answer now is passed over, and counts if nobody else has it. */
export function firstOf(...sources: readonly CollateralSource[]): CollateralSource {
  return {
    async get(name) {
      let failure: unknown;
      for (const source of sources) {
        try {
          return await source.get(name);
        } catch (error) {
          const isMissing = error instanceof CaissonError && error.code === 'collateral-missing';
          if (!isMissing) throw error;
          if (failure === undefined || error.kind === 'transient') failure = error;
        }
      }
      throw failure instanceof CaissonError ? failure : missing(name);
    },
  };
}

export interface FreshnessOptions {
  readonly clock: Clock;
  readonly isImmutable?: (name: string) => boolean;
}

/**
 * A bundle beside a source that may ask vendors: the bundle as long as it is fresh, then whichever was obtained later. So an old
 * bundle hides nothing newer, and serves where nobody answers.
 */
export function newestOf(
  bundle: CollateralSource,
  fetched: CollateralSource,
  { clock, isImmutable }: FreshnessOptions,
): CollateralSource {
  return {
    async get(name) {
      const bundled = await bundle.get(name).catch(() => undefined);
      if (bundled === undefined) return await fetched.get(name);
      const age = clock.wall() - bundled.obtainedAt;
      if (isImmutable?.(name) === true || (age >= 0 && age < collateralFreshMilliseconds)) return bundled;
      try {
        const found = await fetched.get(name);
        return found.obtainedAt > bundled.obtainedAt ? found : bundled;
      } catch (error) {
        if (error instanceof CaissonError && error.code === 'collateral-missing') return bundled;
        throw error;
      }
    },
  };
}

function sourceOf(entries: ReadonlyMap<string, Collateral>): CollateralSource {
  return {
    get(name) {
      const found = entries.get(name);
      return found === undefined ? Promise.reject(missing(name)) : Promise.resolve(found);
    },
  };
}

async function bundleFiles(path: string): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = (await readdir(path)).filter((name) => name.endsWith('.json')).sort();
    if (names.length > collateralBundleEntriesMax * 4) throw unusable(path, 'there are too many files');
    return names.map((name) => join(path, name));
  } catch (error) {
    throw error instanceof CaissonError ? error : unusable(path, messageOf(error), error);
  }
}

async function readBounded(path: string): Promise<Uint8Array> {
  try {
    if ((await stat(path)).size > collateralBundleBytesMax) throw unusable(path, 'it is too large');
    return await readFile(path);
  } catch (error) {
    throw error instanceof CaissonError ? error : unusable(path, messageOf(error), error);
  }
}

function unusable(path: string, reason: string, cause?: unknown): CaissonError {
  const message = `collateral cannot be read from ${path}: ${reason}`;
  return new CaissonError('invalid', 'configuration-invalid', message, cause === undefined ? {} : { cause });
}

function missing(name: string): CaissonError {
  return new CaissonError('invalid', 'collateral-missing', `there is no collateral ${name.substring(0, 100)}`, {
    remedy: 'Let the broker ask the vendor, or add it to the bundle.',
    details: { name: name.substring(0, 100) },
  });
}
