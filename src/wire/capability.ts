/**
 * Capabilities: rights on a part of one volume that can only be narrowed (spec/capability-format.md).
 *
 * Invariants: every block of a token that `inspectCapability` lets pass is signed by whom the block before
 * names, and grants nothing that one does not. What may be acted on comes out of `verifyCapability` alone,
 * which also asks for the proof that the holder is there.
 */
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { verifySignature, volumeIdFromPublicKey } from '../crypto/signature.ts';
import type { SigningKey } from '../crypto/signature.ts';
import { assert } from '../lib/assert.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { capabilityBlocksMax, decodeCapability, encodeGrant, encodeHeader, invalid } from './capability-format.ts';
import type { CapabilityGrant, CapabilityRight } from './capability-format.ts';

const encoder = new TextEncoder();
const blockLabel = encoder.encode('caisson capability v1\0');
const proofLabel = encoder.encode('caisson capability proof v1\0');
const challengeBytesMin = 16;
const challengeBytesMax = 1024;

/** A chain that holds in itself: what each block grants, the last one being what the token grants. */
export interface InspectedCapability {
  readonly volumeId: Uint8Array;
  readonly epoch: number;
  readonly grants: readonly [CapabilityGrant, ...CapabilityGrant[]];
}

/** What may be done now by whoever showed the proof. */
export interface VerifiedCapability extends CapabilityGrant {
  readonly volumeId: Uint8Array;
  readonly epoch: number;
  /** SHA-256 of the token, 32 bytes: its name in logs. */
  readonly id: Uint8Array;
}

export interface HolderProof {
  /** What the verifier chose, or has checked: whose connection it is, when it was made. */
  readonly challenge: Uint8Array;
  readonly signature: Uint8Array;
}

export interface CapabilityContext {
  readonly volumeId: Uint8Array;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** The capability epoch of the volume. */
  readonly epoch: number;
  readonly proof: HolderProof;
}

/** What the next holder gets; what is left out stays as it is. */
export interface Narrowing {
  readonly holder: Uint8Array;
  readonly base?: number;
  readonly length?: number;
  readonly rights?: ReadonlySet<CapabilityRight>;
  readonly notBefore?: number;
  readonly expiresAt?: number;
}

/** A token of one block, by the volume's own signing key. `capability-invalid` for a grant that makes no sense. */
export function mintCapability(volumeKey: SigningKey, epoch: number, grant: CapabilityGrant): Uint8Array {
  return appended(encodeHeader({ volumePublicKey: volumeKey.publicKey, epoch }), volumeKey, grant);
}

/** One more block, by the key of the holder. `capability-refused` where it would grant more than the token. */
export function narrowCapability(token: Uint8Array, holderKey: SigningKey, narrowing: Narrowing): Uint8Array {
  const { grants } = inspectCapability(token);
  const parent = grants.at(-1) ?? grants[0];
  if (!equalBytes(parent.holder, holderKey.publicKey))
    throw refused('only its holder can narrow it, by the key it names');
  if (grants.length >= capabilityBlocksMax)
    throw refused(`it was narrowed ${capabilityBlocksMax - 1} times, and no more can be`);
  const grant = narrowedGrant(parent, narrowing);
  const widened = widening(parent, grant);
  if (widened !== undefined) throw refused(widened);
  return appended(token, holderKey, grant);
}

/** Bytes, signatures and narrowing; nothing about time, epoch and who is there. `capability-invalid`. */
export function inspectCapability(token: Uint8Array): InspectedCapability {
  const { header, blocks } = decodeCapability(token);
  let signer = header.volumePublicKey;
  let parent: CapabilityGrant | undefined;
  for (const { grant, signedBytes, signature } of blocks) {
    if (!verifySignature(signer, labeled(signedBytes), signature))
      throw invalid('a block is not signed by whom it must be');
    const widened = parent && widening(parent, grant);
    if (widened !== undefined) throw invalid(widened);
    signer = grant.holder;
    parent = grant;
  }
  const [first, ...others] = blocks;
  return {
    volumeId: volumeIdFromPublicKey(header.volumePublicKey),
    epoch: header.epoch,
    grants: [first.grant, ...others.map(({ grant }) => grant)],
  };
}

/** `capability-invalid` for a token or proof that does not hold, `capability-refused` for one that does not hold here and now. */
export function verifyCapability(token: Uint8Array, context: CapabilityContext): VerifiedCapability {
  const { volumeId, epoch, grants } = inspectCapability(token);
  const grant = grants.at(-1) ?? grants[0];
  const { challenge, signature } = context.proof;
  if (!equalBytes(volumeId, context.volumeId)) throw invalid('it is of another volume');
  if (challenge.length < challengeBytesMin || challenge.length > challengeBytesMax)
    throw invalid('the challenge of the proof is too short or too long');
  if (!verifySignature(grant.holder, proofBytes(token, challenge), signature))
    throw invalid('whoever shows it does not hold its key');
  if (context.now < grant.notBefore) throw refused('it does not hold yet', { notBefore: dateOf(grant.notBefore) });
  if (context.now >= grant.expiresAt) throw refused('it has expired', { expiresAt: dateOf(grant.expiresAt) });
  if (epoch !== context.epoch) throw refused('it was revoked', { epoch, volumeEpoch: context.epoch });
  return { ...grant, volumeId, epoch, id: sha256(token) };
}

export function proveHolder(holderKey: SigningKey, token: Uint8Array, challenge: Uint8Array): HolderProof {
  assert(
    challenge.length >= challengeBytesMin && challenge.length <= challengeBytesMax,
    'a challenge has 16 to 1024 bytes',
  );
  return { challenge, signature: holderKey.sign(proofBytes(token, challenge)) };
}

/** What is left out stays: the end too where the beginning moves; but a part with a length cannot be resized. */
function narrowedGrant(parent: CapabilityGrant, narrowing: Narrowing): CapabilityGrant {
  const base = narrowing.base ?? parent.base;
  const rest = parent.length === undefined ? undefined : parent.base + parent.length - base;
  const length = narrowing.length ?? rest;
  const kept = length === undefined ? parent.rights : new Set([...parent.rights].filter((right) => right !== 'resize'));
  return { ...parent, ...narrowing, base, length, rights: narrowing.rights ?? kept };
}

/** What `child` grants that `parent` does not; undefined where it narrows (section 3). */
function widening(parent: CapabilityGrant, child: CapabilityGrant): string | undefined {
  const parentEnd = parent.length === undefined ? Infinity : parent.base + parent.length;
  const childEnd = child.length === undefined ? Infinity : child.base + child.length;
  if (!parent.rights.has('delegate')) return 'its holder may not delegate';
  if (child.base < parent.base || childEnd > parentEnd) return 'the part lies outside of what its holder has';
  const added = [...child.rights].find((right) => !parent.rights.has(right));
  if (added !== undefined) return `its holder has no right to ${added}`;
  if (child.notBefore < parent.notBefore) return 'it would hold earlier than what its holder has';
  if (child.expiresAt > parent.expiresAt) return 'it would hold longer than what its holder has';
  return undefined;
}

function appended(before: Uint8Array, signer: SigningKey, grant: CapabilityGrant): Uint8Array {
  const signed = new ByteWriter().bytes(before).bytes(encodeGrant(grant)).finish();
  return new ByteWriter()
    .bytes(signed)
    .bytes(signer.sign(labeled(signed)))
    .finish();
}

function labeled(signed: Uint8Array): Uint8Array {
  return new ByteWriter().bytes(blockLabel).bytes(signed).finish();
}

function proofBytes(token: Uint8Array, challenge: Uint8Array): Uint8Array {
  return new ByteWriter().bytes(proofLabel).bytes(sha256(token)).block(challenge).finish();
}

function dateOf(milliseconds: number): string {
  return milliseconds <= 8.64e15 ? new Date(milliseconds).toISOString() : String(milliseconds);
}

function refused(message: string, details: Readonly<Record<string, string | number>> = {}): CaissonError {
  return new CaissonError('denied', 'capability-refused', `the capability does not allow this: ${message}`, {
    remedy: 'Ask whoever gave the capability for one that allows it.',
    details,
  });
}

/** For people and logs: `0-8192 read,write until 2027-01-01T00:00:00.000Z for 5e…`. */
export function describeGrant({ base, length, rights, expiresAt, holder }: CapabilityGrant): string {
  const part = `${base}-${length === undefined ? 'end' : base + length}`;
  return `${part} ${[...rights].join(',')} until ${dateOf(expiresAt)} for ${toHex(holder)}`;
}
