/**
 * Names of volumes. A name is a local alias: it appears in the user's configuration, in socket
 * paths and on the command line, never in a store. The alphabet is what every one of those places
 * takes without quoting.
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
