/**
 * The register of a TPM anchor: 48 bytes of non-volatile memory a volume, out of the reach of whoever copies disks
 * (spec/anchor.md, "TPM anchor"). A write is one TPM command, which happens whole or not at all.
 */
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { NvAttribute } from '../tpm/tpm-constants.ts';
import { parseTpmDevice } from '../tpm/tpm-device.ts';
import { nvDefine, nvRead, nvReadPublic, nvUndefine, nvWrite } from '../tpm/tpm-nv.ts';
import type { NvIndex, NvPublic } from '../tpm/tpm-nv.ts';
import { withTpm } from '../tpm/tpm.ts';
import type { Tpm, TpmOptions } from '../tpm/tpm.ts';

export interface RegisterContent {
  /** Of the slot that holds; 0 says that the volume is forgotten. */
  readonly counter: number;
  /** SHA-256 of that slot. */
  readonly digest: Uint8Array;
}

export interface FreshnessRegister {
  /** A name for people. */
  readonly name: string;
  /** Undefined where nothing was ever written for the volume. */
  read(volumeId: Uint8Array): Promise<RegisterContent | undefined>;
  /** Durable, and whole or not at all. */
  write(volumeId: Uint8Array, content: RegisterContent): Promise<void>;
  /** Missing is not an error. */
  remove(volumeId: Uint8Array): Promise<void>;
}

const registerBytes = 48;
const registerVersion = 1;
const ownerFirst = 0x0180_0000;
const ownerCount = 0x0040_0000;
const candidatesMax = 4;
const attributes = NvAttribute.authRead | NvAttribute.authWrite | NvAttribute.noDictionaryAttack;
const indexPrefix = new TextEncoder().encode('caisson anchor index v1\0');
const policyPrefix = new TextEncoder().encode('caisson anchor register v1\0');

/** `device` as in `parseTpmDevice`. */
export function createTpmRegister(device: string | undefined, options: TpmOptions = {}): FreshnessRegister {
  const { text } = parseTpmDevice(device);
  const ask = <T>(operation: (tpm: Tpm) => Promise<T>): Promise<T> => withTpm(device, operation, options);
  return {
    name: `the TPM ${text}`,
    read: (volumeId) =>
      ask(async (tpm) => {
        const { index } = await findIndex(tpm, volumeId);
        return index === undefined || !index.isWritten ? undefined : decodeRegister(await nvRead(tpm, index));
      }),
    write: (volumeId, content) =>
      ask(async (tpm) => {
        const { index, free } = await findIndex(tpm, volumeId);
        await nvWrite(tpm, index ?? (await define(tpm, volumeId, free)), encodeRegister(content));
      }),
    remove: (volumeId) =>
      ask(async (tpm) => {
        const { index } = await findIndex(tpm, volumeId);
        if (index !== undefined) await nvUndefine(tpm, index);
      }),
  };
}

interface FoundIndex {
  readonly index: NvIndex | undefined;
  /** The first handle of the volume that nobody uses. */
  readonly free: number | undefined;
}

async function findIndex(tpm: Tpm, volumeId: Uint8Array): Promise<FoundIndex> {
  const policy = policyOf(volumeId);
  let free: number | undefined;
  for (let candidate = 0; candidate < candidatesMax; candidate++) {
    const handle = registerHandle(volumeId, candidate);
    const index = await nvReadPublic(tpm, handle);
    if (index === undefined) free ??= handle;
    else if (equalBytes(index.policy, policy)) {
      const isOurs = (index.attributes & ~NvAttribute.written) === attributes && index.bytes === registerBytes;
      if (!isOurs) throw registerTampered('its index was defined anew by somebody else');
      return { index, free };
    }
  }
  return { index: undefined, free };
}

async function define(tpm: Tpm, volumeId: Uint8Array, handle: number | undefined): Promise<NvIndex> {
  if (handle === undefined) {
    throw new CaissonError('full', 'tpm-failed', 'other programs use all NV indexes that this volume may have', {
      remedy: 'See "tpm2_getcap handles-nv-index"; or anchor the volume in a file.',
    });
  }
  const area: NvPublic = { handle, attributes, policy: policyOf(volumeId), bytes: registerBytes };
  await nvDefine(tpm, area);
  const index = await nvReadPublic(tpm, handle);
  if (index !== undefined) return index;
  throw registerTampered('its index vanished as soon as it was made');
}

export function registerHandle(volumeId: Uint8Array, candidate: number): number {
  const digest = sha256(indexPrefix, volumeId, Uint8Array.of(candidate));
  return ownerFirst + (new DataView(digest.buffer, digest.byteOffset).getUint32(0) % ownerCount);
}

function policyOf(volumeId: Uint8Array): Uint8Array {
  return sha256(policyPrefix, volumeId);
}

export function encodeRegister({ counter, digest }: RegisterContent): Uint8Array {
  return new ByteWriter().u8(registerVersion).zeros(7).u64(counter).bytes(digest, 32).finish();
}

/** `format-version` for what a newer Caisson wrote, `anchor-tampered` for what none did. */
export function decodeRegister(bytes: Uint8Array): RegisterContent {
  if (bytes.length !== registerBytes) throw registerTampered(`its register has ${bytes.length} bytes`);
  const reader = new ByteReader(bytes, 'register of an anchor');
  const version = reader.u8();
  if (version > registerVersion) {
    throw new CaissonError('invalid', 'format-version', `the register of this anchor has version ${version}`, {
      remedy: 'Open the volume with the version of Caisson that wrote it.',
      details: { version },
    });
  }
  try {
    if (version !== registerVersion) throw reader.invalid('version 0');
    reader.zeros(7);
    const content = { counter: reader.u64(), digest: Uint8Array.from(reader.bytes(32)) };
    reader.end();
    return content;
  } catch (error) {
    throw registerTampered(messageOf(error), error);
  }
}

export function registerTampered(reason: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'anchor-tampered', `the anchor of this volume cannot be relied on: ${reason}`, {
    remedy:
      'Restore the anchor file from the same moment as the TPM; only if you are sure that the store is the newest copy, accept its state anew.',
    ...(cause === undefined ? {} : { cause }),
  });
}
