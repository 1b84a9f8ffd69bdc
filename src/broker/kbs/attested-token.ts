/**
 * Attestation tokens: ES256 JWTs with claims of the EAR profile (spec/kbs.md, "Token"). The key lives as long as the
 * process, and so do the sessions that tokens stand for: after a restart a client shows its evidence again.
 */
import { generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto';
import { CaissonError } from '../../lib/errors.ts';
import type { VerifiedEvidence } from '../attest/verifier.ts';

export const tokenMillisecondsMax = 5 * 60_000;
const tokenCharactersMax = 64 * 1024;
const profile = 'tag:github.com,2024:confidential-containers/Trustee';
const issuer = 'caisson';

export interface TokenSubject {
  /** Of the session; the only claim that this broker itself goes by. */
  readonly id: string;
  readonly tee: string;
  readonly verified: VerifiedEvidence;
  readonly runtimeData: object;
}

export class AttestedTokens {
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #jwk: object;

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#privateKey = privateKey;
    this.#publicKey = publicKey;
    // Without its algorithm no KBS takes the key from the header.
    this.#jwk = { ...publicKey.export({ format: 'jwk' }), alg: 'ES256' };
  }

  issue({ id, tee, verified, runtimeData }: TokenSubject, now: number): string {
    const seconds = Math.floor(now / 1000);
    const evidence = { ...readable(verified), runtime_data_claims: runtimeData };
    const claims = {
      eat_profile: profile,
      iss: issuer,
      jti: id,
      iat: seconds,
      exp: seconds + tokenMillisecondsMax / 1000,
      'ear.verifier-id': { developer: 'https://github.com/caisson', build: issuer },
      submods: {
        // What a resource's policy says of this evidence is found out when the resource is asked for.
        cpu0: { 'ear.status': 'none', 'ear.veraison.annotated-evidence': { [tee]: evidence, ...evidence } },
      },
    };
    const signed = `${encoded({ alg: 'ES256', typ: 'JWT', jwk: this.#jwk })}.${encoded(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key: this.#privateKey, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  }

  /** The id of the session, of a token of this process; `session-missing` for any other. */
  idOf(token: string): string {
    const [header, claims, signature, ...rest] = token.length > tokenCharactersMax ? [] : token.split('.');
    if (header === undefined || claims === undefined || signature === undefined || rest.length > 0) throw notOurs();
    const key = { key: this.#publicKey, dsaEncoding: 'ieee-p1363' } as const;
    if (!verify('sha256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url')))
      throw notOurs();
    // What we signed is what we wrote.
    return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { jti: string }).jti;
  }
}

function readable({ claims, reportData }: VerifiedEvidence): Record<string, unknown> {
  const texts = [...claims].map(([name, value]) => [
    name,
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
  ]);
  return { ...(Object.fromEntries(texts) as object), report_data: Buffer.from(reportData).toString('hex') };
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function notOurs(): CaissonError {
  return new CaissonError('denied', 'session-missing', 'this broker issued no such token since it was started', {
    remedy: 'Attest again.',
  });
}
