/**
 * Names of volumes. A name is a local alias: it appears in the user's configuration, in socket
 * paths and on the command line, never in a store. The alphabet is what every one of those places
 * takes without quoting.
 *
 * A snapshot is referred to as `NAME@SNAPSHOT`: the same places take that, too. Its own name lies in the
 * store, sealed, and may be any text where a program chose it; what does not fit here is referred to by its id.
 */
import { CaissonError } from './errors.ts';

export const nameCharactersMax = 63;

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

export function isName(text: string): boolean {
  return namePattern.test(text);
}

export function checkName(text: string): string {
  if (isName(text)) return text;
  throw new CaissonError(
    'invalid',
    'name-invalid',
    `${JSON.stringify(text.substring(0, 80))} is not a name for a volume`,
    {
      remedy: `Use 1 to ${nameCharactersMax} of a-z, 0-9, ".", "_" and "-", beginning with a letter or a digit.`,
    },
  );
}

const snapshotPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** What an export is called: a volume, or a snapshot of one. */
export interface Reference {
  readonly name: string;
  readonly snapshot: string | undefined;
}

export function isReference(text: string): boolean {
  const { name, snapshot } = splitReference(text);
  return isName(name) && (snapshot === undefined || snapshotPattern.test(snapshot));
}

export function parseReference(text: string): Reference {
  const { name, snapshot } = splitReference(text);
  checkName(name);
  return { name, snapshot: snapshot === undefined ? undefined : checkSnapshotName(snapshot) };
}

export function checkReference(text: string): string {
  parseReference(text);
  return text;
}

/** For a new snapshot, and for one that is exported. */
export function checkSnapshotName(text: string): string {
  if (snapshotPattern.test(text)) return text;
  throw new CaissonError(
    'invalid',
    'name-invalid',
    `${JSON.stringify(text.substring(0, 80))} is not a name for a snapshot`,
    {
      remedy: `Use 1 to ${nameCharactersMax} of A-Z, a-z, 0-9, ".", "_" and "-", beginning with a letter or a digit; an older one may be named by its id.`,
    },
  );
}

function splitReference(text: string): Reference {
  const at = text.indexOf('@');
  return at < 0
    ? { name: text, snapshot: undefined }
    : { name: text.substring(0, at), snapshot: text.substring(at + 1) };
}
