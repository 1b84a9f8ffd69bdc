/**
 * A secret of a key broker of any make as a key source, fetched by the KBS protocol (spec/keys.md, section 5.12).
 * wrapped = check (32): which secret the slot needs. The secret itself stays where it is; enrolling changes nothing there.
 */
import { createHash } from 'node:crypto';
import { detectSource } from '../attester/detect-source.ts';
import type { EvidenceSource } from '../attester/evidence-source.ts';
import { KbsClient } from '../broker-client/kbs-client.ts';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { equalBytes, plainBytes } from '../crypto/digest.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { readSecretFile } from './secret-file.ts';
import { serviceAway, wrongWrap } from './service-errors.ts';
import { invalidParameters, wrappedKeySource } from './wrapped-key.ts';

const checkBytes = 32;
const segment = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/;
const secretLabel = new TextEncoder().encode('caisson kbs secret v1\0');
const noSalt = new Uint8Array(0);

/** Where the evidence comes from: this machine, but for tests. */
export type OpenEvidence = (options: {
  readonly technology?: string;
  readonly tpm?: string;
}) => Promise<EvidenceSource>;

export function createKbsSource(
  url: KeyUrl,
  { clock, random }: KeySourceContext,
  openEvidence: OpenEvidence = detectSource,
): HeldKeySource {
  const { origin, path } = placeOf(url);
  const [technology, tpm, authorityFile] = ['evidence', 'tpm', 'ca-file'].map((name) => url.options.get(name));
  const authority =
    authorityFile === undefined
      ? undefined
      : new TextDecoder().decode(readSecretFile(authorityFile, 'certificate authority'));
  const client = new KbsClient({
    ...{ url: origin, trust: { authority }, clock },
    source: () =>
      openEvidence({ ...(technology === undefined ? {} : { technology }), ...(tpm === undefined ? {} : { tpm }) }),
  });
  const fetch = async (): Promise<Uint8Array> => {
    try {
      return secretOf(await client.resource(path));
    } catch (error) {
      if (!isCaissonError(error, 'broker-unreachable')) throw error;
      throw serviceAway('kbs', error.message, { cause: error });
    }
  };
  return wrappedKeySource(
    {
      kind: 'kbs',
      describe: `KBS ${origin}, resource ${path}`,
      async wrap(use) {
        const secret = await fetch();
        return { wrapped: checkOf(secret, use), secret };
      },
      async unwrap(wrapped, use) {
        if (wrapped.length !== checkBytes) throw invalidParameters('kbs', 'have the wrong length');
        const secret = await fetch();
        if (equalBytes(checkOf(secret, use), wrapped)) return secret;
        secret.fill(0);
        throw wrongWrap('kbs', `the resource ${path} holds another secret than when this slot was made`);
      },
      wipe: () => client.close(),
    },
    random,
  );
}

/** Resources have many lengths; what keys are derived from has one. */
function secretOf(resource: Uint8Array): Uint8Array {
  try {
    return plainBytes(createHash('sha256').update(secretLabel).update(resource).digest());
  } finally {
    resource.fill(0);
  }
}

function checkOf(secret: Uint8Array, { volumeId }: KeyUse): Uint8Array {
  return deriveKey(secret, noSalt, keyLabel.kbsCheck, volumeId);
}

function placeOf({ kind, body }: KeyUrl): { readonly origin: string; readonly path: string } {
  // Looked at as it was given: a URL parser would resolve dots and decode.
  const [, origin = '', path = ''] = /^(https:\/\/[^/]+)\/(.+)$/.exec(body) ?? [];
  const segments = path.split('/');
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  if (url !== undefined && segments.length === 3 && segments.every((part) => segment.test(part)))
    return { origin: url.origin, path };
  throw invalidKeyUrl(kind, 'it is not of the form kbs:https://HOST:PORT/REPOSITORY/TYPE/TAG');
}
