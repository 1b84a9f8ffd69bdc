/**
 * Keys of objects: one fresh key per object id, derived from the data key of its key epoch. Everything a
 * unit must be bound to that its nonce does not say enters here (spec/segment-format.md, "Keys and nonces").
 */
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { plainSealer } from '../crypto/plain-sealer.ts';
import type { Sealer, SealingKey } from '../crypto/sealer.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import type { Keyring } from '../keys/keyring.ts';
import { segmentVersion } from '../segment/segment-format.ts';
import type { Protection } from './volume-types.ts';

export class ObjectKeys {
  readonly protectionCode: 0 | 1;
  readonly #keyring: Keyring;
  readonly #sealer: Sealer;
  #keyEpoch: number;

  constructor(keyring: Keyring, protection: Protection, sealer: Sealer) {
    this.#keyring = keyring;
    this.#keyEpoch = keyring.currentKeyEpoch;
    this.protectionCode = protection === 'sealed' ? 1 : 0;
    this.#sealer = protection === 'sealed' ? sealer : plainSealer;
  }

  get sealerName(): string {
    return this.#sealer.name;
  }

  /** The key epoch under which new objects are sealed: the newest that a published keyring holds, or recovery would lack the key. */
  get keyEpoch(): number {
    return this.#keyEpoch;
  }

  /** A manifest whose keyring holds this epoch is the head. */
  useEpoch(keyEpoch: number): void {
    this.#keyEpoch = keyEpoch;
  }

  segmentKey(segmentId: Uint8Array, lineage: Uint8Array, keyEpoch: number): SealingKey {
    return this.#key(keyLabel.segment, segmentId, lineage, keyEpoch);
  }

  mapKey(objectId: Uint8Array, lineage: Uint8Array, keyEpoch: number): SealingKey {
    return this.#key(keyLabel.map, objectId, lineage, keyEpoch);
  }

  #key(label: 'segment' | 'map', id: Uint8Array, lineage: Uint8Array, keyEpoch: number): SealingKey {
    const context = new ByteWriter()
      .u16(segmentVersion)
      .u8(this.protectionCode)
      .bytes(lineage, 16)
      .u32(keyEpoch)
      .finish();
    const bytes = deriveKey(this.#keyring.keyOf(lineage, keyEpoch), id, label, context);
    try {
      return this.#sealer.createKey(bytes);
    } finally {
      bytes.fill(0);
    }
  }
}
