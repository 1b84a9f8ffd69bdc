/**
 * The common part of the service kinds (spec/keys.md, section 5.4): a secret that the service keeps or wraps, and
 * the slot key derived from it. parameters = version (1) || salt (32) || what the service needs to give the secret again.
 *
 * Invariants:
 * - `enroll` asks for the secret back before it is used: a volume that can be made and not be opened helps nobody.
 * - Whatever lies in the parameters, the slot key depends on the volume id too.
 */
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { equalBytes } from '../crypto/digest.ts';
import { keyBytes } from '../crypto/sealer.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import type { ServiceKeyKind } from '../lib/key-kinds.ts';
import type { Random } from '../lib/random.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import { slotParametersBytesMax } from './keyring-format.ts';
import { serviceAway, wrongWrap } from './service-errors.ts';

export interface WrappedSecret {
  /** Public, for the slot. */
  readonly wrapped: Uint8Array;
  readonly secret: Uint8Array;
}

export interface KeyWrapper {
  readonly kind: ServiceKeyKind;
  /** For people; holds no secret. */
  readonly describe: string;
  /** A new secret of 32 bytes; it belongs to the caller. */
  wrap(use: KeyUse): Promise<WrappedSecret>;
  /** The secret again; `key-wrong` for what this service did not wrap for this use. It belongs to the caller. */
  unwrap(wrapped: Uint8Array, use: KeyUse): Promise<Uint8Array>;
  /** Forgets tokens and the like. */
  wipe?(): void;
}

const version = 1;
const saltBytes = 32;
const headBytes = 1 + saltBytes;
/** What is left of a slot for the service. */
export const wrappedBytesMax = slotParametersBytesMax - headBytes;

export function wrappedKeySource(wrapper: KeyWrapper, random: Random): HeldKeySource {
  const { kind, describe } = wrapper;
  let live = true;
  return {
    kind,
    describe,
    async enroll(use) {
      refuseWiped(live, kind);
      const { wrapped, secret } = await wrapper.wrap(use);
      try {
        if (wrapped.length < 1 || wrapped.length > wrappedBytesMax)
          throw serviceAway(kind, `a wrapped key of ${wrapped.length} bytes does not fit into a slot`);
        const again = await unwrapSecret(wrapper, wrapped, use);
        const same = equalBytes(secret, again);
        again.fill(0);
        if (!same) throw serviceAway(kind, 'it unwraps another key than it wrapped');
        const parameters = new Uint8Array(headBytes + wrapped.length);
        parameters[0] = version;
        parameters.set(random.bytes(saltBytes), 1);
        parameters.set(wrapped, headBytes);
        return { parameters, key: slotKeyOf(kind, secret, parameters, use) };
      } finally {
        secret.fill(0);
      }
    },
    async derive(parameters, use) {
      refuseWiped(live, kind);
      const snapshot = Uint8Array.from(parameters);
      if (snapshot[0] !== version) throw invalidParameters(kind, 'are of an unknown version');
      if (snapshot.length <= headBytes) throw invalidParameters(kind, 'are too short');
      if (snapshot.length > slotParametersBytesMax) throw invalidParameters(kind, 'are too long');
      const secret = await unwrapSecret(wrapper, snapshot.subarray(headBytes), use);
      try {
        return slotKeyOf(kind, secret, snapshot, use);
      } finally {
        secret.fill(0);
      }
    },
    wipe() {
      live = false;
      wrapper.wipe?.();
    },
  };
}

/** What a service binds its answer to, and may show in its log. */
export function useText(use: KeyUse): string {
  return `caisson volume ${toHex(use.volumeId)}`;
}

/** For a kind whose part of the parameters is not of its form. */
export function invalidParameters(kind: ServiceKeyKind, what: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `the parameters of a ${kind} slot ${what}`);
}

async function unwrapSecret(wrapper: KeyWrapper, wrapped: Uint8Array, use: KeyUse): Promise<Uint8Array> {
  const secret = await wrapper.unwrap(wrapped, use);
  if (secret.length === keyBytes) return secret;
  secret.fill(0);
  throw wrongWrap(wrapper.kind, `it unwraps ${secret.length} bytes, not ${keyBytes}`);
}

function slotKeyOf(kind: ServiceKeyKind, secret: Uint8Array, parameters: Uint8Array, use: KeyUse): Uint8Array {
  return deriveKey(secret, parameters.subarray(1, headBytes), keyLabel[kind], use.volumeId);
}

function refuseWiped(live: boolean, kind: ServiceKeyKind): void {
  if (!live) throw new CaissonError('closed', 'key-source-unavailable', `the key source ${kind} was wiped from memory`);
}
