/** The head of the log at a peer: another broker, elsewhere, that keeps it (peer-heads.ts, by HTTP). */
import http from 'node:http';
import https from 'node:https';
import { equalBytes } from '../../crypto/digest.ts';
import type { SigningKey } from '../../crypto/signature.ts';
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { logHeadBodyBytesMax, peerMillisecondsMax } from '../../lib/limits.ts';
import { logIdOf, signHead } from '../../wire/release-log.ts';
import { headTampered } from './log-head-anchor.ts';
import type { LogHead, LogHeadAnchor } from './log-head-anchor.ts';
import { decodeHeadBody, encodeHeadBody } from './peer-heads.ts';

export interface PeerHeadOptions {
  /** The id of the log is appended to it. */
  readonly url: string;
  readonly key: SigningKey;
  /** PEM of the authorities that the peer's certificate must end in; undefined: those of the system. */
  readonly authority: string | undefined;
  readonly now: () => number;
}

interface Answer {
  readonly status: number;
  readonly body: Uint8Array;
}

export function openPeerHeadAnchor({ url, key, authority, now }: PeerHeadOptions): LogHeadAnchor {
  const logId = logIdOf(key.publicKey);
  const place = placeOf(url, toHex(logId));
  const ask = (method: 'GET' | 'PUT', headers: Record<string, string>, body?: Uint8Array): Promise<Answer> =>
    request(place, authority, method, headers, body);
  const read = async (): Promise<LogHead | undefined> => {
    const { status, body } = await ask('GET', {});
    if (status === 404) return undefined;
    if (status !== 200) throw unusable(place, `it answers with status ${status}`);
    return readAnswer(body, logId, place.href);
  };
  const put = async (head: LogHead, headers: Record<string, string>): Promise<void> => {
    const body = encodeHeadBody(key.publicKey, signHead(key, head.size, head.root, now()));
    const { status } = await ask('PUT', headers, body);
    if (status === 204) return;
    if (status === 409) {
      throw new CaissonError('integrity', 'rolled-back', `${place.href} keeps a head that this one does not continue`, {
        remedy: 'Put the newest copy of the database back.',
      });
    }
    throw unusable(
      place,
      status === 403 ? 'it does not keep the head of this log' : `it answers with status ${status}`,
    );
  };
  return {
    describe: place.href,
    millisecondsMin: 0,
    read,
    advance: (head) => put(head, {}),
    replace: async (head) => {
      const held = await read();
      await put(head, held === undefined ? {} : { 'if-match': `"${held.size}"` });
    },
  };
}

/** The peer cannot make a head up: it has to be signed by the key of this very log. */
function readAnswer(body: Uint8Array, logId: Uint8Array, where: string): LogHead {
  try {
    const head = decodeHeadBody(body);
    if (!equalBytes(head.logId, logId)) throw headTampered(where, 'it is the head of another log');
    return { size: head.size, root: head.root };
  } catch (error) {
    if (isCaissonError(error, 'format-invalid')) throw headTampered(where, error.message, error);
    throw error;
  }
}

function placeOf(url: string, logId: string): URL {
  const place = URL.parse(`${url.replace(/\/+$/, '')}/${logId}`);
  if (place !== null && /^https?:$/.test(place.protocol) && place.username === '') return place;
  throw new CaissonError('invalid', 'configuration-invalid', `${JSON.stringify(url)} is not the URL of a peer`, {
    remedy: 'Give a URL such as https://other-broker.example:8443/v1/log-heads.',
  });
}

function request(
  place: URL,
  authority: string | undefined,
  method: string,
  headers: Record<string, string>,
  body: Uint8Array | undefined,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const options = {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    signal: AbortSignal.timeout(peerMillisecondsMax),
    ...(authority === undefined ? {} : { ca: authority }),
  };
  const failed = (error: unknown): void => reject(unusable(place, messageOf(error), error));
  const sent = (place.protocol === 'https:' ? https : http).request(place, options, (answer) => {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    answer.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > logHeadBodyBytesMax) answer.destroy(new Error('its answer is too long'));
      else pieces.push(piece);
    });
    answer.on('error', failed);
    answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: Uint8Array.from(Buffer.concat(pieces)) }));
  });
  sent.on('error', failed);
  sent.end(body);
  return promise;
}

function unusable(place: URL, reason: string, cause?: unknown): CaissonError {
  return new CaissonError('transient', 'broker-unreachable', `the peer ${place.href} cannot be used: ${reason}`, {
    remedy: 'Look after the peer; the broker tries again.',
    ...(cause === undefined ? {} : { cause }),
  });
}
