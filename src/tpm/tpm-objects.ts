/** Keys and sealed data in a TPM, and the sessions that open them (Part 3, "Object Commands", "Session Commands", "Enhanced Authorization"). */
import { assert } from '../lib/assert.ts';
import { tpmKeyMillisecondsMax } from '../lib/limits.ts';
import { Algorithm, digestBytesMax, nameBytesMax } from '../wire/tpm/algorithms.ts';
import { TpmWriter } from '../wire/tpm/codec.ts';
import { writePcrSelection } from '../wire/tpm/pcr-selection.ts';
import type { PcrBankSelection } from '../wire/tpm/pcr-selection.ts';
import { encodePublicArea, nameOf, parsePublicArea } from '../wire/tpm/public-area.ts';
import type { ParsedPublicArea, PublicArea } from '../wire/tpm/public-area.ts';
import { equalBytes } from '../crypto/digest.ts';
import { Hierarchy, SessionType } from './tpm-constants.ts';
import { answerInvalid } from './tpm-errors.ts';
import { TpmSession, makeSalt, sessionNonceBytes } from './tpm-session.ts';
import type { SessionUse } from './tpm-session.ts';
import { emptyPassword, entityOf } from './tpm.ts';
import type { Authorization, Entity, Tpm } from './tpm.ts';

const nothing = new Uint8Array(0);
const blobBytesMax = 1024;
const secretBytesMax = 256;

export interface LoadedKey extends Entity {
  readonly area: ParsedPublicArea;
}

export interface SealedBlob {
  /** TPMT_PUBLIC. */
  readonly area: Uint8Array;
  /** TPM2B_PRIVATE without its length: encrypted by the parent. */
  readonly secret: Uint8Array;
}

/** The same key on every call. Belongs to the conversation, which flushes it. */
export async function createPrimary(tpm: Tpm, hierarchy: number, template: PublicArea): Promise<LoadedKey> {
  const parameters = new TpmWriter()
    .sized(new TpmWriter().sized(nothing).sized(nothing).finish())
    .sized(encodePublicArea(template))
    .sized(nothing)
    .u32(0)
    .finish();
  const { handle, parameters: reader } = await tpm.run({
    ...{ command: 'CreatePrimary', entities: [entityOf(hierarchy)], authorizations: [emptyPassword] },
    ...{ parameters, returnsHandle: true, milliseconds: tpmKeyMillisecondsMax },
  });
  const area = copiedArea(reader.sized(blobBytesMax));
  return { handle, name: nameOf(area), area };
}

/** Of a key that has a handle already: a persistent one. */
export async function readPublic(tpm: Tpm, handle: number): Promise<LoadedKey> {
  const parameters = nothing;
  const { parameters: reader } = await tpm.run({ command: 'ReadPublic', entities: [entityOf(handle)], parameters });
  const area = copiedArea(reader.sized(blobBytesMax));
  const name = nameOf(area);
  if (!equalBytes(reader.sized(nameBytesMax), name)) throw answerInvalid('a key has another name than its public part');
  return { handle, name, area };
}

/** Keeps a loaded key under a persistent handle, or removes the key that has it. */
export async function evictControl(tpm: Tpm, key: Entity, persistentHandle: number): Promise<void> {
  await tpm.run({
    ...{ command: 'EvictControl', entities: [entityOf(Hierarchy.owner), key], authorizations: [emptyPassword] },
    parameters: new TpmWriter().u32(persistentHandle).finish(),
  });
}

/** Seals `secret` under `parent`; it crosses the bus encrypted under the session. */
export async function seal(
  tpm: Tpm,
  parent: Entity,
  use: SessionUse,
  { template, secret, pin }: { readonly template: PublicArea; readonly secret: Uint8Array; readonly pin: Uint8Array },
): Promise<SealedBlob> {
  const sensitive = new TpmWriter().sized(pin).sized(secret).finish();
  const parameters = new TpmWriter().sized(sensitive).sized(encodePublicArea(template)).sized(nothing).u32(0).finish();
  try {
    const { parameters: reader } = await tpm.run({
      ...{ command: 'Create', entities: [parent], authorizations: [use], parameters },
      milliseconds: tpmKeyMillisecondsMax,
    });
    const blob = Uint8Array.from(reader.sized(blobBytesMax));
    return { secret: blob, area: Uint8Array.from(reader.sized(blobBytesMax)) };
  } finally {
    sensitive.fill(0);
    parameters.fill(0);
  }
}

/** `INTEGRITY` where the blob is not of this parent. */
export async function load(tpm: Tpm, parent: Entity, blob: SealedBlob): Promise<LoadedKey> {
  const { handle, parameters: reader } = await tpm.run({
    ...{ command: 'Load', entities: [parent], authorizations: [emptyPassword], returnsHandle: true },
    parameters: new TpmWriter().sized(blob.secret).sized(blob.area).finish(),
  });
  const area = copiedArea(blob.area);
  const name = nameOf(area);
  if (!equalBytes(reader.sized(nameBytesMax), name)) throw answerInvalid('it loaded another object than it was given');
  return { handle, name, area };
}

/** A copy of the sealed bytes. */
export async function unseal(tpm: Tpm, sealed: Entity, authorization: Authorization): Promise<Uint8Array> {
  const request = { command: 'Unseal', entities: [sealed], authorizations: [authorization] } as const;
  const { parameters: reader } = await tpm.run(request);
  const view = reader.sized(secretBytesMax);
  const secret = Uint8Array.from(view);
  view.fill(0);
  reader.end();
  return secret;
}

/** An HMAC or policy session; `salted` names the key that its secret travels under. */
export async function startSession(
  tpm: Tpm,
  kind: keyof typeof SessionType,
  salted: LoadedKey | undefined,
): Promise<TpmSession> {
  const { salt, encrypted } =
    salted === undefined ? { salt: nothing, encrypted: nothing } : makeSalt(salted.area, tpm.random);
  const nonceCaller = tpm.random.bytes(sessionNonceBytes);
  const parameters = new TpmWriter().sized(nonceCaller).sized(encrypted).u8(SessionType[kind]);
  if (salted === undefined) parameters.u16(Algorithm.null);
  else parameters.u16(Algorithm.aes).u16(128).u16(Algorithm.cfb);
  const { handle, parameters: reader } = await tpm.run({
    command: 'StartAuthSession',
    entities: [entityOf(salted?.handle ?? Hierarchy.null), entityOf(Hierarchy.null)],
    parameters: parameters.u16(Algorithm.sha256).finish(),
    returnsHandle: true,
  });
  const nonceTpm = Uint8Array.from(reader.sized(digestBytesMax));
  return new TpmSession({ handle, nonceCaller, nonceTpm, salt, random: tpm.random });
}

/** The registers as they are now enter the policy. */
export async function policyPcr(tpm: Tpm, session: TpmSession, selection: readonly PcrBankSelection[]): Promise<void> {
  const parameters = writePcrSelection(new TpmWriter().sized(nothing), selection).finish();
  await tpm.run({ command: 'PolicyPCR', entities: [entityOf(session.handle)], parameters });
}

/** The authorization value of the object enters the policy: a PIN. */
export async function policyAuthValue(tpm: Tpm, session: TpmSession): Promise<void> {
  await tpm.run({ command: 'PolicyAuthValue', entities: [entityOf(session.handle)] });
}

/** What endorsement keys ask for: the authorization of the endorsement hierarchy, empty on nearly all machines. */
export async function policyEndorsement(tpm: Tpm, session: TpmSession): Promise<void> {
  const parameters = new TpmWriter().sized(nothing).sized(nothing).sized(nothing).u32(0).finish();
  const entities = [entityOf(Hierarchy.endorsement), entityOf(session.handle)];
  await tpm.run({ command: 'PolicySecret', entities, authorizations: [emptyPassword], parameters });
}

export async function getRandom(tpm: Tpm, length: number): Promise<Uint8Array> {
  assert(length > 0 && length <= 32, 'a TPM gives at most a digest of random bytes at once');
  const { parameters } = await tpm.run({ command: 'GetRandom', parameters: new TpmWriter().u16(length).finish() });
  const bytes = Uint8Array.from(parameters.sized(length));
  if (bytes.length !== length) throw answerInvalid(`${bytes.length} random bytes instead of ${length}`);
  return bytes;
}

/** Of the answer, which is not kept. */
function copiedArea(bytes: Uint8Array): ParsedPublicArea {
  return parsePublicArea(Uint8Array.from(bytes), answerInvalid);
}
