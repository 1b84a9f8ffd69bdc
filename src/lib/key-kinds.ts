/**
 * The kinds of key sources (spec/keys.md, section 5), which the command, the admin API and the keyring all name.
 * A kind of `serviceKeyKinds` is also the scheme of the URLs that name such a source: `vault:https://…`.
 */

/** Sources outside this process, named by a URL. */
export const serviceKeyKinds = [
  'tpm',
  'pkcs11',
  'kmip',
  'tang',
  'vault',
  'aws-kms',
  'broker',
  'kbs',
  'keystore',
] as const;
export const keyKinds = ['passphrase', 'key-file', 'none', ...serviceKeyKinds] as const;

export type ServiceKeyKind = (typeof serviceKeyKinds)[number];
export type KeyKind = (typeof keyKinds)[number];

/** The longest URL of a key source. */
export const keyUrlCharactersMax = 2048;

/** By the scheme of a URL; undefined for any other text. */
export function serviceKindOf(text: string): ServiceKeyKind | undefined {
  return serviceKeyKinds.find((kind) => text.startsWith(`${kind}:`));
}
