/** What a TPM says about itself: registers, quotes, and that two keys live in it (Part 3, "Attestation Commands"). */
import { CaissonError } from '../lib/errors.ts';
import { digestBytesMax, Algorithm } from '../wire/tpm/algorithms.ts';
import { TpmReader, TpmWriter } from '../wire/tpm/codec.ts';
import { readPcrSelection, writePcrSelection } from '../wire/tpm/pcr-selection.ts';
import type { PcrBankSelection } from '../wire/tpm/pcr-selection.ts';
import { Capability, Property } from './tpm-constants.ts';
import { answerInvalid } from './tpm-errors.ts';
import { policyEndorsement, startSession } from './tpm-objects.ts';
import type { LoadedKey } from './tpm-objects.ts';
import { useOf } from './tpm-session.ts';
import { emptyPassword } from './tpm.ts';
import type { Entity, Tpm } from './tpm.ts';

const attestBytesMax = 2304;
const digestsMax = 8;
/** A bank has 24 registers; each answer brings one or more of them. */
const pcrReadsMax = 24;
const credentialBytesMax = 512;

export interface SignedAttest {
  /** TPMS_ATTEST. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
}

/** Registers and `qualifyingData`, signed by the scheme of the key. */
export async function quote(
  tpm: Tpm,
  key: Entity,
  qualifyingData: Uint8Array,
  selection: readonly PcrBankSelection[],
): Promise<SignedAttest> {
  const parameters = new TpmWriter().sized(qualifyingData).u16(Algorithm.null);
  const { parameters: reader } = await tpm.run({
    ...{ command: 'Quote', entities: [key], authorizations: [emptyPassword] },
    parameters: writePcrSelection(parameters, selection).finish(),
  });
  return signedAttest(reader);
}

export function signedAttest(reader: TpmReader): SignedAttest {
  const attest = Uint8Array.from(reader.sized(attestBytesMax));
  return { attest, signature: Uint8Array.from(reader.rest()) };
}

/** The values one after another, in the order of a selection: of one bank, ascending. */
export async function readPcrs(tpm: Tpm, bank: PcrBankSelection): Promise<readonly Uint8Array[]> {
  const values: Uint8Array[] = [];
  for (let reads = 0; values.length < bank.indexes.length; reads++) {
    if (reads === pcrReadsMax) throw answerInvalid('it does not come to an end of the registers');
    const wanted = { ...bank, indexes: bank.indexes.toSpliced(0, values.length) };
    const parameters = writePcrSelection(new TpmWriter(), [wanted]).finish();
    const { parameters: reader } = await tpm.run({ command: 'PCR_Read', parameters });
    reader.u32(); // the update counter: a quote says whether values belong together
    const [given] = readPcrSelection(reader);
    const count = reader.u32();
    const isPrefix = given?.indexes.every((index, at) => wanted.indexes[at] === index) === true;
    if (count > digestsMax || given?.indexes.length !== count || !isPrefix) throw answerInvalid('other registers');
    if (count === 0) throw bankMissing(bank);
    for (let index = 0; index < count; index++) values.push(Uint8Array.from(reader.sized(digestBytesMax)));
  }
  return values;
}

function bankMissing({ hash }: PcrBankSelection): Error {
  return answerInvalid(`this TPM keeps no registers of ${hash.name}`);
}

/** What TPM2_MakeCredential makes, also where no TPM made it. */
export interface TpmCredential {
  /** TPM2B_ID_OBJECT. */
  readonly blob: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly secret: Uint8Array;
}

/** The secret in the credential, on the way back under a session that is salted to the endorsement key. */
export async function activateCredential(
  tpm: Tpm,
  attestationKey: Entity,
  endorsementKey: LoadedKey,
  credential: TpmCredential,
): Promise<Uint8Array> {
  const parameters = new TpmWriter().bytes(wholeField(credential.blob)).bytes(wholeField(credential.secret)).finish();
  const session = await startSession(tpm, 'policy', endorsementKey);
  await policyEndorsement(tpm, session);
  const { parameters: reader } = await tpm.run({
    ...{ command: 'ActivateCredential', entities: [attestationKey, endorsementKey], parameters },
    authorizations: [emptyPassword, useOf(session, { answer: true })],
  });
  return Uint8Array.from(reader.sized(digestBytesMax));
}

/** It comes from the network: exactly one TPM2B, or it is no credential. */
function wholeField(bytes: Uint8Array): Uint8Array {
  const refuse = (message: string): CaissonError => new CaissonError('invalid', 'evidence-invalid', message);
  const reader = new TpmReader(bytes, 'credential', refuse);
  reader.sized(credentialBytesMax);
  reader.end();
  return bytes;
}

export interface TpmFacts {
  /** Four letters: INTC, IFX, IBM (swtpm), MSFT … */
  readonly manufacturer: string;
  readonly vendor: string;
  readonly firmware: string;
  /** Names of the banks that registers are kept in. */
  readonly banks: readonly string[];
}

export async function readFacts(tpm: Tpm): Promise<TpmFacts> {
  const properties = new Map(await readProperties(tpm, Property.manufacturer, 8));
  const text = (first: number, count: number): string => {
    const words = Array.from({ length: count }, (_, index) => properties.get(first + index) ?? 0);
    const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff]);
    return String.fromCharCode(...bytes.filter((byte) => byte > 0x20 && byte < 0x7f));
  };
  const version = properties.get(Property.firmwareVersion) ?? 0;
  const parameters = new TpmWriter().u32(Capability.pcrs).u32(0).u32(1).finish();
  const { parameters: reader } = await tpm.run({ command: 'GetCapability', parameters });
  reader.flag();
  if (reader.u32() !== Capability.pcrs) throw answerInvalid('it tells of another capability');
  const banks = readPcrSelection(reader).filter(({ indexes }) => indexes.length > 0);
  return {
    manufacturer: text(Property.manufacturer, 1),
    vendor: text(Property.vendorString, 4),
    firmware: `${version >>> 16}.${version & 0xffff}`,
    banks: banks.map(({ hash }) => hash.name),
  };
}

async function readProperties(tpm: Tpm, first: number, count: number): Promise<[number, number][]> {
  const parameters = new TpmWriter().u32(Capability.properties).u32(first).u32(count).finish();
  const { parameters: reader } = await tpm.run({ command: 'GetCapability', parameters });
  reader.flag();
  if (reader.u32() !== Capability.properties) throw answerInvalid('it tells of another capability');
  const found = reader.u32();
  if (found > count) throw answerInvalid(`${found} properties`);
  return Array.from({ length: found }, () => [reader.u32(), reader.u32()]);
}
