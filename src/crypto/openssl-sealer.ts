/**
 * The fast sealer: AES-256-GCM by the EVP functions of Node's own OpenSSL, working in place on
 * regions. Nothing is allocated per unit but the big integers of three pointers.
 *
 * Invariants:
 * - Ranges are checked before any pointer is made; native code never sees an unchecked length.
 * - Nonce and output length live in one region per key, never in small typed arrays, which move.
 * - While native code runs, the key object holds both regions: the collector sees them as in use,
 *   and the stores after the call keep the key object itself (and so its contexts) alive.
 * - Encryption and decryption have a context each, so that the key schedule is never rebuilt.
 */
import { assert } from '../lib/assert.ts';
import { Region } from '../lib/region.ts';
import { pin } from '../sys/native.ts';
import { checkCall, evpControlGetTag, evpControlSetTag, failedCall } from '../sys/openssl.ts';
import type { OpenSsl } from '../sys/openssl.ts';
import { checkKey, checkOpen, checkSeal, writeNonce } from './sealer-checks.ts';
import { keyBytes, nonceBytes, tagBytes } from './sealer.ts';
import type { Sealer, SealingKey } from './sealer.ts';

const nonceOffset = 0;
const outputBytesOffset = 64;
const keyOffset = 128;
const scratchBytes = 4096;

interface Contexts {
  readonly openSsl: OpenSsl;
  encrypt: bigint;
  decrypt: bigint;
}

/** The regions native code is working on. */
interface InUse {
  source: Region | undefined;
  target: Region | undefined;
}

/** Frees the contexts of keys that were forgotten without `destroy`. */
const forgotten = new FinalizationRegistry<Contexts>(freeContexts);

export function createOpenSslSealer(openSsl: OpenSsl): Sealer {
  return {
    name: 'openssl-ffi',
    createKey: (key) => new OpenSslSealingKey(openSsl, key),
  };
}

class OpenSslSealingKey implements SealingKey {
  readonly #openSsl: OpenSsl;
  readonly #contexts: Contexts;
  readonly #scratch = new Region(scratchBytes);
  readonly #nonceView: DataView;
  readonly #nonce: bigint;
  readonly #outputBytes: bigint;
  readonly #inUse: InUse = { source: undefined, target: undefined };

  constructor(openSsl: OpenSsl, key: Uint8Array) {
    checkKey(key);
    this.#openSsl = openSsl;
    this.#contexts = { openSsl, encrypt: 0n, decrypt: 0n };
    this.#nonceView = new DataView(this.#scratch.bytes.buffer, nonceOffset, nonceBytes);
    const base = pin(this.#scratch);
    this.#nonce = base + BigInt(nonceOffset);
    this.#outputBytes = base + BigInt(outputBytesOffset);
    forgotten.register(this, this.#contexts, this);
    try {
      this.#schedule(key, base + BigInt(keyOffset));
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  seal(
    slot: number,
    block: number,
    length: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): void {
    checkSeal(slot, block, length, source, sourceOffset, target, targetOffset);
    const context = this.#contexts.encrypt;
    assert(context !== 0n, 'a destroyed key seals nothing');
    this.#inUse.source = source;
    this.#inUse.target = target;
    writeNonce(this.#nonceView, slot, block);
    const ssl = this.#openSsl;
    const output = pin(target) + BigInt(targetOffset);
    const tag = output + BigInt(length);
    checkCall(ssl.encryptInit(context, 0n, 0n, this.#nonce, 0n), 'EVP_EncryptInit_ex2');
    checkCall(
      ssl.encryptUpdate(context, output, this.#outputBytes, pin(source) + BigInt(sourceOffset), length),
      'EVP_EncryptUpdate',
    );
    // GCM has written everything already; the final call writes nothing and computes the tag.
    checkCall(ssl.encryptFinal(context, tag, this.#outputBytes), 'EVP_EncryptFinal_ex');
    checkCall(ssl.control(context, evpControlGetTag, tagBytes, tag), 'EVP_CIPHER_CTX_ctrl');
    this.#inUse.source = undefined;
    this.#inUse.target = undefined;
  }

  open(
    slot: number,
    block: number,
    length: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): boolean {
    checkOpen(slot, block, length, source, sourceOffset, target, targetOffset);
    const context = this.#contexts.decrypt;
    assert(context !== 0n, 'a destroyed key opens nothing');
    this.#inUse.source = source;
    this.#inUse.target = target;
    writeNonce(this.#nonceView, slot, block);
    const ssl = this.#openSsl;
    const input = pin(source) + BigInt(sourceOffset);
    const output = pin(target) + BigInt(targetOffset);
    checkCall(ssl.decryptInit(context, 0n, 0n, this.#nonce, 0n), 'EVP_DecryptInit_ex2');
    checkCall(ssl.control(context, evpControlSetTag, tagBytes, input + BigInt(length)), 'EVP_CIPHER_CTX_ctrl');
    checkCall(ssl.decryptUpdate(context, output, this.#outputBytes, input, length), 'EVP_DecryptUpdate');
    // The final call compares the tag and writes nothing.
    const authentic = ssl.decryptFinal(context, output, this.#outputBytes) === 1;
    if (!authentic) {
      target.bytes.fill(0, targetOffset, targetOffset + length);
      ssl.clearErrors();
    }
    this.#inUse.source = undefined;
    this.#inUse.target = undefined;
    return authentic;
  }

  destroy(): void {
    forgotten.unregister(this);
    freeContexts(this.#contexts);
    this.#scratch.bytes.fill(0);
  }

  /** Copies the key into pinned memory, builds both key schedules, wipes the copy. */
  #schedule(key: Uint8Array, keyPointer: bigint): void {
    const ssl = this.#openSsl;
    this.#scratch.bytes.set(key, keyOffset);
    try {
      this.#contexts.encrypt = newContext(ssl);
      checkCall(ssl.encryptInit(this.#contexts.encrypt, ssl.aes256Gcm, keyPointer, 0n, 0n), 'EVP_EncryptInit_ex2');
      this.#contexts.decrypt = newContext(ssl);
      checkCall(ssl.decryptInit(this.#contexts.decrypt, ssl.aes256Gcm, keyPointer, 0n, 0n), 'EVP_DecryptInit_ex2');
    } finally {
      this.#scratch.bytes.fill(0, keyOffset, keyOffset + keyBytes);
    }
  }
}

function newContext(openSsl: OpenSsl): bigint {
  const context = openSsl.newContext();
  if (context === 0n) throw failedCall('EVP_CIPHER_CTX_new');
  return context;
}

/** OpenSSL wipes the key schedule when it frees a context. */
function freeContexts(contexts: Contexts): void {
  const { openSsl, encrypt, decrypt } = contexts;
  contexts.encrypt = 0n;
  contexts.decrypt = 0n;
  if (encrypt !== 0n) openSsl.freeContext(encrypt);
  if (decrypt !== 0n) openSsl.freeContext(decrypt);
}
