/** Changed parts of segments: what decodes encodes to the same bytes, all else is refused by name. */
import * as segment from '../../src/segment/segment-format.ts';
import { assertSame, fuzzVectors, type FuzzedVector } from './vector-mutation.ts';

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('segment', ['format-invalid', 'format-version'], seed, iterations, decode);
}

function decode({ part, bytes, objectBytes }: FuzzedVector): void {
  const encoded = Uint8Array.from(bytes);
  const view = new DataView(encoded.buffer);
  switch (part) {
    case 'clear-header':
      segment.encodeClearHeader(encoded, segment.decodeClearHeader(bytes));
      break;
    case 'sealed-header':
      segment.encodeSealedHeader(encoded, segment.decodeSealedHeader(bytes));
      break;
    case 'record': {
      const { sequence, previousChain, durableThrough, entries, bodyBytes } = segment.decodeRecord(bytes);
      for (const [at, { kind, count, block }] of entries.entries()) segment.encodeEntry(view, at, kind, count, block);
      segment.encodeRecordPrefix(view, encoded, sequence, previousChain, durableThrough, entries.length, bodyBytes);
      break;
    }
    case 'directory': {
      const { lastSequence, chain, entries } = segment.decodeDirectory(bytes);
      segment.encodeDirectoryPrefix(encoded, lastSequence, chain, entries.length);
      for (const [index, { kind, count, block, slot, tag }] of entries.entries()) {
        const at = segment.directoryPrefixBytes + index * segment.directoryEntryBytes;
        segment.encodeDirectoryEntry(encoded, view, at, kind, count, block, slot, tag, 0);
      }
      break;
    }
    default:
      segment.encodeFooter(encoded, segment.decodeFooter(bytes, objectBytes));
  }
  assertSame(encoded, bytes);
}
