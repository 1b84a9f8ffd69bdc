/** Changed TPM slots: what decodes has one form, all else is refused by name. */
import { decodeTpmSlot, encodeTpmSlot } from '../../src/keys/tpm-slot-format.ts';
import { assertSame, fuzzVectors } from './vector-mutation.ts';

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('tpm-slot', ['format-invalid'], seed, iterations, ({ bytes }) =>
    assertSame(encodeTpmSlot(decodeTpmSlot(bytes)), bytes),
  );
}
