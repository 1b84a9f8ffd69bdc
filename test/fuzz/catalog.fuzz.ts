/** Changed catalog pages: what decodes encodes to the same bytes, all else is refused by name. */
import { decodeCatalogPage, encodeCatalogPage } from '../../src/manifest/catalog-format.ts';
import { assertSame, fuzzVectors } from './vector-mutation.ts';

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('catalog', ['format-invalid', 'format-version'], seed, iterations, ({ bytes }) => {
    assertSame(encodeCatalogPage(decodeCatalogPage(bytes)), bytes);
  });
}
