/**
 * Manifests and heads as signed statements: making, checking, reading and publishing them. The codecs
 * are `manifest-format.ts` and `head-format.ts`; the rules are spec/manifest-format.md.
 */
import { openBox, sealBox } from '../crypto/box.ts';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { verifySignature, volumeIdFromPublicKey, type SigningKey } from '../crypto/signature.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { headKey, manifestKey } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { decodeHead, encodeHead, headBytesMax, type DecodedHead, type Head } from './head-format.ts';
import {
  appendSealed,
  appendSignature,
  decodeManifest,
  encodePublic,
  manifestBytesMax,
  type DecodedManifest,
  type ManifestPublic,
} from './manifest-format.ts';
import { decodeState, encodeState, type ManifestState } from './state-format.ts';

const encoder = new TextEncoder();
const manifestContext = encoder.encode('caisson v1 manifest\0');
const headContext = encoder.encode('caisson v1 head\0');
const zeroNonce = new Uint8Array(12);

export interface ReadManifest {
  readonly manifest: DecodedManifest;
  readonly digest: Uint8Array; // 32 bytes
}

export interface ReadHead {
  readonly head: DecodedHead;
  readonly version: string;
}

/** The bytes of a manifest: public part, sealed state, signature. */
export function buildManifest(
  fields: ManifestPublic,
  state: ManifestState,
  dataKey: Uint8Array,
  signingKey: SigningKey,
): Uint8Array {
  const publicBytes = encodePublic(fields);
  const key = manifestSealingKey(dataKey, fields);
  const sealed = sealBox(key, zeroNonce, sha256(publicBytes), encodeState(state));
  key.fill(0);
  const signed = appendSealed(publicBytes, sealed);
  return appendSignature(signed, signingKey.sign(join(manifestContext, signed)));
}

/** The last manifest of a volume whose keys are destroyed: no keyring, no sealed part. */
export function buildErasure(fields: ManifestPublic, signingKey: SigningKey): Uint8Array {
  const signed = appendSealed(encodePublic(fields), new Uint8Array(0));
  return appendSignature(signed, signingKey.sign(join(manifestContext, signed)));
}

/** Checks digest, form, volume and signature: afterwards every public field is the writer's. */
export function checkManifest(
  bytes: Uint8Array,
  expectedDigest: Uint8Array,
  volumeId: Uint8Array,
  name: string,
): ReadManifest {
  const digest = sha256(bytes);
  if (!equalBytes(digest, expectedDigest)) throw tampered(name, 'its digest is not the one that names it');
  const manifest = decodeNamed(() => decodeManifest(bytes), name, tampered);
  if (!equalBytes(manifest.volumeId, volumeId)) throw tampered(name, 'it belongs to another volume');
  if (!equalBytes(volumeIdFromPublicKey(manifest.writerKey), volumeId))
    throw tampered(name, 'its writer key is not the one the volume id names');
  if (!verifySignature(manifest.writerKey, join(manifestContext, manifest.signedBytes), manifest.signature))
    throw tampered(name, 'its signature is wrong');
  return { manifest, digest };
}

/** The sealed part; `manifest` was checked. */
export function openState(manifest: DecodedManifest, dataKey: Uint8Array, name: string): ManifestState {
  const key = manifestSealingKey(dataKey, manifest);
  const plaintext = openBox(key, zeroNonce, sha256(manifest.publicBytes), manifest.sealed);
  key.fill(0);
  if (plaintext === undefined) throw tampered(name, 'its sealed part does not open');
  return decodeNamed(() => decodeState(plaintext), name, tampered);
}

export async function readManifest(
  store: Store,
  prefix: string,
  volumeId: Uint8Array,
  number: number,
  digest: Uint8Array,
): Promise<ReadManifest> {
  const key = manifestKey(prefix, number, digest);
  let bytes: Uint8Array;
  try {
    bytes = await store.get(key, manifestBytesMax);
  } catch (error) {
    if (!isCaissonError(error, 'object-missing')) throw error;
    throw tampered(key, 'it is missing', error);
  }
  const read = checkManifest(bytes, digest, volumeId, key);
  if (read.manifest.number !== number) throw tampered(key, `it says number ${read.manifest.number}`);
  return read;
}

export function buildHead(head: Head, signingKey: SigningKey): Uint8Array {
  const bytes = encodeHead(head);
  return new ByteWriter()
    .bytes(bytes)
    .bytes(signingKey.sign(join(headContext, bytes)), 64)
    .finish();
}

export function checkHead(bytes: Uint8Array, volumeId: Uint8Array): DecodedHead {
  const head = decodeNamed(() => decodeHead(bytes), 'head', headTampered);
  if (!equalBytes(head.volumeId, volumeId)) throw headTampered('head', 'it belongs to another volume');
  if (!equalBytes(volumeIdFromPublicKey(head.writerKey), volumeId))
    throw headTampered('head', 'its writer key is not the one the volume id names');
  if (!verifySignature(head.writerKey, join(headContext, head.signedBytes), head.signature))
    throw headTampered('head', 'its signature is wrong');
  return head;
}

export async function readHead(store: Store, prefix: string, volumeId: Uint8Array): Promise<ReadHead> {
  try {
    const { bytes, version } = await store.getVersioned(headKey(prefix), headBytesMax);
    return { head: checkHead(bytes, volumeId), version };
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) {
      throw new CaissonError(
        'invalid',
        'volume-missing',
        `the store ${store.url} holds no volume ${prefix.substring(0, prefix.length - 1)}`,
        {
          remedy: 'Check the store and the id; nothing was changed.',
          cause: error,
        },
      );
    }
    if (isCaissonError(error, 'object-too-large')) throw headTampered('head', 'it is too long', error);
    throw error;
  }
}

/**
 * Swaps the head. A failed swap is not yet a lost race: the answer of an earlier try may have been
 * lost. So a swap that failed otherwise is tried once more, and where the head has changed it is read
 * back: our own bytes are success, only a head of another holder means `volume-fenced`.
 */
export async function swapHead(
  store: Store,
  prefix: string,
  expected: string | null,
  head: Head,
  signingKey: SigningKey,
): Promise<string> {
  const key = headKey(prefix);
  const bytes = buildHead(head, signingKey);
  for (let attempt = 0; ; attempt++) {
    try {
      return await store.swap(key, expected, bytes);
    } catch (error) {
      if (isCaissonError(error, 'object-changed')) {
        const found = await store.getVersioned(key, headBytesMax);
        if (equalBytes(found.bytes, bytes)) return found.version;
        throw fenced(error);
      }
      if (attempt > 0) throw error;
    }
  }
}

/**
 * Creates an immutable object, forgiving a lost answer: a create that failed is tried once more, and
 * the same bytes under the key are success.
 */
export async function createExact(store: Store, key: string, bytes: Uint8Array): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await store.create(key, bytes);
    } catch (error) {
      if (isCaissonError(error, 'object-exists')) {
        if (equalBytes(await store.get(key, bytes.length), bytes)) return;
        throw error;
      }
      if (attempt > 0) throw error;
    }
  }
}

export function fenced(cause: unknown): CaissonError {
  return new CaissonError('fenced', 'volume-fenced', 'another writer has taken the volume over', {
    remedy: 'Stop this writer; what it had flushed before is safe and belongs to the new writer.',
    cause,
  });
}

function manifestSealingKey(dataKey: Uint8Array, fields: ManifestPublic): Uint8Array {
  const context = new ByteWriter().bytes(fields.volumeId, 16).u64(fields.number).u64(fields.epoch).finish();
  return deriveKey(dataKey, fields.salt, keyLabel.manifest, context);
}

function decodeNamed<T>(
  decode: () => T,
  name: string,
  wrap: (name: string, message: string, cause: unknown) => CaissonError,
): T {
  try {
    return decode();
  } catch (error) {
    if (isCaissonError(error, 'format-version')) throw error;
    throw wrap(name, messageOf(error), error);
  }
}

function tampered(name: string, message: string, cause?: unknown): CaissonError {
  return new CaissonError(
    'integrity',
    'manifest-tampered',
    `manifest ${name} is not what the volume's writer made: ${message}`,
    {
      remedy: 'The store was changed from outside. Restore it from a copy that is at least as new as the anchor.',
      details: { object: name },
      cause,
    },
  );
}

function headTampered(name: string, message: string, cause?: unknown): CaissonError {
  return new CaissonError(
    'integrity',
    'head-tampered',
    `the ${name} of the volume is not what its writer made: ${message}`,
    {
      remedy: 'The store was changed from outside. Restore it from a copy that is at least as new as the anchor.',
      cause,
    },
  );
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}
