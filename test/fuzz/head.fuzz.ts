/** Changed heads: what decodes encodes to the same bytes, and what is accepted was signed as it is. */
import { decodeHead, encodeHead } from '../../src/manifest/head-format.ts';
import { checkHead } from '../../src/manifest/manifest.ts';
import { assertSame, fuzzVectors } from './vector-mutation.ts';

const signed = new Set<string>();

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('head', ['format-invalid', 'format-version'], seed, iterations, ({ bytes }) => {
    const head = decodeHead(bytes);
    assertSame(Buffer.concat([encodeHead(head), head.signature]), bytes);
  });
  fuzzVectors('head', ['head-tampered', 'format-version'], seed, Math.ceil(iterations / 10), ({ bytes, volumeId }) => {
    checkHead(bytes, volumeId);
    signed.add(Buffer.from(bytes).toString('hex'));
    // Two right heads are among the vectors; a third that verifies is a forgery.
    if (signed.size > 2) throw new Error('a head was accepted that nobody signed');
  });
}
