/**
 * Verifying: with no key at all every object's digest and the signed chain; with the key also every
 * live block, through the same path that serves it. It changes nothing and goes on after a finding.
 */
import { equalBytes } from '../crypto/digest.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import { readHead, readManifest, type ReadManifest } from '../manifest/manifest.ts';
import { ManifestKind } from '../manifest/manifest-format.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import { blockBytes } from '../segment/segment-format.ts';
import { catalogKey, manifestKey, manifestPrefix, parseKey, volumePrefix } from '../store/paths.ts';
import { protectionOf } from './describe.ts';
import { checkFreshness } from './freshness.ts';
import { digestOf } from './inline-digester.ts';
import { objectKey } from './object-names.ts';
import { pinsOf, readCatalog } from './opening.ts';
import type { Progress, VerifyFinding, VerifyReport, Volume, VolumeEnvironment } from './volume-types.ts';

const readBlocks = 256;

export interface VerifyPart {
  readonly volumeId: Uint8Array;
  readonly onProgress?: Progress | undefined;
}

interface ChainResult {
  readonly newest: ReadManifest;
  /** Of the chain down to the floor, and the pinned ones below it. */
  readonly manifests: readonly { readonly number: number; readonly digest: Uint8Array }[];
  readonly pinnedCount: number;
}

/** Everything that can be checked without a key. */
export async function verifyPublic(environment: VolumeEnvironment, part: VerifyPart): Promise<VerifyReport> {
  const { store } = environment;
  const prefix = volumePrefix(part.volumeId);
  const findings: VerifyFinding[] = [];
  const chain = await readChain(environment, prefix, part.volumeId, findings);
  if (chain === undefined) return emptyReport(part.volumeId, findings);
  const { newest } = chain;
  if (newest.manifest.kind === ManifestKind.erase) return erasedReport(environment, prefix, part, newest, findings);
  const table = await attempt(findings, 'catalog', () => readCatalog(store, newest));
  let objectsChecked = 0;
  let objectBytes = 0;
  if (table !== undefined) {
    const total = table.totals();
    for (const { key, bytes, digest } of objectsOf(table)) {
      const finding = await checkObject(environment, key, bytes, digest);
      if (finding !== undefined) findings.push(finding);
      objectsChecked++;
      objectBytes += bytes;
      part.onProgress?.(objectBytes, total.bytes, 'bytes');
    }
  }
  const settled = await settleFindings(environment, prefix, part.volumeId, newest, findings);
  return {
    volumeId: toHex(part.volumeId),
    public: true,
    protection: protectionOf(newest.manifest),
    manifestNumber: newest.manifest.number,
    manifestDigest: toHex(newest.digest),
    writerKey: toHex(newest.manifest.writerKey),
    manifestsChecked: chain.manifests.length,
    erased: false,
    pinsChecked: chain.pinnedCount,
    objectsChecked,
    objectBytes,
    unitsChecked: 0,
    orphans: table === undefined ? [] : await findOrphans(environment, prefix, table, chain),
    findings: settled,
    freshness: await freshnessOf(environment, prefix, part.volumeId),
  };
}

/** Reads every block that holds data; adds to `report` what it finds. */
export async function verifyBlocks(
  volume: Volume,
  report: VerifyReport,
  onProgress: Progress | undefined,
): Promise<VerifyReport> {
  const findings = [...report.findings];
  const region = new Region(readBlocks * blockBytes);
  let unitsChecked = 0;
  for (let offset = 0; offset < volume.size;) {
    const extents = await attempt(findings, 'block map', async () =>
      volume.extents(offset, volume.size - offset, 1024),
    );
    if (extents === undefined || extents.length === 0) break;
    for (const extent of extents) {
      if (!extent.zero) unitsChecked += await readExtent(volume, offset, extent.length, region, findings);
      offset += extent.length;
      onProgress?.(offset, volume.size, 'bytes');
    }
  }
  return { ...report, public: false, unitsChecked, findings };
}

async function readExtent(
  volume: Volume,
  offset: number,
  length: number,
  region: Region,
  findings: VerifyFinding[],
): Promise<number> {
  let read = 0;
  for (let at = 0; at < length; at += region.length) {
    const count = Math.min(region.length, length - at);
    if (await readable(volume, offset + at, count, region, undefined)) read += count / blockBytes;
    // One bad block must not hide its neighbours: look at each alone.
    else
      for (let block = 0; block < count; block += blockBytes)
        if (await readable(volume, offset + at + block, blockBytes, region, findings)) read++;
  }
  return read;
}

async function readable(
  volume: Volume,
  offset: number,
  length: number,
  region: Region,
  findings: VerifyFinding[] | undefined,
): Promise<boolean> {
  try {
    await volume.read(offset, length, region, 0);
    return true;
  } catch (error) {
    findings?.push(findingOf(error, `block ${offset / blockBytes}`));
    return false;
  }
}

async function readChain(
  environment: VolumeEnvironment,
  prefix: string,
  volumeId: Uint8Array,
  findings: VerifyFinding[],
): Promise<ChainResult | undefined> {
  const { store } = environment;
  const newest = await attempt(findings, 'head', async () => {
    const { head } = await readHead(store, prefix, volumeId);
    return readManifest(store, prefix, volumeId, head.number, head.manifestDigest);
  });
  if (newest === undefined) return undefined;
  const manifests = [{ number: newest.manifest.number, digest: newest.digest }];
  let read = newest;
  while (read.manifest.number > newest.manifest.floor) {
    const { number, previousDigest } = read.manifest;
    const previous = await attempt(findings, `manifest ${number - 1}`, () =>
      readManifest(store, prefix, volumeId, number - 1, previousDigest),
    );
    if (previous === undefined) break;
    manifests.push({ number: previous.manifest.number, digest: previous.digest });
    read = previous;
  }
  let pinnedCount = 0;
  // Clones read the objects of a pinned state, not its manifest: an erasure removes that.
  const pins = newest.manifest.kind === ManifestKind.erase ? [] : pinsOf(newest);
  for (const pin of pins) {
    if (manifests.some((known) => known.number === pin.number)) continue;
    const pinned = await attempt(findings, `manifest ${pin.number}`, () =>
      readManifest(store, prefix, volumeId, pin.number, pin.digest),
    );
    if (pinned === undefined) continue;
    manifests.push({ number: pin.number, digest: pin.digest });
    pinnedCount++;
  }
  return { newest, manifests, pinnedCount };
}

/** Of an erased volume: the receipt is signed, the anchor knows it, and no manifest with keys is left beside it. */
async function erasedReport(
  environment: VolumeEnvironment,
  prefix: string,
  part: VerifyPart,
  newest: ReadManifest,
  findings: VerifyFinding[],
): Promise<VerifyReport> {
  const receipt = manifestKey(prefix, newest.manifest.number, newest.digest);
  for await (const { key } of environment.store.list(manifestPrefix(prefix))) {
    if (key !== receipt)
      findings.push({
        code: 'keyring-remains',
        object: key,
        message: 'a manifest from before the erasure, with its keyring, is still here',
      });
  }
  return {
    ...emptyReport(part.volumeId, findings),
    protection: protectionOf(newest.manifest),
    manifestNumber: newest.manifest.number,
    manifestDigest: toHex(newest.digest),
    writerKey: toHex(newest.manifest.writerKey),
    manifestsChecked: 1,
    erased: true,
    freshness: await freshnessOf(environment, prefix, part.volumeId),
  };
}

function* objectsOf(table: ObjectTable): Generator<{ key: string; bytes: number; digest: Uint8Array }> {
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry === undefined) continue;
    const { bytes, digest } = entry;
    yield { key: objectKey(volumePrefix(entry.lineage), entry), bytes, digest };
  }
}

async function checkObject(
  environment: VolumeEnvironment,
  key: string,
  bytes: number,
  digest: Uint8Array,
): Promise<VerifyFinding | undefined> {
  try {
    const reader = await environment.store.open(key);
    try {
      if (reader.size !== bytes)
        return {
          code: 'digest-mismatch',
          object: key,
          message: `it has ${reader.size} bytes, the signed catalog says ${bytes}`,
        };
      return equalBytes(await digestOf(reader, bytes, environment.clock), digest)
        ? undefined
        : { code: 'digest-mismatch', object: key, message: 'its bytes are not the ones the writer signed' };
    } finally {
      await reader.close();
    }
  } catch (error) {
    return findingOf(error, key);
  }
}

/** A writer that published meanwhile may have deleted what we looked for: judge again by the newer manifest. */
async function settleFindings(
  environment: VolumeEnvironment,
  prefix: string,
  volumeId: Uint8Array,
  judged: ReadManifest,
  findings: VerifyFinding[],
): Promise<VerifyFinding[]> {
  if (findings.length === 0) return findings;
  try {
    const { head } = await readHead(environment.store, prefix, volumeId);
    if (head.number === judged.manifest.number) return findings;
    const newer = await readManifest(environment.store, prefix, volumeId, head.number, head.manifestDigest);
    const named = new Set([...objectsOf(await readCatalog(environment.store, newer))].map((object) => object.key));
    return findings.filter((finding) => finding.code !== 'object-missing' || named.has(finding.object));
  } catch {
    return findings;
  }
}

async function findOrphans(
  environment: VolumeEnvironment,
  prefix: string,
  table: ObjectTable,
  chain: ChainResult,
): Promise<string[]> {
  const known = new Set([...objectsOf(table)].map((object) => object.key));
  for (const reference of chain.newest.manifest.catalog)
    known.add(catalogKey(volumePrefix(reference.owner), reference.id));
  for (const manifest of chain.manifests) known.add(manifestKey(prefix, manifest.number, manifest.digest));
  const orphans: string[] = [];
  for await (const object of environment.store.list(prefix)) {
    const parsed = parseKey(object.key);
    if (parsed !== undefined && parsed.kind !== 'head' && !known.has(object.key)) orphans.push(object.key);
  }
  return orphans.sort();
}

export async function freshnessOf(
  environment: VolumeEnvironment,
  prefix: string,
  volumeId: Uint8Array,
): Promise<VerifyReport['freshness']> {
  const anchor = await environment.anchor.read(volumeId);
  if (anchor === undefined) return 'not-checked';
  try {
    const { head } = await readHead(environment.store, prefix, volumeId);
    await checkFreshness(
      environment.store,
      prefix,
      head,
      await readManifest(environment.store, prefix, volumeId, head.number, head.manifestDigest),
      anchor,
    );
    return 'current';
  } catch (error) {
    if (isCaissonError(error, 'rolled-back')) return 'rolled-back';
    return isCaissonError(error, 'forked') ? 'forked' : 'not-checked';
  }
}

export function emptyReport(volumeId: Uint8Array, findings: readonly VerifyFinding[]): VerifyReport {
  return {
    volumeId: toHex(volumeId),
    public: true,
    manifestNumber: 0,
    manifestDigest: '',
    writerKey: '',
    manifestsChecked: 0,
    erased: false,
    pinsChecked: 0,
    objectsChecked: 0,
    objectBytes: 0,
    unitsChecked: 0,
    orphans: [],
    findings,
    freshness: 'not-checked',
  };
}

export function findingOf(error: unknown, object: string): VerifyFinding {
  const named = error instanceof CaissonError ? error.details['object'] : undefined;
  return {
    code: error instanceof CaissonError ? error.code : 'store-io',
    object: typeof named === 'string' ? named : object,
    message: messageOf(error),
  };
}

/** Runs a step; an integrity error becomes a finding, anything else (a store that is down) is thrown. */
async function attempt<T>(findings: VerifyFinding[], object: string, step: () => Promise<T>): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof CaissonError) || error.kind !== 'integrity') throw error;
    findings.push(findingOf(error, object));
    return undefined;
  }
}
