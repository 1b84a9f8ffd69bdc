/**
 * Key derivation: every key below a data key or a slot key comes from here, told apart by a label, so
 * that no key serves two purposes (spec/keys.md, "Derived keys").
 */
import { hkdfSync } from 'node:crypto';
import { assert } from '../lib/assert.ts';
import { keyBytes } from './sealer.ts';

/** The purposes of derived keys; the text enters the derivation and never changes. */
export const keyLabel = {
  segment: 'segment',
  map: 'map',
  manifest: 'manifest',
  head: 'head',
  anchor: 'anchor',
  keyringSlot: 'keyring slot',
  keyringBody: 'keyring body',
  keyFile: 'key file',
  tpm: 'tpm key',
  pkcs11: 'token key',
  kmip: 'kmip key',
  tang: 'tang key',
  tangExchange: 'tang exchange',
  vault: 'vault key',
  'aws-kms': 'aws key',
  broker: 'broker key',
  kbs: 'kbs key',
  kbsCheck: 'kbs check',
  keystore: 'keystore key',
  keystoreName: 'keystore name',
  brokerKeys: 'broker volume keys',
  brokerSessions: 'broker sessions',
  brokerNonces: 'broker nonces',
  brokerSigning: 'broker signing seed',
} as const;
export type KeyLabel = (typeof keyLabel)[keyof typeof keyLabel];

const infoPrefix = 'caisson v1 ';
const encoder = new TextEncoder();
const noContext = new Uint8Array(0);

/**
 * HKDF-SHA256 of `dataKey` with `salt`, 32 bytes; info = "caisson v1 " label 0x00 context. Labels hold
 * no zero byte, so a label with its context never reads as another.
 */
export function deriveKey(
  dataKey: Uint8Array,
  salt: Uint8Array,
  label: KeyLabel,
  context: Uint8Array = noContext,
): Uint8Array {
  assert(dataKey.length >= keyBytes, 'a key is derived from at least 32 bytes');
  const head = encoder.encode(`${infoPrefix}${label}\0`);
  const info = new Uint8Array(head.length + context.length);
  info.set(head);
  info.set(context, head.length);
  return new Uint8Array(hkdfSync('sha256', dataKey, salt, info, keyBytes));
}
