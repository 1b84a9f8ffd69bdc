/**
 * A PKCS#11 module (version 2.40) through node:ffi: the C functions that a symmetric key needs, with the structures
 * of the 64-bit Linux ABI laid out by hand. Which token, which key and what a refusal means is decided in keys/pkcs11.ts.
 *
 * Invariants:
 * - A call blocks this thread, as every call into such a module does. Nothing awaits between the opening of a session
 *   and its closing, so that no other work of this process shares it.
 * - PINs and plaintexts lie in regions that are zeroed before the call returns.
 * - A module stays loaded and initialized once it is: others in this process may use it too.
 */
import { endianness } from 'node:os';
import { Region } from '../lib/region.ts';
import { native, nativeReason, pin } from './native.ts';
import type { Native } from './native.ts';

/** The return values that callers tell apart. */
export const Pkcs11Result = {
  ok: 0,
  encryptedDataInvalid: 0x40,
  encryptedDataLength: 0x41,
  keyFunctionNotPermitted: 0x68,
  mechanismInvalid: 0x70,
  pinIncorrect: 0xa0,
  pinExpired: 0xa3,
  pinLocked: 0xa4,
  alreadyLoggedIn: 0x100,
  alreadyInitialized: 0x191,
} as const;

export const TokenFlag = {
  loginRequired: 0x4,
  userPinInitialized: 0x8,
  userPinFinalTry: 0x20000,
  userPinLocked: 0x40000,
} as const;

export interface TokenInfo {
  readonly slot: bigint;
  readonly label: string;
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
  readonly flags: number;
}

/** A function of the module did not return CKR_OK. */
export class Pkcs11Failure extends Error {
  readonly result: number;

  constructor(call: string, result: number) {
    super(`${call} returned 0x${result.toString(16)}`);
    this.name = 'Pkcs11Failure';
    this.result = result;
  }
}

export interface KeyTemplate {
  readonly label: Uint8Array | undefined;
  readonly id: Uint8Array | undefined;
}

export interface GcmCall {
  readonly nonce: Uint8Array;
  readonly additional: Uint8Array;
  readonly input: Uint8Array;
}

/** What is asked of a token; each call is one of the module's, or a few that belong together. */
export interface TokenSession {
  /** Handles of AES keys that fit, at most two: more than one is a question to the caller. */
  findAesKeys(template: KeyTemplate): bigint[];
  /** AES-GCM with a tag of 16 bytes behind the ciphertext. */
  encryptGcm(key: bigint, call: GcmCall): Uint8Array;
  decryptGcm(key: bigint, call: GcmCall): Uint8Array;
}

export interface TokenModule {
  /** Tokens that are present, at most `countMax` slots of them. */
  tokens(countMax: number): TokenInfo[];
  /** A read-only session for `work`, which must not await; logged in where there is a PIN. */
  withSession<Value>(slot: bigint, secret: Uint8Array | undefined, work: (session: TokenSession) => Value): Value;
}

const ulongBytes = 8;
const tokenInfoBytes = 208;
const attributeBytes = 24;
const gcmTagBits = 128n;
const Attribute = { class: 0n, label: 3n, id: 0x102n, keyType: 0x100n } as const;
const Mechanism = { aesGcm: 0x1087n } as const;

const signatures = {
  C_Initialize: { arguments: ['pointer'], return: 'u64' },
  C_GetSlotList: { arguments: ['u8', 'pointer', 'pointer'], return: 'u64' },
  C_GetTokenInfo: { arguments: ['u64', 'pointer'], return: 'u64' },
  C_OpenSession: { arguments: ['u64', 'u64', 'pointer', 'pointer', 'pointer'], return: 'u64' },
  C_CloseSession: { arguments: ['u64'], return: 'u64' },
  C_Login: { arguments: ['u64', 'u64', 'pointer', 'u64'], return: 'u64' },
  C_FindObjectsInit: { arguments: ['u64', 'pointer', 'u64'], return: 'u64' },
  C_FindObjects: { arguments: ['u64', 'pointer', 'u64', 'pointer'], return: 'u64' },
  C_FindObjectsFinal: { arguments: ['u64'], return: 'u64' },
  C_EncryptInit: { arguments: ['u64', 'pointer', 'u64'], return: 'u64' },
  C_Encrypt: { arguments: ['u64', 'pointer', 'u64', 'pointer', 'pointer'], return: 'u64' },
  C_DecryptInit: { arguments: ['u64', 'pointer', 'u64'], return: 'u64' },
  C_Decrypt: { arguments: ['u64', 'pointer', 'u64', 'pointer', 'pointer'], return: 'u64' },
} as const;

type Functions = ReturnType<typeof load>;

const modules = new Map<string, TokenModule>();

/** Loads the module once in the life of the process. Throws what the loader says, or `Pkcs11Failure`. */
export function openPkcs11Module(path: string): TokenModule {
  const known = modules.get(path);
  if (known !== undefined) return known;
  if (native === undefined) throw new Error(nativeReason);
  if (endianness() !== 'LE' || process.arch.includes('32')) throw new Error('the layout of this machine is not known');
  const made = new LoadedModule(load(native, path));
  modules.set(path, made);
  return made;
}

function load(ffi: Native, path: string) {
  return ffi.dlopen(path, signatures).functions;
}

class LoadedModule implements TokenModule {
  readonly #functions: Functions;

  constructor(functions: Functions) {
    this.#functions = functions;
    // CK_C_INITIALIZE_ARGS: no own mutexes, CKF_OS_LOCKING_OK.
    const settings = new Layout(48).set(40, 0n).set(32, 2n);
    const result = Number(functions.C_Initialize(settings.address));
    if (result !== Pkcs11Result.alreadyInitialized) check('C_Initialize', result);
  }

  tokens(countMax: number): TokenInfo[] {
    const count = new Layout(ulongBytes).set(0, BigInt(countMax));
    const slots = new Layout(countMax * ulongBytes);
    check('C_GetSlotList', this.#functions.C_GetSlotList(1, slots.address, count.address));
    const found = Math.min(Number(count.get(0)), countMax);
    return Array.from({ length: found }, (_, index) => this.#tokenInfo(slots.get(index * ulongBytes)));
  }

  withSession<Value>(slot: bigint, secret: Uint8Array | undefined, work: (session: TokenSession) => Value): Value {
    const handle = new Layout(ulongBytes);
    const serialSession = 4n;
    check('C_OpenSession', this.#functions.C_OpenSession(slot, serialSession, 0n, 0n, handle.address));
    const session = handle.get(0);
    try {
      if (secret !== undefined) this.#login(session, secret);
      return work(new LoadedSession(this.#functions, session));
    } finally {
      // Closing the last session of this process logs out.
      this.#functions.C_CloseSession(session);
    }
  }

  #login(session: bigint, secret: Uint8Array): void {
    const copy = Layout.from(secret);
    const user = 1n;
    const result = Number(this.#functions.C_Login(session, user, copy.address, BigInt(secret.length)));
    copy.bytes.fill(0);
    if (result !== Pkcs11Result.alreadyLoggedIn) check('C_Login', result);
  }

  #tokenInfo(slot: bigint): TokenInfo {
    const info = new Layout(tokenInfoBytes);
    check('C_GetTokenInfo', this.#functions.C_GetTokenInfo(slot, info.address));
    return {
      slot,
      label: paddedText(info.bytes.subarray(0, 32)),
      manufacturer: paddedText(info.bytes.subarray(32, 64)),
      model: paddedText(info.bytes.subarray(64, 80)),
      serial: paddedText(info.bytes.subarray(80, 96)),
      flags: Number(info.get(96)),
    };
  }
}

class LoadedSession implements TokenSession {
  readonly #functions: Functions;
  readonly #session: bigint;

  constructor(functions: Functions, session: bigint) {
    this.#functions = functions;
    this.#session = session;
  }

  findAesKeys({ label, id }: KeyTemplate): bigint[] {
    const secretKey = new Layout(ulongBytes).set(0, 4n);
    const aes = new Layout(ulongBytes).set(0, 0x1fn);
    const wanted: [bigint, Layout, number][] = [
      [Attribute.class, secretKey, ulongBytes],
      [Attribute.keyType, aes, ulongBytes],
    ];
    if (label !== undefined) wanted.push([Attribute.label, Layout.from(label), label.length]);
    if (id !== undefined) wanted.push([Attribute.id, Layout.from(id), id.length]);
    const template = new Layout(wanted.length * attributeBytes);
    for (const [index, [type, value, length]] of wanted.entries()) {
      const offset = index * attributeBytes;
      template
        .set(offset, type)
        .set(offset + 8, value.address)
        .set(offset + 16, BigInt(length));
    }
    const functions = this.#functions;
    check('C_FindObjectsInit', functions.C_FindObjectsInit(this.#session, template.address, BigInt(wanted.length)));
    try {
      const countMax = 2;
      const handles = new Layout(countMax * ulongBytes);
      const count = new Layout(ulongBytes);
      check('C_FindObjects', functions.C_FindObjects(this.#session, handles.address, BigInt(countMax), count.address));
      const found = Math.min(Number(count.get(0)), countMax);
      return Array.from({ length: found }, (_, index) => handles.get(index * ulongBytes));
    } finally {
      functions.C_FindObjectsFinal(this.#session);
      for (const [, value] of wanted) value.keep();
    }
  }

  encryptGcm(key: bigint, call: GcmCall): Uint8Array {
    const { C_EncryptInit, C_Encrypt } = this.#functions;
    return this.#gcm(key, call, ['C_EncryptInit', C_EncryptInit], ['C_Encrypt', C_Encrypt]);
  }

  decryptGcm(key: bigint, call: GcmCall): Uint8Array {
    const { C_DecryptInit, C_Decrypt } = this.#functions;
    return this.#gcm(key, call, ['C_DecryptInit', C_DecryptInit], ['C_Decrypt', C_Decrypt]);
  }

  #gcm(
    key: bigint,
    { nonce, additional, input }: GcmCall,
    [initName, init]: readonly [string, Functions['C_EncryptInit']],
    [runName, run]: readonly [string, Functions['C_Encrypt']],
  ): Uint8Array {
    const [iv, data, source] = [Layout.from(nonce), Layout.from(additional), Layout.from(input)];
    // CK_GCM_PARAMS: pIv, ulIvLen, ulIvBits, pAAD, ulAADLen, ulTagBits.
    const parameters = new Layout(48)
      .set(0, iv.address)
      .set(8, BigInt(nonce.length))
      .set(16, BigInt(nonce.length * 8))
      .set(24, data.address)
      .set(32, BigInt(additional.length))
      .set(40, gcmTagBits);
    const mechanism = new Layout(24).set(0, Mechanism.aesGcm).set(8, parameters.address).set(16, 48n);
    const room = input.length + 64;
    const output = new Layout(room);
    const length = new Layout(ulongBytes).set(0, BigInt(room));
    try {
      check(initName, init(this.#session, mechanism.address, key));
      check(runName, run(this.#session, source.address, BigInt(input.length), output.address, length.address));
      return Uint8Array.from(output.bytes.subarray(0, Math.min(Number(length.get(0)), room)));
    } finally {
      source.bytes.fill(0);
      output.bytes.fill(0);
      for (const part of [iv, data, parameters]) part.keep();
    }
  }
}

/** Memory that the module is pointed at. It must be kept alive until the call that follows pointers to it has ended. */
class Layout {
  readonly #region: Region;
  readonly #view: DataView;

  constructor(length: number) {
    this.#region = new Region(Math.max(length, 1));
    this.#view = new DataView(this.#region.bytes.buffer);
  }

  static from(bytes: Uint8Array): Layout {
    const layout = new Layout(bytes.length);
    layout.bytes.set(bytes);
    return layout;
  }

  get bytes(): Uint8Array {
    return this.#region.bytes;
  }

  get address(): bigint {
    return pin(this.#region);
  }

  set(offset: number, value: bigint): this {
    this.#view.setBigUint64(offset, value, true);
    return this;
  }

  get(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }

  /** Reads one byte, so that the collector cannot take what only native code points at. */
  keep(): number {
    return this.#view.getUint8(0);
  }
}

/** Fields of a token are padded with blanks, and bytes that are no UTF-8 show as such. */
function paddedText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(/[\s\0]+$/, '');
}

function check(call: string, result: bigint | number): void {
  if (Number(result) !== Pkcs11Result.ok) throw new Pkcs11Failure(call, Number(result));
}
