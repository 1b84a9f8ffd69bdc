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
import {
  capabilityBlocksMax,
  decodeCapability,
  encodeGrant,
  encodeHeader,
  invalid,
  snapshotRights,
} from './capability-format.ts';
import type { CapabilityGrant, CapabilityRight, CapabilityVersion } from './capability-format.ts';

const encoder = new TextEncoder();
const blockLabel = encoder.encode('caisson capability v1\0');
const proofLabel = encoder.encode('caisson capability proof v1\0');
const challengeBytesMin = 16;
const challengeBytesMax = 1024;

/** A chain that holds in itself: what each block grants, the last one being what the token grants. */
export interface InspectedCapability {
  readonly version: CapabilityVersion;
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
  /** A snapshot instead of the volume itself. */
  readonly snapshot?: Uint8Array;
}

/** The rule that refused: `details.rule` of `capability-refused` (section 6). */
export type CapabilityRule = 'right' | 'part' | 'snapshot' | 'not-before' | 'expires' | 'epoch' | 'challenge';

/** A token of one block, by the volume's own signing key. `capability-invalid` for a grant that makes no sense. */
export function mintCapability(volumeKey: SigningKey, epoch: number, grant: CapabilityGrant): Uint8Array {
  const header = encodeHeader({ version: 2, volumePublicKey: volumeKey.publicKey, epoch });
  return appended(header, volumeKey, grant, 2);
}

/** One more block, by the key of the holder. `capability-refused` where it would grant more than the token. */
export function narrowCapability(token: Uint8Array, holderKey: SigningKey, narrowing: Narrowing): Uint8Array {
  const { grants, version } = inspectCapability(token);
  const parent = grants.at(-1) ?? grants[0];
  if (!equalBytes(parent.holder, holderKey.publicKey))
    throw notNarrowed('only its holder can narrow it, by the key it names');
  if (grants.length >= capabilityBlocksMax)
    throw notNarrowed(`it was narrowed ${capabilityBlocksMax - 1} times, and no more can be`);
  const grant = narrowedGrant(parent, narrowing);
  const widened = widening(parent, grant);
  if (widened !== undefined) throw notNarrowed(widened);
  return appended(token, holderKey, grant, version);
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
    version: header.version,
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
  const capability = { ...grant, volumeId, epoch, id: sha256(token) };
  checkTime(capability, context.now);
  checkEpoch(capability, context.epoch);
  return capability;
}

/** Whether it still holds: `capability-refused` before and after its time. */
export function checkTime({ notBefore, expiresAt }: VerifiedCapability, now: number): void {
  if (now < notBefore) throw refused('not-before', 'it does not hold yet', { notBefore: dateOf(notBefore) });
  if (now >= expiresAt) throw refused('expires', 'it has expired', { expiresAt: dateOf(expiresAt) });
}

/** `capability-refused` where the volume has another epoch. */
export function checkEpoch({ epoch }: VerifiedCapability, volumeEpoch: number): void {
  if (epoch !== volumeEpoch) throw refused('epoch', 'it was revoked', { epoch, volumeEpoch });
}

/** `capability-refused` where it lacks the right. */
export function requireRight({ rights }: VerifiedCapability, right: CapabilityRight): void {
  if (!rights.has(right)) throw refused('right', `it does not grant the right ${right}`, { right });
}

export function proveHolder(holderKey: SigningKey, token: Uint8Array, challenge: Uint8Array): HolderProof {
  assert(
    challenge.length >= challengeBytesMin && challenge.length <= challengeBytesMax,
    'a challenge has 16 to 1024 bytes',
  );
  return { challenge, signature: holderKey.sign(proofBytes(token, challenge)) };
}

/**
 * What is left out stays: the end too where the beginning moves; but a part with a length cannot be resized, and a
 * snapshot not be changed.
 */
function narrowedGrant(parent: CapabilityGrant, narrowing: Narrowing): CapabilityGrant {
  const base = narrowing.base ?? parent.base;
  const rest = parent.length === undefined ? undefined : parent.base + parent.length - base;
  const length = narrowing.length ?? rest;
  const isSnapshot = (narrowing.snapshot ?? parent.snapshot) !== undefined;
  const isKept = (right: CapabilityRight): boolean =>
    (length === undefined || right !== 'resize') && (!isSnapshot || snapshotRights.has(right));
  const rights = narrowing.rights ?? new Set([...parent.rights].filter(isKept));
  return { ...parent, ...narrowing, base, length, rights };
}

/** What `child` grants that `parent` does not; undefined where it narrows (section 3). */
function widening(parent: CapabilityGrant, child: CapabilityGrant): string | undefined {
  const parentEnd = parent.length === undefined ? Infinity : parent.base + parent.length;
  const childEnd = child.length === undefined ? Infinity : child.base + child.length;
  if (!parent.rights.has('delegate')) return 'its holder may not delegate';
  if (child.base < parent.base || childEnd > parentEnd) return 'the part lies outside of what its holder has';
  const changed = snapshotWidening(parent, child);
  if (changed !== undefined) return changed;
  const added = [...child.rights].find((right) => !parent.rights.has(right));
  if (added !== undefined) return `its holder has no right to ${added}`;
  if (child.notBefore < parent.notBefore) return 'it would hold earlier than what its holder has';
  if (child.expiresAt > parent.expiresAt) return 'it would hold longer than what its holder has';
  return undefined;
}

/** A snapshot may hold what the volume no longer does, and the other way round. */
function snapshotWidening(parent: CapabilityGrant, child: CapabilityGrant): string | undefined {
  if (parent.snapshot === undefined) {
    const mayTake = child.snapshot === undefined || parent.rights.has('snapshot');
    return mayTake ? undefined : 'its holder has no right to snapshot';
  }
  const isSame = child.snapshot !== undefined && equalBytes(parent.snapshot, child.snapshot);
  return isSame ? undefined : 'its holder has another snapshot';
}

function appended(
  before: Uint8Array,
  signer: SigningKey,
  grant: CapabilityGrant,
  version: CapabilityVersion,
): Uint8Array {
  const signed = new ByteWriter().bytes(before).bytes(encodeGrant(grant, version)).finish();
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

/** A `capability-refused` that names its rule. */
export function refused(
  rule: CapabilityRule,
  message: string,
  details: Readonly<Record<string, string | number>> = {},
): CaissonError {
  return new CaissonError('denied', 'capability-refused', `the capability does not allow this: ${message}`, {
    remedy: 'Ask whoever gave the capability for one that allows it.',
    details: { rule, ...details },
  });
}

function notNarrowed(message: string): CaissonError {
  return new CaissonError('denied', 'capability-refused', `the capability does not allow this: ${message}`, {
    remedy: 'Ask whoever gave the capability for one that allows it.',
  });
}

/** For people and logs: `0-8192 read,write until 2027-01-01T00:00:00.000Z for 5e…`, `0-8192@7a… read until …`. */
export function describeGrant({ base, length, rights, expiresAt, holder, snapshot }: CapabilityGrant): string {
  const of = snapshot === undefined ? '' : `@${toHex(snapshot)}`;
  const part = `${base}-${length === undefined ? 'end' : base + length}${of}`;
  return `${part} ${[...rights].join(',')} until ${dateOf(expiresAt)} for ${toHex(holder)}`;
}
