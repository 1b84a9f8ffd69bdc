/** Changed manifests: what decodes encodes to the same bytes; sealed parts open as they were or not at all. */
import { appendSealed, appendSignature, decodeManifest, encodePublic } from '../../src/manifest/manifest-format.ts';
import { decodeState, encodeState } from '../../src/manifest/state-format.ts';
import { openState } from '../../src/manifest/manifest.ts';
import { mutated, assertSame, fuzzVectors } from './vector-mutation.ts';
import { seededBytes } from './seeded.ts';

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  fuzzVectors('manifest', ['format-invalid', 'format-version', 'manifest-tampered'], seed, iterations, (vector) => {
    const manifest = decodeManifest(vector.bytes);
    assertSame(
      appendSignature(appendSealed(encodePublic(manifest), manifest.sealed), manifest.signature),
      vector.bytes,
    );
    if (manifest.sealed.length === 0) return;
    const state = encodeState(openState(manifest, vector.dataKey, 'fuzzed'));
    const changed = mutated(state, random);
    assertSame(encodeState(decodeState(changed)), changed);
  });
}
