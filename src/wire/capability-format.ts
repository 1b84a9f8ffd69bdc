/**
 * The bytes of a capability and their text form (spec/capability-format.md, section 2). Decoding checks what one
 * block alone can be wrong about; who signed and whether each block narrows is for capability.ts.
 *
 * Spec: spec/capability-format.md. Vectors: test/vectors/capability/.
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';

export const capabilityBlocksMax = 16;
export const holderKeyBytes = 32;
const signatureBytes = 64;
const headerBytes = 56;
export const snapshotIdBytes = 16;
const magic = 'CSNCAPA\n';
/** Bytes of the body of a block, by version; the first one knows no snapshots. */
const bodyBytes = { 1: 72, 2: 88 } as const;
export type CapabilityVersion = keyof typeof bodyBytes;
const alignmentBytes = 4096;
const textPrefix = 'csncap1.';
const textCharactersMax = 4096;

/** In the order of their bits. */
export const capabilityRights = ['read', 'write', 'trim', 'snapshot', 'resize', 'export', 'delegate'] as const;
export type CapabilityRight = (typeof capabilityRights)[number];

/** All that can be granted of a snapshot: it does not change. */
export const snapshotRights: ReadonlySet<CapabilityRight> = new Set(['read', 'export', 'delegate'] as const);

export interface CapabilityHeader {
  readonly version: CapabilityVersion;
  readonly volumePublicKey: Uint8Array;
  readonly epoch: number;
}

export interface CapabilityGrant {
  readonly base: number;
  /** Undefined: to the end of the volume. */
  readonly length: number | undefined;
  readonly rights: ReadonlySet<CapabilityRight>;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly expiresAt: number;
  /** Ed25519 public key. */
  readonly holder: Uint8Array;
  /** The id of the snapshot that the part belongs to, 16 bytes, not all zero; undefined: the volume itself. */
  readonly snapshot?: Uint8Array | undefined;
}

export interface DecodedBlock {
  readonly grant: CapabilityGrant;
  /** All bytes of the token before the signature. */
  readonly signedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

export interface DecodedCapability {
  readonly header: CapabilityHeader;
  /** At least one. */
  readonly blocks: readonly [DecodedBlock, ...DecodedBlock[]];
}

export function encodeHeader({ version, volumePublicKey, epoch }: CapabilityHeader): Uint8Array {
  const writer = new ByteWriter().bytes(new TextEncoder().encode(magic)).u16(version).zeros(6);
  return writer.bytes(volumePublicKey, holderKeyBytes).u64(epoch).finish();
}

/** `capability-invalid` for a grant that no token of this version can carry. */
export function encodeGrant(grant: CapabilityGrant, version: CapabilityVersion): Uint8Array {
  checkGrant(grant);
  const { snapshot } = grant;
  if (version === 1 && snapshot !== undefined) throw invalid('its version knows no snapshots');
  const bits = capabilityRights.reduce((sum, right, bit) => sum + (grant.rights.has(right) ? 2 ** bit : 0), 0);
  const writer = new ByteWriter()
    .u64(grant.base)
    .u64(grant.length ?? 0)
    .u32(bits)
    .zeros(4);
  writer.u64(grant.notBefore).u64(grant.expiresAt).bytes(grant.holder, holderKeyBytes);
  if (version === 1) return writer.finish();
  return (snapshot === undefined ? writer.zeros(snapshotIdBytes) : writer.bytes(snapshot, snapshotIdBytes)).finish();
}

/** `capability-invalid` for anything but a whole token in its one encoding. */
export function decodeCapability(token: Uint8Array): DecodedCapability {
  try {
    const reader = new ByteReader(token, 'the capability');
    const header = readHeader(reader);
    const count = (token.length - headerBytes) / (bodyBytes[header.version] + signatureBytes);
    if (!Number.isInteger(count) || count < 1 || count > capabilityBlocksMax)
      throw invalid(`it has ${token.length} bytes, which no number of blocks from 1 to ${capabilityBlocksMax} makes`);
    const [first, ...others] = Array.from({ length: count }, () => readBlock(reader, token, header.version));
    reader.end();
    assert(first !== undefined, 'a token has a block');
    return { header, blocks: [first, ...others] };
  } catch (error) {
    if (!(error instanceof CaissonError) || error.kind === 'bug' || error.code === 'capability-invalid') throw error;
    throw invalid(error.message, error);
  }
}

function readHeader(reader: ByteReader): CapabilityHeader {
  reader.expect(magic);
  const version = reader.u16();
  if (version !== 1 && version !== 2) throw invalid(`it has the version ${version}, which this program does not know`);
  reader.zeros(6);
  return { version, volumePublicKey: reader.bytes(holderKeyBytes), epoch: reader.u64() };
}

function readBlock(reader: ByteReader, token: Uint8Array, version: CapabilityVersion): DecodedBlock {
  const base = reader.u64();
  const length = reader.u64();
  const bits = reader.u32();
  reader.zeros(4);
  if (bits >= 2 ** capabilityRights.length) throw invalid('it has a right that this program does not know');
  const grant = {
    base,
    length: length === 0 ? undefined : length,
    rights: new Set(capabilityRights.filter((_, bit) => (bits & (1 << bit)) !== 0)),
    notBefore: reader.u64(),
    expiresAt: reader.u64(),
    holder: reader.bytes(holderKeyBytes),
    ...(version === 1 ? {} : snapshotOf(reader)),
  };
  checkGrant(grant);
  const signedBytes = token.subarray(0, reader.position);
  return { grant, signedBytes, signature: reader.bytes(signatureBytes) };
}

function snapshotOf(reader: ByteReader): { readonly snapshot?: Uint8Array } {
  const snapshot = reader.bytes(snapshotIdBytes);
  return isZero(snapshot) ? {} : { snapshot };
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function checkGrant({ base, length, rights, notBefore, expiresAt, snapshot }: CapabilityGrant): void {
  if (![base, length ?? 0, notBefore, expiresAt].every((number) => Number.isSafeInteger(number) && number >= 0))
    throw invalid('a number of it is not whole, or not below 2^53');
  if (base % alignmentBytes !== 0 || (length ?? 0) % alignmentBytes !== 0)
    throw invalid(`its part does not begin and end at multiples of ${alignmentBytes}`);
  if (length === 0 || !Number.isSafeInteger(base + (length ?? 0))) throw invalid('its part is empty or has no end');
  if (rights.size === 0) throw invalid('it grants no right');
  if (rights.has('resize') && length !== undefined) throw invalid('it grants resize of a part that has a length');
  if (snapshot !== undefined) checkSnapshot(snapshot, rights);
  if (notBefore >= expiresAt) throw invalid('it ends before it begins');
}

function checkSnapshot(snapshot: Uint8Array, rights: ReadonlySet<CapabilityRight>): void {
  if (snapshot.length !== snapshotIdBytes || isZero(snapshot)) throw invalid('what it names is no snapshot');
  const wrong = [...rights].find((right) => !snapshotRights.has(right));
  if (wrong !== undefined) throw invalid(`it grants ${wrong} of a snapshot`);
}

export function capabilityToText(token: Uint8Array): string {
  return textPrefix + Buffer.from(token.buffer, token.byteOffset, token.length).toString('base64url');
}

/** `capability-invalid` unless it is the text of some bytes, in the one way to write them. */
export function capabilityFromText(text: string): Uint8Array {
  if (text.length > textCharactersMax || !text.startsWith(textPrefix))
    throw invalid(`it does not begin with ${textPrefix}`);
  const token = new Uint8Array(Buffer.from(text.substring(textPrefix.length), 'base64url'));
  if (capabilityToText(token) !== text) throw invalid('it is not base64url without padding');
  return token;
}

export function invalid(message: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'capability-invalid', `this is no capability that can be used: ${message}`, {
    remedy: 'Ask whoever gave it for another one.',
    ...(cause === undefined ? {} : { cause }),
  });
}
