/**
 * What Azure's paravisor leaves in its TPM: the hardware's report, and the runtime data whose digest the
 * hardware signed (spec/attestation-snp.md, "Azure"). Bytes to fields; trusts nothing.
 */
import { createPublicKey } from 'node:crypto';
import type { KeyObject, webcrypto } from 'node:crypto';
import type { CaissonError } from '../../../lib/errors.ts';
import { fromHex } from '../../../lib/hex.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';

const headerBytes = 32;
/** Where the hardware's report lies, as long as the longest kind of it. */
const hardwareBytes = 1184;
const runtimeHeaderBytes = 20;
const jsonOffset = headerBytes + hardwareBytes + runtimeHeaderBytes;
const versions: readonly number[] = [1, 2];
const requestAkCertificate = 2;
const runtimeVersion = 1;
const hashes: Readonly<Record<number, 'sha256' | 'sha384' | 'sha512'>> = { 1: 'sha256', 2: 'sha384', 3: 'sha512' };
const reportTypes = { snp: 2, tdx: 4 } as const;
const akBits = { min: 2048, max: 4096 } as const;
/** Of every TPM. */
const akExponent = 65_537n;
const akName = 'HCLAkPub';
const userDataBytes = 64;

export interface HclReport {
  /** Of SNP 1184 bytes, else what a TD report leaves of them. */
  readonly hardwareReport: Uint8Array;
  /** The bytes that the hardware signed the digest of. */
  readonly runtimeData: Uint8Array;
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly attestationKey: KeyObject;
  readonly machine: MachineFacts;
}

/** What the paravisor says of the machine; undefined where it says nothing. */
export interface MachineFacts {
  readonly isSecureBootOn: boolean | undefined;
  readonly isTpmOn: boolean | undefined;
  readonly isConsoleOn: boolean | undefined;
  readonly id: string | undefined;
  readonly userData: Uint8Array | undefined;
}

export function parseHclReport(bytes: Uint8Array, hardware: keyof typeof reportTypes): HclReport {
  if (bytes.length < jsonOffset) throw malformed('it is cut off');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const number = (offset: number): number => view.getUint32(offset, true);
  if (Buffer.from(bytes.subarray(0, 4)).toString('latin1') !== 'HCLA') throw malformed('the magic is wrong');
  if (!versions.includes(number(4))) throw malformed(`version ${number(4)} is not known`);
  if (number(12) !== requestAkCertificate) throw malformed('it is not the report of an attestation key');
  const runtimeOffset = headerBytes + hardwareBytes;
  const [size, version, type, hashType, length] = [0, 4, 8, 12, 16].map((offset) => number(runtimeOffset + offset));
  if (version !== runtimeVersion) throw malformed('its runtime data are of an unknown version');
  if (type !== reportTypes[hardware]) throw malformed(`its hardware is not ${hardware}`);
  const hash = hashes[hashType!];
  if (hash === undefined) throw malformed('the digest of its runtime data is of an unknown kind');
  if (size !== runtimeHeaderBytes + length! || length! > bytes.length - jsonOffset)
    throw malformed('the length of its runtime data is wrong');
  if (bytes.subarray(jsonOffset + length!).some((byte) => byte !== 0))
    throw malformed('there is something after its runtime data');
  const runtimeData = bytes.subarray(jsonOffset, jsonOffset + length!);
  const hardwareReport = bytes.subarray(headerBytes, runtimeOffset);
  return { hardwareReport, runtimeData, hash, ...parseRuntimeData(runtimeData) };
}

function parseRuntimeData(bytes: Uint8Array): Pick<HclReport, 'attestationKey' | 'machine'> {
  const data = jsonObject(parseJson(bytes), 'the runtime data');
  const machine =
    data['vm-configuration'] === undefined ? {} : jsonObject(data['vm-configuration'], 'vm-configuration');
  const userData = optional(data, 'user-data', 'string');
  return {
    attestationKey: attestationKey(data['keys']),
    machine: {
      isSecureBootOn: optional(machine, 'secure-boot', 'boolean'),
      isTpmOn: optional(machine, 'tpm-enabled', 'boolean'),
      isConsoleOn: optional(machine, 'console-enabled', 'boolean'),
      id: optional(machine, 'vmUniqueId', 'string'),
      userData: userData === undefined ? undefined : userDataOf(userData),
    },
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw wrongData('are no JSON', error);
  }
}

type JsonObject = Readonly<Record<string, unknown>>;

function jsonObject(value: unknown, what: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw wrongData(`hold something else than an object as ${what}`);
}

interface MemberTypes {
  readonly string: string;
  readonly boolean: boolean;
}

function optional<Type extends keyof MemberTypes>(
  object: JsonObject,
  name: string,
  type: Type,
): MemberTypes[Type] | undefined {
  const value = Object.hasOwn(object, name) ? object[name] : undefined;
  if (value === undefined) return undefined;
  if (typeof value !== type) throw wrongData(`hold a ${name} that is no ${type}`);
  return value as MemberTypes[Type];
}

function userDataOf(text: string): Uint8Array {
  const bytes = fromHex(text, userDataBytes);
  if (bytes === undefined) throw wrongData(`hold user-data that are not ${userDataBytes} bytes in hexadecimal`);
  return bytes;
}

/** The one key of the name that the paravisor gives to the attestation key of its TPM. */
function attestationKey(keys: unknown): KeyObject {
  if (!Array.isArray(keys)) throw wrongData('hold no list of keys');
  const [jwk, ...more] = keys.map((key) => jsonObject(key, 'a key')).filter(({ kid }) => kid === akName);
  if (jwk === undefined || more.length > 0) throw wrongData(`do not hold exactly one key ${akName}`);
  const { kty, n, e } = jwk;
  let key: KeyObject;
  try {
    // Throws for every other kind of key, since only these three members are given to it.
    key = createPublicKey({ key: { kty, n, e } as webcrypto.JsonWebKey, format: 'jwk' });
  } catch (error) {
    throw wrongData(`hold an ${akName} that is no key of RSA`, error);
  }
  const { modulusLength: bits = 0, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (bits < akBits.min || bits > akBits.max) throw wrongData(`hold an ${akName} of ${bits} bits`);
  if (publicExponent !== akExponent) throw wrongData(`hold an ${akName} of another exponent than ${akExponent}`);
  return key;
}

function malformed(message: string): CaissonError {
  return evidenceInvalid(`the report of the paravisor cannot be read: ${message}`, { check: 'hcl-form' });
}

function wrongData(message: string, cause?: unknown): CaissonError {
  return evidenceInvalid(`the runtime data of the paravisor ${message}`, { check: 'runtime-data' }, cause);
}
