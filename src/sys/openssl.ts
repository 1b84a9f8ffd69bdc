/**
 * The EVP cipher functions of the OpenSSL that is already inside the node process, declared once.
 *
 * Pointers are big integers made by `pin` (native.ts) plus an offset. Every function returns 1 on
 * success (a context or cipher: not 0); the caller checks it with `checkCall`. The binding adds no
 * policy: which cipher, which nonce and who frees what is decided in crypto/openssl-sealer.ts.
 */
import { CaissonError, messageOf } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { native, nativeReason, pin } from './native.ts';
import type { Native } from './native.ts';

/** Commands of EVP_CIPHER_CTX_ctrl for the tag of an authenticated cipher. */
export const evpControlGetTag = 0x10;
export const evpControlSetTag = 0x11;

export interface OpenSsl {
  readonly newContext: () => bigint;
  readonly freeContext: (context: bigint) => void;
  readonly control: (context: bigint, command: number, argument: number, pointer: bigint) => number;
  readonly encryptInit: (context: bigint, cipher: bigint, key: bigint, nonce: bigint, parameters: bigint) => number;
  readonly encryptUpdate: (
    context: bigint,
    output: bigint,
    outputBytes: bigint,
    input: bigint,
    inputBytes: number,
  ) => number;
  readonly encryptFinal: (context: bigint, output: bigint, outputBytes: bigint) => number;
  readonly decryptInit: (context: bigint, cipher: bigint, key: bigint, nonce: bigint, parameters: bigint) => number;
  readonly decryptUpdate: (
    context: bigint,
    output: bigint,
    outputBytes: bigint,
    input: bigint,
    inputBytes: number,
  ) => number;
  readonly decryptFinal: (context: bigint, output: bigint, outputBytes: bigint) => number;
  /** Empties this thread's error queue, so that a refused tag does not surface in a later call of Node. */
  readonly clearErrors: () => void;
  /** The fetched cipher AES-256-GCM; lives as long as the process. */
  readonly aes256Gcm: bigint;
}

export interface OpenSslBinding {
  readonly openSsl: OpenSsl | undefined;
  readonly reason: string;
}

let binding: OpenSslBinding | undefined;

/** Binds once; later calls return the same result. */
export function bindOpenSsl(): OpenSslBinding {
  binding ??= bind();
  return binding;
}

/** Throws when an EVP function reports failure: with arguments this code chose, that is a defect. */
export function checkCall(result: number, name: string): void {
  if (result !== 1) throw failedCall(name);
}

export function failedCall(name: string): CaissonError {
  return new CaissonError('bug', 'assertion-failed', `internal invariant broken: ${name} failed`);
}

function bind(): OpenSslBinding {
  if (native === undefined) return { openSsl: undefined, reason: nativeReason };
  try {
    return { openSsl: declare(native), reason: `OpenSSL ${process.versions.openssl} bound through node:ffi` };
  } catch (error) {
    return { openSsl: undefined, reason: `OpenSSL cannot be bound: ${messageOf(error)}` };
  }
}

function declare(ffi: Native): OpenSsl {
  const { functions } = ffi.dlopen(null, {
    EVP_CIPHER_fetch: { arguments: ['pointer', 'pointer', 'pointer'], return: 'pointer' },
    EVP_CIPHER_CTX_new: { arguments: [], return: 'pointer' },
    EVP_CIPHER_CTX_free: { arguments: ['pointer'], return: 'void' },
    EVP_CIPHER_CTX_ctrl: { arguments: ['pointer', 'i32', 'i32', 'pointer'], return: 'i32' },
    EVP_EncryptInit_ex2: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'], return: 'i32' },
    EVP_EncryptUpdate: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'i32'], return: 'i32' },
    EVP_EncryptFinal_ex: { arguments: ['pointer', 'pointer', 'pointer'], return: 'i32' },
    EVP_DecryptInit_ex2: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer'], return: 'i32' },
    EVP_DecryptUpdate: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'i32'], return: 'i32' },
    EVP_DecryptFinal_ex: { arguments: ['pointer', 'pointer', 'pointer'], return: 'i32' },
    ERR_clear_error: { arguments: [], return: 'void' },
  });
  const name = Region.from(new TextEncoder().encode('AES-256-GCM\0'));
  const aes256Gcm = functions.EVP_CIPHER_fetch(0n, pin(name), 0n);
  if (aes256Gcm === 0n) throw failedCall('EVP_CIPHER_fetch');
  return {
    newContext: functions.EVP_CIPHER_CTX_new,
    freeContext: functions.EVP_CIPHER_CTX_free,
    control: functions.EVP_CIPHER_CTX_ctrl,
    encryptInit: functions.EVP_EncryptInit_ex2,
    encryptUpdate: functions.EVP_EncryptUpdate,
    encryptFinal: functions.EVP_EncryptFinal_ex,
    decryptInit: functions.EVP_DecryptInit_ex2,
    decryptUpdate: functions.EVP_DecryptUpdate,
    decryptFinal: functions.EVP_DecryptFinal_ex,
    clearErrors: functions.ERR_clear_error,
    aes256Gcm,
  };
}
