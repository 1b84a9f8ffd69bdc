/**
 * The bytes of a keystore file (section 5.11 of its page): a keyring outside any volume, with the id that it is bound
 * to. Pure. Spec: spec/keys.md. Vectors: test/vectors/keystore/.
 *
 * The file is read before anything is authenticated: the keyring's own codec bounds what is in it, and its seal covers the id.
 */
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { assert } from '../lib/assert.ts';
import { keyringBytesMax } from '../lib/limits.ts';
import { volumeIdBytes } from '../crypto/signature.ts';
import { decodeKeyring } from './keyring-format.ts';

const magic = 'CAISKSTO';
const version = 1;

/** The largest keystore file: head, id, length, keyring. */
export const keystoreBytesMax = 8 + 2 + volumeIdBytes + 4 + keyringBytesMax;

export interface EncodedKeystore {
  readonly id: Uint8Array;
  readonly keyring: Uint8Array;
}

export function encodeKeystore({ id, keyring }: EncodedKeystore): Uint8Array {
  assert(id.length === volumeIdBytes, 'the id of a keystore has 16 bytes');
  return new ByteWriter().bytes(new TextEncoder().encode(magic)).u16(version).bytes(id).block(keyring).finish();
}

/** Copies. `format-invalid` or `format-version` for what no writer makes. */
export function decodeKeystore(encoded: Uint8Array): EncodedKeystore {
  const reader = new ByteReader(encoded, 'the keystore');
  reader.expect(magic);
  reader.version(version);
  const id = Uint8Array.from(reader.bytes(volumeIdBytes));
  const keyring = Uint8Array.from(reader.block(keyringBytesMax));
  reader.end();
  decodeKeyring(keyring);
  return { id, keyring };
}
