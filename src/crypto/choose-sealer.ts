/**
 * Which sealer this process uses. The fast one is taken only after it has proved, here and now, that
 * it gives the same bytes as node:crypto and refuses a bad tag; otherwise node:crypto does the work
 * and the reason is kept for `caisson doctor`.
 */
import { CaissonError, messageOf } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { bindOpenSsl } from '../sys/openssl.ts';
import { nodeSealer } from './node-sealer.ts';
import { createOpenSslSealer } from './openssl-sealer.ts';
import { keyBytes, tagBytes } from './sealer.ts';
import type { Sealer, SealingKey } from './sealer.ts';

export type SealerPreference = 'auto' | 'openssl-ffi' | 'node-crypto';

export interface SealerChoice {
  readonly sealer: Sealer;
  /** Why this one, one clause for people. */
  readonly reason: string;
}

/** `auto` never fails; asking for the fast sealer by name where it does not work is refused. */
export function chooseSealer(preference: SealerPreference = 'auto'): SealerChoice {
  if (preference === 'node-crypto') return { sealer: nodeSealer, reason: 'node-crypto was asked for' };
  const { openSsl, reason } = bindOpenSsl();
  if (openSsl === undefined) return fallBack(preference, reason);
  const candidate = createOpenSslSealer(openSsl);
  const fault = selfTestFault(candidate, nodeSealer);
  if (fault !== undefined) return fallBack(preference, `the self-test of openssl-ffi failed: ${fault}`);
  return { sealer: candidate, reason: `${reason}; self-test passed` };
}

function fallBack(preference: SealerPreference, reason: string): SealerChoice {
  if (preference === 'auto') return { sealer: nodeSealer, reason };
  throw new CaissonError('invalid', 'unsupported', `the sealer ${preference} does not work here: ${reason}`, {
    remedy: 'Use the sealer setting "auto", or start Node with --allow-ffi where permissions are on.',
  });
}

const selfTestLengths = [1, 15, 16, 17, 4096];
const selfTestBytesMax = 4096 + tagBytes;

/** What differs between the candidate and the reference, or undefined when nothing does. */
export function selfTestFault(candidate: Sealer, reference: Sealer): string | undefined {
  const key = Uint8Array.from({ length: keyBytes }, (_, index) => (index * 37 + 11) & 0xff);
  let tried: SealingKey | undefined;
  let trusted: SealingKey | undefined;
  try {
    tried = candidate.createKey(key);
    trusted = reference.createKey(key);
    return unitFault(tried, trusted);
  } catch (error) {
    return messageOf(error);
  } finally {
    tried?.destroy();
    trusted?.destroy();
  }
}

function unitFault(tried: SealingKey, trusted: SealingKey): string | undefined {
  const plain = new Region(selfTestBytesMax);
  const expected = new Region(selfTestBytesMax + 1);
  const sealed = new Region(selfTestBytesMax + 1);
  const opened = new Region(selfTestBytesMax);
  for (let index = 0; index < plain.length; index++) plain.bytes[index] = (index * 131) & 0xff;
  for (const [slot, length] of selfTestLengths.entries()) {
    const block = 2 ** 33 + slot;
    trusted.seal(slot, block, length, plain, 0, expected, 1);
    tried.seal(slot, block, length, plain, 0, sealed, 1);
    if (!same(expected.bytes, sealed.bytes)) return `${length} bytes seal differently`;
    if (!tried.open(slot, block, length, sealed, 1, opened, 0)) return `${length} bytes do not open`;
    if (!same(plain.bytes.subarray(0, length), opened.bytes.subarray(0, length)))
      return `${length} bytes open differently`;
    const tagOffset = 1 + length;
    sealed.bytes[tagOffset] = (sealed.bytes[tagOffset] ?? 0) ^ 1;
    if (tried.open(slot, block, length, sealed, 1, opened, 0)) return 'a bad tag is accepted';
    if (opened.bytes.subarray(0, length).some((byte) => byte !== 0)) return 'a refused unit leaves plaintext';
    sealed.bytes[tagOffset] = (sealed.bytes[tagOffset] ?? 0) ^ 1;
  }
  return undefined;
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
