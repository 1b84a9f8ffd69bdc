/** From a URL and what surrounds the process to an open S3 store: connection, credentials, marker. */
import { patientClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { isCaissonError } from '../../lib/errors.ts';
import type { Environment } from '../../lib/folders.ts';
import type { Random } from '../../lib/random.ts';
import { LocalSpool } from '../local-spool.ts';
import { nodeFileSystem } from '../node-file-system.ts';
import { markerName } from '../paths.ts';
import { noObserver } from '../store-counts.ts';
import type { StoreCounts } from '../store-counts.ts';
import { checkMarker, foreignStore, markerBytesMax, markerText, missingStore } from '../store-marker.ts';
import { smallFile } from '../../aws/credential-files.ts';
import { CredentialChain } from '../../aws/credentials.ts';
import { HttpTransport } from '../../aws/http-transport.ts';
import { S3Client } from './s3-client.ts';
import { S3Store } from './s3-store.ts';
import { parseS3Url, placeName, serverOf } from './s3-url.ts';
import type { S3Location } from './s3-url.ts';

export interface S3StoreOptions {
  /** Makes the store where the prefix holds nothing; a prefix with other objects is refused all the same. */
  readonly create: boolean;
  /** AWS_*, HTTPS_PROXY, HTTP_PROXY, NO_PROXY and HOME are looked at. */
  readonly environment: Environment;
  /** For spools and locks; each store has a folder in it. */
  readonly spoolFolder: string;
  readonly random: Random;
  readonly counts?: StoreCounts;
  readonly clock?: Clock;
  readonly idleMilliseconds?: number;
}

/** `rest` is the URL without `s3:`. */
export async function openS3Store(rest: string, options: S3StoreOptions): Promise<S3Store> {
  const { environment, random, spoolFolder, counts, clock = patientClock, idleMilliseconds } = options;
  const location = parseS3Url(rest, environment);
  const { authorityFile, region, profile } = location;
  const proxies = proxiesOf(location, environment);
  const transport = new HttpTransport({
    endpoint: serverOf(location),
    ...(authorityFile === undefined ? {} : { authorities: smallFile(authorityFile) }),
    ...(proxies === undefined ? {} : { proxies }),
    ...(idleMilliseconds === undefined ? {} : { idleMilliseconds }),
  });
  const credentials = new CredentialChain({ environment, profile, region, clock });
  const observer = counts?.trafficOf(location.url) ?? noObserver;
  const client = new S3Client({ location, transport, credentials, clock, random, observer });
  const spool = new LocalSpool(nodeFileSystem, spoolFolderOf(location, spoolFolder));
  const store = new S3Store({ url: location.url, client, spool, random });
  try {
    await openBucketMarker(store, `s3://${location.bucket}/${location.prefix}`, options.create);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

export function spoolFolderOf(location: S3Location, spoolFolder: string): string {
  return `${spoolFolder}/${placeName(location)}`;
}

/** As `dir-marker.ts` does for a folder. */
async function openBucketMarker(store: S3Store, place: string, create: boolean): Promise<void> {
  if (await hasMarker(store, place)) return;
  if (!(await store.isEmpty())) throw foreignStore(place);
  if (!create) throw missingStore(place);
  const isMade = await store.createReserved(markerName, new TextEncoder().encode(markerText));
  // Somebody else was as quick: what stands there now must be a marker.
  if (!isMade && !(await hasMarker(store, place))) throw foreignStore(place);
}

async function hasMarker(store: S3Store, place: string): Promise<boolean> {
  try {
    const bytes = await store.readReserved(markerName, markerBytesMax);
    if (bytes !== undefined) checkMarker(place, bytes);
    return bytes !== undefined;
  } catch (error) {
    throw isCaissonError(error, 'object-too-large') ? foreignStore(place) : error;
  }
}

function proxiesOf({ proxy }: S3Location, environment: Environment): Record<string, string> | undefined {
  if (proxy !== undefined) return { HTTP_PROXY: proxy, HTTPS_PROXY: proxy };
  const found: Record<string, string> = {};
  for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy']) {
    const value = environment[name];
    if (value !== undefined && value !== '') found[name] = value;
  }
  return Object.keys(found).length === 0 ? undefined : found;
}
