/**
 * The plaintext of a LUKS 2 segment: AES-XTS by sectors, as dm-crypt does it, in this process. It only ever reads.
 *
 * Invariant: what is decrypted is the volume's own data under the key that cryptsetup checked; XTS itself notices no
 * change, so what an import can promise is that the volume holds what the LUKS volume showed.
 */
import { createDecipheriv } from 'node:crypto';
import type { ContentSource } from '../../backup/content.ts';
import type { LuksSegment } from '../../sys/luks.ts';

const vectorSectorBytes = 512;

export function luksContent(outer: ContentSource, segment: LuksSegment): ContentSource {
  const { offset: start, size, sectorBytes, firstSector, key } = segment;
  const algorithm = key.length === 64 ? 'aes-256-xts' : 'aes-128-xts';
  const vector = new Uint8Array(16);
  const view = new DataView(vector.buffer);
  return {
    size,
    // A hole of the ciphertext is no hole of the plaintext.
    nextData: async (offset) => ({ offset, length: size - offset }),
    read: async (offset, length, target) => {
      const whole = Math.min(Math.ceil(length / sectorBytes) * sectorBytes, size - offset);
      const count = await outer.read(start + offset, whole, target);
      for (let at = 0; at + sectorBytes <= count; at += sectorBytes) {
        view.setBigUint64(0, BigInt(firstSector + (offset + at) / vectorSectorBytes), true);
        const decipher = createDecipheriv(algorithm, key, vector);
        target.bytes.set(decipher.update(target.bytes.subarray(at, at + sectorBytes)), at);
      }
      return Math.min(count - (count % sectorBytes), length);
    },
  };
}
