/** Non-volatile memory of a TPM (Part 3, "Non-volatile Storage"): indexes, each with a handle, attributes and a size. */
import { createHash } from 'node:crypto';
import { plainBytes, equalBytes } from '../crypto/digest.ts';
import { CaissonError } from '../lib/errors.ts';
import { tpmNvIndexBytesMax, tpmNvPieceBytes } from '../lib/limits.ts';
import { Algorithm, digestBytesMax, nameBytesMax, tpmHash } from '../wire/tpm/algorithms.ts';
import { TpmReader, TpmWriter } from '../wire/tpm/codec.ts';
import { signedAttest } from './tpm-attest.ts';
import type { SignedAttest } from './tpm-attest.ts';
import { Hierarchy, NvAttribute } from './tpm-constants.ts';
import { answerInvalid, isTpmRefusal } from './tpm-errors.ts';
import { emptyPassword, entityOf } from './tpm.ts';
import type { Entity, Tpm } from './tpm.ts';

const publicBytesMax = 128;

export interface NvPublic {
  readonly handle: number;
  readonly attributes: number;
  readonly policy: Uint8Array;
  readonly bytes: number;
}

export interface NvIndex extends Entity, NvPublic {
  readonly isWritten: boolean;
}

/** Undefined where there is no such index. */
export async function nvReadPublic(tpm: Tpm, handle: number): Promise<NvIndex | undefined> {
  try {
    const { parameters: reader } = await tpm.run({ command: 'NV_ReadPublic', entities: [entityOf(handle)] });
    const area = reader.sized(publicBytesMax);
    const name = Uint8Array.from(reader.sized(nameBytesMax));
    reader.end();
    return parseNvPublic(handle, area, name);
  } catch (error) {
    if (isTpmRefusal(error, 'HANDLE')) return undefined;
    throw error;
  }
}

function parseNvPublic(handle: number, area: Uint8Array, name: Uint8Array): NvIndex {
  const reader = new TpmReader(area, 'TPMS_NV_PUBLIC', answerInvalid);
  if (reader.u32() !== handle) throw reader.invalid('it is of another index');
  const hash = tpmHash(reader.u16());
  if (hash === undefined) throw reader.invalid('the name algorithm is not known');
  const attributes = reader.u32();
  const policy = Uint8Array.from(reader.sized(digestBytesMax));
  const bytes = reader.u16();
  reader.end();
  const digest = plainBytes(createHash(hash.name).update(area).digest());
  if (!equalBytes(name, new TpmWriter().u16(hash.id).bytes(digest).finish()))
    throw reader.invalid('the index has another name than its public part');
  return { handle, attributes, policy, bytes, name, isWritten: (attributes & NvAttribute.written) !== 0 };
}

/** By the owner of the TPM, without a password. `NV_DEFINED` where the handle is taken, `NV_SPACE` where no room is left. */
export async function nvDefine(tpm: Tpm, { handle, attributes, policy, bytes }: NvPublic): Promise<void> {
  const area = new TpmWriter().u32(handle).u16(Algorithm.sha256).u32(attributes).sized(policy).u16(bytes).finish();
  await tpm.run({
    ...{ command: 'NV_DefineSpace', entities: [entityOf(Hierarchy.owner)], authorizations: [emptyPassword] },
    parameters: new TpmWriter().sized(new Uint8Array(0)).sized(area).finish(),
  });
}

export async function nvUndefine(tpm: Tpm, index: NvIndex): Promise<void> {
  const entities = [entityOf(Hierarchy.owner), index];
  await tpm.run({ command: 'NV_UndefineSpace', entities, authorizations: [emptyPassword] });
}

/** All of it in one command: a TPM does that whole or not at all. */
export async function nvWrite(tpm: Tpm, index: NvIndex, content: Uint8Array): Promise<void> {
  await tpm.run({
    ...{ command: 'NV_Write', entities: [authority(index, 'write'), index], authorizations: [emptyPassword] },
    parameters: new TpmWriter().sized(content).u16(0).finish(),
  });
}

/** Of an index that counts. */
export async function nvIncrement(tpm: Tpm, index: NvIndex): Promise<void> {
  const entities = [authority(index, 'write'), index];
  await tpm.run({ command: 'NV_Increment', entities, authorizations: [emptyPassword] });
}

export async function nvRead(tpm: Tpm, index: NvIndex): Promise<Uint8Array> {
  if (index.bytes > tpmNvIndexBytesMax) throw answerInvalid(`an index of ${index.bytes} bytes`);
  const content = new Uint8Array(index.bytes);
  for (let at = 0; at < content.length; at += tpmNvPieceBytes) {
    const length = Math.min(tpmNvPieceBytes, content.length - at);
    const { parameters: reader } = await tpm.run({
      ...{ command: 'NV_Read', entities: [authority(index, 'read'), index], authorizations: [emptyPassword] },
      parameters: new TpmWriter().u16(length).u16(at).finish(),
    });
    const piece = reader.sized(length);
    if (piece.length !== length) throw answerInvalid(`${piece.length} bytes of an index instead of ${length}`);
    content.set(piece, at);
  }
  return content;
}

/** The content of the index and `qualifyingData`, signed: others can check what the TPM holds. */
export async function nvCertify(
  tpm: Tpm,
  key: Entity,
  index: NvIndex,
  qualifyingData: Uint8Array,
): Promise<SignedAttest> {
  const parameters = new TpmWriter().sized(qualifyingData).u16(Algorithm.null).u16(index.bytes).u16(0).finish();
  const entities = [key, authority(index, 'read'), index];
  const authorizations = [emptyPassword, emptyPassword];
  const { parameters: reader } = await tpm.run({ command: 'NV_Certify', entities, authorizations, parameters });
  return signedAttest(reader);
}

/** Whose empty password allows it: the index's own where it may, or the owner's. */
function authority(index: NvIndex, access: 'read' | 'write'): Entity {
  const [own, owner] =
    access === 'read' ? [NvAttribute.authRead, NvAttribute.ownerRead] : [NvAttribute.authWrite, NvAttribute.ownerWrite];
  if ((index.attributes & own) !== 0) return index;
  if ((index.attributes & owner) !== 0) return entityOf(Hierarchy.owner);
  throw new CaissonError('denied', 'tpm-failed', `only the platform may ${access} NV index ${hexOf(index.handle)}`, {
    remedy: 'This index belongs to the firmware; nothing can be done from here.',
    details: { handle: hexOf(index.handle) },
  });
}

export function hexOf(handle: number): string {
  return `0x${handle.toString(16).padStart(8, '0')}`;
}
