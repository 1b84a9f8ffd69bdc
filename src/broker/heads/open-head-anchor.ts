/** Where the head of a broker's log is kept, named by one text of the configuration. */
import type { SigningKey } from '../../crypto/signature.ts';
import { CaissonError } from '../../lib/errors.ts';
import { logIdOf } from '../../wire/release-log.ts';
import { openFileHeadAnchor } from './file-head-anchor.ts';
import type { LogHeadAnchor } from './log-head-anchor.ts';
import { openPeerHeadAnchor } from './peer-head-anchor.ts';
import { openTpmHeadAnchor } from './tpm-head-anchor.ts';

export interface HeadPlace {
  /** `file:/path`, `tpm:0x01800100`, `tpm:0x01800100@/dev/tpm0`, or the URL of a peer. */
  readonly text: string;
  /** The key of the log. */
  readonly key: SigningKey;
  /** PEM for the certificate of a peer; undefined: the authorities of the system. */
  readonly authority: string | undefined;
  readonly now: () => number;
}

/** `configuration-invalid` for a place of no known kind. */
export function openHeadAnchor({ text, key, authority, now }: HeadPlace): LogHeadAnchor {
  if (text.startsWith('file:/')) return openFileHeadAnchor(text.substring('file:'.length));
  if (/^https?:\/\//.test(text)) return openPeerHeadAnchor({ url: text, key, authority, now });
  const [, handle, device] = /^tpm:(0x[0-9a-f]{1,8})(?:@(.+))?$/i.exec(text) ?? [];
  if (handle !== undefined) return openTpmHeadAnchor({ device, handle: Number(handle), logId: logIdOf(key.publicKey) });
  throw new CaissonError(
    'invalid',
    'configuration-invalid',
    `${JSON.stringify(text)} is no place for the head of a log`,
    {
      remedy: 'Give file:/path, tpm:0x01800100 or the https URL of a peer.',
    },
  );
}
