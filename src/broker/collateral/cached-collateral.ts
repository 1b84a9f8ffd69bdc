/**
 * A cache before a source that costs time (spec/collateral.md, "Cache"): in memory and, if a folder is given, on disk.
 *
 * Invariants: one question per name at one time; both stores bounded; a damaged or foreign file is as if it were not there; a vendor
 * that does not answer leaves the last known document in use, whose dates the verifier judges.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import {
  collateralBytesMax,
  collateralCacheBytesMax,
  collateralCacheEntriesMax,
  collateralFreshMilliseconds,
  collateralMissingMilliseconds,
} from '../../lib/limits.ts';
import type { Collateral, CollateralSource } from '../attest/collateral.ts';
import { decodeBundle, encodeBundle, isCollateralName } from './bundle-format.ts';

export interface CacheOptions {
  readonly source: CollateralSource;
  readonly clock: Clock;
  /** Where files are kept; only memory where it is not given. */
  readonly folder?: string;
  readonly entriesMax?: number;
  readonly bytesMax?: number;
  /** What never changes once it was published. */
  readonly isImmutable?: (name: string) => boolean;
}

export function cachedCollateral(options: CacheOptions): CollateralSource {
  const cache = new CollateralCache(options);
  return { get: (name) => cache.get(name) };
}

class CollateralCache {
  readonly #options: CacheOptions;
  /** In the order of their last use. */
  readonly #entries = new Map<string, Collateral>();
  readonly #missing = new Map<string, { readonly until: number; readonly error: CaissonError }>();
  readonly #questions = new Map<string, Promise<Collateral>>();
  #bytes = 0;
  /** Files that are known to be there; undefined until they were counted. */
  #fileCount: number | undefined;

  constructor(options: CacheOptions) {
    this.#options = options;
  }

  async get(name: string): Promise<Collateral> {
    const question = this.#questions.get(name) ?? this.#ask(name);
    return await question;
  }

  #ask(name: string): Promise<Collateral> {
    const question = this.#find(name).finally(() => this.#questions.delete(name));
    this.#questions.set(name, question);
    return question;
  }

  async #find(name: string): Promise<Collateral> {
    const known = this.#entries.get(name) ?? (await this.#readFile(name));
    if (known !== undefined && this.#isFresh(name, known)) return this.#keep(name, known);
    const missing = this.#missing.get(name);
    if (missing !== undefined && missing.until > this.#options.clock.wall()) throw missing.error;
    try {
      const fetched = await this.#options.source.get(name);
      await this.#writeFile(name, fetched);
      return this.#keep(name, fetched);
    } catch (error) {
      const isUnanswered = error instanceof CaissonError && error.kind === 'transient';
      if (isUnanswered && known !== undefined) return this.#keep(name, known);
      this.#rememberMissing(name, error);
      throw error;
    }
  }

  /** A date in the future is of a clock that was wrong: it does not count as fresh. */
  #isFresh(name: string, { obtainedAt }: Collateral): boolean {
    if (this.#options.isImmutable?.(name) === true) return true;
    const age = this.#options.clock.wall() - obtainedAt;
    return age >= 0 && age < collateralFreshMilliseconds;
  }

  #keep(name: string, collateral: Collateral): Collateral {
    const { entriesMax = collateralCacheEntriesMax, bytesMax = collateralCacheBytesMax } = this.#options;
    this.#drop(name);
    this.#entries.set(name, collateral);
    this.#bytes += sizeOf(name, collateral);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= entriesMax && this.#bytes <= bytesMax) break;
      this.#drop(oldest);
    }
    return collateral;
  }

  #drop(name: string): void {
    const collateral = this.#entries.get(name);
    if (collateral === undefined) return;
    this.#entries.delete(name);
    this.#bytes -= sizeOf(name, collateral);
  }

  #rememberMissing(name: string, error: unknown): void {
    if (!(error instanceof CaissonError) || error.code !== 'collateral-missing' || error.kind === 'transient') return;
    const { entriesMax = collateralCacheEntriesMax, clock } = this.#options;
    this.#missing.delete(name);
    this.#missing.set(name, { until: clock.wall() + collateralMissingMilliseconds, error });
    for (const oldest of this.#missing.keys()) {
      if (this.#missing.size <= entriesMax) break;
      this.#missing.delete(oldest);
    }
  }

  async #readFile(name: string): Promise<Collateral | undefined> {
    const path = this.#pathOf(name);
    if (path === undefined) return undefined;
    try {
      if ((await stat(path)).size > fileBytesMax) return undefined;
      const entry = decodeBundle(await readFile(path)).find((candidate) => candidate.name === name);
      const used = this.#options.clock.wall() / 1000;
      if (entry !== undefined) await utimes(path, used, used);
      return entry;
    } catch {
      return undefined; // not there, damaged or not ours: the vendor is asked
    }
  }

  /** A cache that cannot be written is slow, not wrong: the answer counts. */
  async #writeFile(name: string, collateral: Collateral): Promise<void> {
    const path = this.#pathOf(name);
    if (path === undefined) return;
    try {
      await mkdir(this.#options.folder!, { mode: 0o700 }).catch(() => undefined);
      const temporary = `${path}.${process.pid}.new`;
      await writeFile(temporary, encodeBundle([{ name, ...collateral }]), { mode: 0o600 });
      await rename(temporary, path);
      await this.#boundFiles();
    } catch {
      return;
    }
  }

  /** Every so many writes the files are counted, and the ones used longest ago are removed. */
  async #boundFiles(): Promise<void> {
    const { entriesMax = collateralCacheEntriesMax, folder = '' } = this.#options;
    if (this.#fileCount !== undefined && ++this.#fileCount <= entriesMax) return;
    const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{32}\.json(?:\.\d+\.new)?$/.test(name));
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(folder, name);
        return { path, usedAt: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0 };
      }),
    );
    const excess = files
      .sort((one, other) => one.usedAt - other.usedAt)
      .toSpliced(Math.max(files.length - entriesMax, 0));
    for (const { path } of excess) await rm(path, { force: true });
    this.#fileCount = files.length - excess.length;
  }

  #pathOf(name: string): string | undefined {
    const { folder } = this.#options;
    if (folder === undefined || !isCollateralName(name)) return undefined;
    return join(folder, `${createHash('sha256').update(name).digest('hex').substring(0, 32)}.json`);
  }
}

/** Base64 of the largest document and its chain, and some room. */
const fileBytesMax = collateralBytesMax * 2;

function sizeOf(name: string, { bytes, issuerChain }: Collateral): number {
  return name.length + bytes.length + (issuerChain?.length ?? 0);
}
