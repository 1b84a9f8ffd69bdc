/**
 * The names of objects. This file alone knows them; everybody else asks it (spec/store.md).
 *
 * A key is a relative path of lower-case words: `<volume id>/segments/3f/<segment id>`. No part of
 * a key comes from a user or from the store unchecked, so that no key can leave the store's folder.
 */
import { assert } from '../lib/assert.ts';
import { toHex } from '../lib/hex.ts';
import { CaissonError } from '../lib/errors.ts';

export const idBytes = 16;
export const keyBytesMax = 200;

/** What tells a store from any other folder or bucket. */
export const markerName = 'caisson-store';
/** Objects that only live while a server is asked whether it honours conditions. */
export const probeFolder = 'caisson-probe';

/** Names beside the volumes and beside a volume's objects that belong to the store itself. */
const reservedAtRoot: ReadonlySet<string> = new Set([markerName, probeFolder, 'tmp']);
const reservedInVolume: ReadonlySet<string> = new Set(['lock', 'spool']);

const keyPattern = /^[0-9a-z-]+(?:\/[0-9a-z-]+)+$/;
const prefixPattern = /^(?:[0-9a-z-]+\/)*[0-9a-z-]*$/;
const volumePrefixPattern = /^([0-9a-f]{32})\/$/;
const spoolNamePattern = /^[0-9a-z-]{1,64}$/;

export function volumePrefix(volumeId: Uint8Array): string {
  return `${idToHex(volumeId)}/`;
}

export function headKey(prefix: string): string {
  return `${prefix}head`;
}

export function manifestPrefix(prefix: string): string {
  return `${prefix}manifests/`;
}

/**
 * The digest is part of the name: a manifest that a crashed writer left behind never stands in the way
 * of the one that takes its number, and creating the same manifest twice is the same object.
 */
export function manifestKey(prefix: string, manifestNumber: number, digest: Uint8Array): string {
  assert(Number.isSafeInteger(manifestNumber) && manifestNumber >= 0, `manifest number ${manifestNumber}`);
  return `${manifestPrefix(prefix)}${manifestNumber.toString(16).padStart(16, '0')}-${idToHex(digest.subarray(0, idBytes))}`;
}

export function segmentKey(prefix: string, segmentId: Uint8Array): string {
  return shardedKey(prefix, 'segments', segmentId);
}

export function mapObjectKey(prefix: string, mapObjectId: Uint8Array): string {
  return shardedKey(prefix, 'maps', mapObjectId);
}

export function catalogKey(prefix: string, catalogId: Uint8Array): string {
  return shardedKey(prefix, 'catalog', catalogId);
}

/** The spool file that becomes the segment with this id. */
export function spoolName(segmentId: Uint8Array): string {
  return idToHex(segmentId);
}

const hashedFolder = 'hashed';
const digestHexPattern = /^[0-9a-f]{64}$/;

/** Below it lie the root records of hashed images, by root (spec/hashed-format.md). */
export const hashedRootsPrefix = `${hashedFolder}/roots/`;
export const hashedNodesPrefix = `${hashedFolder}/nodes/`;
export const hashedSpansPrefix = `${hashedFolder}/spans/`;
export const hashedBuildsPrefix = `${hashedFolder}/builds/`;
export const hashedRemovalKey = `${hashedFolder}/removal`;

export function hashedRootKey(root: Uint8Array): string {
  return `${hashedRootsPrefix}${digestToHex(root)}`;
}

export function hashedNodeKey(digest: Uint8Array): string {
  const hex = digestToHex(digest);
  return `${hashedNodesPrefix}${hex.substring(62)}/${hex}`;
}

export function hashedSpanKey(digest: Uint8Array): string {
  const hex = digestToHex(digest);
  return `${hashedSpansPrefix}${hex.substring(62)}/${hex}`;
}

export function hashedBuildKey(buildId: Uint8Array): string {
  return `${hashedBuildsPrefix}${idToHex(buildId)}`;
}

export interface ParsedHashedKey {
  readonly kind: 'root' | 'node' | 'span';
  readonly digest: Uint8Array;
}

/** What a key of a hashed image names; markers and everything else are undefined. */
export function parseHashedKey(key: string): ParsedHashedKey | undefined {
  const [first, folder, third, fourth, ...rest] = key.split('/');
  if (first !== hashedFolder || third === undefined || rest.length > 0) return undefined;
  if (folder === 'roots') return fourth === undefined ? parsedHashed('root', third) : undefined;
  if (fourth === undefined || third !== fourth.substring(62)) return undefined;
  if (folder === 'nodes') return parsedHashed('node', fourth);
  return folder === 'spans' ? parsedHashed('span', fourth) : undefined;
}

function parsedHashed(kind: ParsedHashedKey['kind'], hex: string): ParsedHashedKey | undefined {
  return digestHexPattern.test(hex) ? { kind, digest: new Uint8Array(Buffer.from(hex, 'hex')) } : undefined;
}

/** What a key names, or undefined when no part of Caisson makes such a key. */
export type ParsedKey =
  | { readonly kind: 'head'; readonly volumeId: Uint8Array }
  | {
      readonly kind: 'manifest';
      readonly volumeId: Uint8Array;
      readonly manifestNumber: number;
      readonly digestStart: Uint8Array;
    }
  | { readonly kind: 'segment' | 'map' | 'catalog'; readonly volumeId: Uint8Array; readonly id: Uint8Array };

const kindOfFolder = { segments: 'segment', maps: 'map', catalog: 'catalog' } as const;

export function parseKey(key: string): ParsedKey | undefined {
  const [volume, folder, third, fourth, ...rest] = key.split('/');
  const volumeId = idFromHex(volume);
  if (volumeId === undefined || folder === undefined || rest.length > 0) return undefined;
  if (folder === 'head') return third === undefined ? { kind: 'head', volumeId } : undefined;
  if (folder === 'manifests') {
    if (third === undefined || fourth !== undefined || !/^[0-9a-f]{16}-[0-9a-f]{32}$/.test(third)) return undefined;
    const manifestNumber = Number.parseInt(third.substring(0, 16), 16);
    const digestStart = idFromHex(third.substring(17));
    if (digestStart === undefined || !Number.isSafeInteger(manifestNumber)) return undefined;
    return { kind: 'manifest', volumeId, manifestNumber, digestStart };
  }
  if (folder !== 'segments' && folder !== 'maps' && folder !== 'catalog') return undefined;
  const id = idFromHex(fourth);
  if (id === undefined || third !== fourth?.substring(30)) return undefined;
  return { kind: kindOfFolder[folder], volumeId, id };
}

export function parseSpoolName(name: string): Uint8Array | undefined {
  return idFromHex(name);
}

/** The volume whose prefix this is, or undefined. */
export function parseVolumePrefix(prefix: string): Uint8Array | undefined {
  return idFromHex(volumePrefixPattern.exec(prefix)?.[1]);
}

/** Throws `argument-invalid` unless `key` is one that every store can hold. */
export function checkKey(key: string): void {
  if (!isKey(key)) throw nameInvalid('key', key);
}

/** A prefix to list: empty, or the beginning of a key. */
export function checkPrefix(prefix: string): void {
  if (prefix.length > keyBytesMax || !prefixPattern.test(prefix)) throw nameInvalid('prefix', prefix);
}

export function checkVolumePrefix(prefix: string): void {
  if (!volumePrefixPattern.test(prefix)) throw nameInvalid('volume prefix', prefix);
}

export function checkSpoolName(name: string): void {
  if (!spoolNamePattern.test(name)) throw nameInvalid('spool name', name);
}

/** True for a key that `checkKey` takes. */
export function isKey(key: string): boolean {
  return key.length <= keyBytesMax && keyPattern.test(key) && !isReserved(key);
}

/** True for what lies in a store's folder but is no object: the marker, `tmp/`, locks, spools. */
export function isReserved(key: string): boolean {
  const [first, second] = key.split('/');
  return reservedAtRoot.has(first!) || (second !== undefined && reservedInVolume.has(second));
}

/** Lower-case words only: whatever else lies in a folder was not put there as an object. */
export function isKeyWord(name: string): boolean {
  return /^[0-9a-z-]+$/.test(name);
}

/** Sharded by the last byte, which is random: 256 folders keep each one small. */
function shardedKey(prefix: string, folder: string, id: Uint8Array): string {
  const hex = idToHex(id);
  return `${prefix}${folder}/${hex.substring(30)}/${hex}`;
}

function idToHex(id: Uint8Array): string {
  assert(id.length === idBytes, `id of ${id.length} bytes`);
  return toHex(id);
}

function digestToHex(digest: Uint8Array): string {
  assert(digest.length === 32, `digest of ${digest.length} bytes`);
  return toHex(digest);
}

function idFromHex(hex: string | undefined): Uint8Array | undefined {
  return hex !== undefined && /^[0-9a-f]{32}$/.test(hex) ? new Uint8Array(Buffer.from(hex, 'hex')) : undefined;
}

function nameInvalid(what: string, value: string): CaissonError {
  const shown = value.substring(0, keyBytesMax);
  return new CaissonError(
    'invalid',
    'argument-invalid',
    `not a ${what} that a store accepts: ${JSON.stringify(shown)}`,
  );
}
