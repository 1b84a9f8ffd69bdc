/**
 * What a key broker of the KBS protocol answers, as a client reads it: bounded, and without what a client has no use
 * for (spec/kbs.md, "Exchange").
 */
import { z } from 'zod';

export const kbsErrorTypes = 'https://github.com/confidential-containers/kbs/errors';
/** A secret of 4,096 bytes in a JWE with an RSA key is below 10 KiB, a token with its claims some tens. */
export const kbsAnswerBytesMax = 256 * 1024;
export const kbsAnswerDepthMax = 8;
/** What a volume's key may be derived from. */
export const kbsSecretBytes = { min: 16, max: 4096 } as const;

const nonceCharactersMax = 256;
const tokenCharactersMax = 128 * 1024;
const base64url = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax)
    .regex(/^[A-Za-z0-9_-]+$/);

export const kbsChallenge = z.object({
  nonce: z.string().min(16).max(nonceCharactersMax),
  'extra-params': z.unknown(),
});

export const kbsAttested = z.object({
  // It goes into a header as it is.
  token: z
    .string()
    .max(tokenCharactersMax)
    .regex(/^[A-Za-z0-9_.=-]+$/),
});

export const kbsJwe = z.object({
  protected: base64url(2048),
  encrypted_key: base64url(2048),
  iv: base64url(64),
  ciphertext: base64url(2 * kbsSecretBytes.max),
  tag: base64url(64),
});

export const kbsRefusal = z.object({ type: z.string().max(256), detail: z.string() });
