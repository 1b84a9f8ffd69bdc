/** Credentials, and whoever gives them: the chain, or a test. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** Milliseconds since 1970; undefined: they do not end. */
  readonly expiresAt?: number;
}

export interface CredentialSource {
  get(): Promise<Credentials>;
  /** After the server called `used` expired: newer ones, or the same where the source has none. */
  renew(used: Credentials): Promise<Credentials>;
}
