/** The text that tells a Caisson store from any other folder or bucket, and what its absence or another text means. */
import { CaissonError } from '../lib/errors.ts';

const formatVersion = 1;
export const markerText = `caisson store ${formatVersion}\n`;
export const markerBytesMax = 4096;

/** `place` names the folder or bucket for people. */
export function checkMarker(place: string, bytes: Uint8Array): void {
  const text = new TextDecoder('latin1').decode(bytes);
  if (text === markerText) return;
  const version = /^caisson store ([0-9]{1,9})\n$/.exec(text)?.[1];
  if (version === undefined) throw foreignStore(place);
  throw new CaissonError(
    'invalid',
    'format-version',
    `${place} is a store of format ${version}, this Caisson knows format ${formatVersion}`,
    {
      remedy: 'Use the version of Caisson that wrote this store, or a newer one.',
      details: { path: place, found: Number(version), known: formatVersion },
    },
  );
}

export function missingStore(place: string): CaissonError {
  return new CaissonError('invalid', 'store-missing', `there is no Caisson store in ${place}`, {
    remedy: 'Check the name; to make a new store there, create a volume in it.',
    details: { path: place },
  });
}

export function foreignStore(place: string): CaissonError {
  return new CaissonError('invalid', 'store-foreign', `${place} holds something but is not a Caisson store`, {
    remedy: 'Name an empty or a new place; Caisson never writes where it finds what it did not make.',
    details: { path: place },
  });
}
