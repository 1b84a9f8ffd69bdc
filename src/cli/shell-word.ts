/**
 * Words of a command line that is shown to be copied: the URL of a bucket holds "?" and "&", at which a shell would
 * cut the command and run the rest of it.
 */

const plain = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** As one word for a POSIX shell, in quotes only where it needs them. */
export function shellWord(text: string): string {
  return plain.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
