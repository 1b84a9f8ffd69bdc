/**
 * The event log that firmware keeps of its measurements, in the crypto-agile format (spec/attestation-tpm.md, "Event log").
 *
 * The log is anybody's word until it is replayed: only registers whose replay gives the quoted value say
 * anything, and of an event only its digest, or data whose hash is that digest.
 */
import { createHash } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { ByteReader } from '../../../lib/byte-codec.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { eventLogEventsMax } from '../../../lib/limits.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { tpmHash, type TpmHash } from '../../../wire/tpm/algorithms.ts';
import type { PcrValue } from '../../../wire/tpm/pcr-selection.ts';

export interface LogEvent {
  readonly register: number;
  readonly type: number;
  /** By the name of the hash; of banks whose hash is known here. */
  readonly digests: ReadonlyMap<string, Uint8Array>;
  readonly data: Uint8Array;
}

const EventType = { noAction: 3, efiVariableDriverConfig: 0x8000_0001 } as const;
const specIdSignature = 'Spec ID Event03\0';
const startupLocality = 'StartupLocality\0';
const registersMax = 24;
const algorithmsMax = 8;
const sha1Bytes = 20;
/** EFI_GLOBAL_VARIABLE, as it lies in memory. */
const globalVariable = '61dfe48bca93d211aa0d00e098032b8c';

/** `evidence-invalid` for anything that is not such a log to its last byte. */
export function parseEventLog(bytes: Uint8Array): readonly LogEvent[] {
  try {
    const reader = new ByteReader(bytes, 'the event log');
    const digestSizes = readHeader(reader);
    const events: LogEvent[] = [];
    while (reader.position < bytes.length) {
      if (events.length === eventLogEventsMax) throw reader.invalid(`it has more than ${eventLogEventsMax} events`);
      events.push(readEvent(reader, digestSizes, bytes.length));
    }
    return events;
  } catch (error) {
    throw isCaissonError(error, 'format-invalid') ? evidenceInvalid(error.message, { check: 'event-log-form' }) : error;
  }
}

/** The registers, among `quoted`, that the log accounts for: their replay gives the value that the TPM signed. */
export function replayedRegisters(events: readonly LogEvent[], quoted: readonly PcrValue[]): readonly PcrValue[] {
  return quoted.filter(({ hash, index, value }) => {
    const extended = events.filter(({ register, type }) => register === index && type !== EventType.noAction);
    const digests = extended.map((event) => event.digests.get(hash.name));
    if (digests.length === 0 || !hash.isStrong) return false;
    let register: Uint8Array = new Uint8Array(hash.digestBytes);
    if (index === 0) register[register.length - 1] = localityOf(events);
    for (const digest of digests) {
      if (digest === undefined) return false;
      register = createHash(hash.name).update(register).update(digest).digest();
    }
    return equalBytes(register, value);
  });
}

/**
 * What firmware measured of the variable SecureBoot, once `replayed` shows that register 7 holds it. Undefined
 * where the log says nothing, or two things.
 */
export function secureBoot(events: readonly LogEvent[], replayed: readonly PcrValue[]): boolean | undefined {
  const banks = replayed.filter(({ index }) => index === 7).map(({ hash }) => hash);
  const values = new Set<boolean>();
  for (const event of events) {
    if (event.register !== 7 || event.type !== EventType.efiVariableDriverConfig) continue;
    if (!banks.some((hash) => isDigestOfData(event, hash))) continue;
    const value = secureBootVariable(event.data);
    if (value !== undefined) values.add(value);
  }
  const [only] = values;
  return values.size === 1 ? only : undefined;
}

function readHeader(reader: ByteReader): ReadonlyMap<number, number> {
  if (reader.u32() !== 0 || reader.u32() !== EventType.noAction) throw reader.invalid('its first event is no header');
  reader.zeros(sha1Bytes);
  const end = reader.u32() + reader.position;
  reader.expect(specIdSignature);
  reader.u32(); // platform class
  reader.u32(); // minor and major version, errata, size of UINTN
  const count = reader.count(4);
  if (count === 0 || count > algorithmsMax) throw reader.invalid(`its header lists ${count} algorithms`);
  const digestSizes = new Map<number, number>();
  for (let index = 0; index < count; index++) {
    const id = reader.u16();
    const digestBytes = reader.u16();
    const hash = tpmHash(id);
    if (digestSizes.has(id) || (hash !== undefined && hash.digestBytes !== digestBytes))
      throw reader.invalid('its header lists an algorithm wrongly');
    digestSizes.set(id, digestBytes);
  }
  reader.bytes(reader.u8());
  if (reader.position !== end) throw reader.invalid('its header has another length than it says');
  return digestSizes;
}

function readEvent(reader: ByteReader, digestSizes: ReadonlyMap<number, number>, bytesMax: number): LogEvent {
  const register = reader.u32();
  if (register >= registersMax) throw reader.invalid(`an event extends register ${register}`);
  const type = reader.u32();
  const count = reader.count(2);
  const ids = new Set<number>();
  const digests = new Map<string, Uint8Array>();
  for (let index = 0; index < count; index++) {
    const id = reader.u16();
    const digestBytes = digestSizes.get(id);
    if (digestBytes === undefined) throw reader.invalid(`an event has a digest of algorithm ${id}`);
    if (ids.has(id)) throw reader.invalid('an event has two digests of one algorithm');
    ids.add(id);
    const digest = reader.bytes(digestBytes);
    const hash = tpmHash(id);
    if (hash !== undefined) digests.set(hash.name, digest);
  }
  return { register, type, digests, data: reader.block(bytesMax) };
}

/** What register 0 begins with, in its last byte. */
function localityOf(events: readonly LogEvent[]): number {
  const event = events.find(
    ({ register, type, data }) =>
      register === 0 &&
      type === EventType.noAction &&
      data.length === startupLocality.length + 1 &&
      Buffer.from(data).toString('latin1').startsWith(startupLocality),
  );
  return event?.data[startupLocality.length] ?? 0;
}

function isDigestOfData({ digests, data }: LogEvent, hash: TpmHash): boolean {
  return equalBytes(createHash(hash.name).update(data).digest(), digests.get(hash.name) ?? new Uint8Array(0));
}

/** UEFI_VARIABLE_DATA (PFP, "Measuring UEFI Variables"). Undefined for another variable. */
function secureBootVariable(data: Uint8Array): boolean | undefined {
  try {
    const reader = new ByteReader(data, 'a variable');
    const vendor = Buffer.from(reader.bytes(16)).toString('hex');
    const nameCharacters = reader.u64();
    const valueBytes = reader.u64();
    if (valueBytes > 1) return undefined;
    const name = Buffer.from(reader.bytes(nameCharacters * 2)).toString('utf16le');
    // Firmware that knows no secure boot measures the name with no value.
    const isOn = valueBytes === 1 && reader.u8() === 1;
    reader.end();
    return vendor === globalVariable && name === 'SecureBoot' ? isOn : undefined;
  } catch {
    return undefined; // the data of an event is of no form that anybody promises
  }
}
