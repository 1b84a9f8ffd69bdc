/**
 * Heads of other brokers' logs, kept for them: what a peer does. Spec: spec/broker-state.md, "peer". Only logs
 * that the operator named are kept, so that nobody fills the disk.
 */
import { join } from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { logHeadBodyBytesMax, peerLogsMax } from '../../lib/limits.ts';
import { publicKeyBytes } from '../../crypto/signature.ts';
import { decodeCanonical, encodeCanonical, headToJson, isHeadSignedBy, members } from '../../wire/release-log.ts';
import { readBytes, readHead } from '../../wire/release-log.ts';
import type { SignedHead } from '../../wire/release-log.ts';
import { readSmallFile, replaceFile } from './file-head-anchor.ts';
import { checkHeadAdvance, headTampered } from './log-head-anchor.ts';

export interface PeerAnswer {
  readonly status: 200 | 204 | 400 | 403 | 404 | 409 | 413;
  readonly body?: Uint8Array;
}

export class PeerHeads {
  readonly #folder: string;
  readonly #logIds: ReadonlySet<string>;
  /** One change of one head at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  /** `logIds` in hexadecimal. The folder exists. */
  constructor(folder: string, logIds: readonly string[]) {
    if (logIds.length > peerLogsMax || !logIds.every((logId) => /^[0-9a-f]{64}$/.test(logId))) {
      throw new CaissonError('invalid', 'configuration-invalid', 'the logs whose heads are kept are not ids of logs', {
        remedy: `Give at most ${peerLogsMax} ids of 64 hexadecimal digits, as "caisson log show" prints them.`,
      });
    }
    this.#folder = folder;
    this.#logIds = new Set(logIds);
  }

  async get(logId: string): Promise<PeerAnswer> {
    const body = this.#logIds.has(logId) ? await readSmallFile(this.#file(logId)) : undefined;
    return body === undefined ? { status: 404 } : { status: 200, body };
  }

  /** `ifMatch` is the value of the header of that name. */
  put(logId: string, body: Uint8Array, ifMatch?: string): Promise<PeerAnswer> {
    const answer = this.#turn.then(() => this.#put(logId, body, ifMatch));
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  async #put(logId: string, body: Uint8Array, ifMatch: string | undefined): Promise<PeerAnswer> {
    if (!this.#logIds.has(logId)) return { status: 403 };
    if (body.length > logHeadBodyBytesMax) return { status: 413 };
    const next = readOr(() => decodeHeadBody(body));
    if (next === undefined || toHex(next.logId) !== logId) return { status: 400 };
    const bytes = await readSmallFile(this.#file(logId));
    if (bytes !== undefined) {
      const held = decodeHeadBody(bytes);
      const isRestore = ifMatch === `"${held.size}"`;
      if (!isRestore && readOr(() => (checkHeadAdvance(held, next), next)) === undefined) return { status: 409 };
    }
    await replaceFile(this.#file(logId), body);
    return { status: 204 };
  }

  #file(logId: string): string {
    return join(this.#folder, `${logId}.head`);
  }
}

export function encodeHeadBody(publicKey: Uint8Array, head: SignedHead): Uint8Array {
  return encodeCanonical({ head: headToJson(head), key: toHex(publicKey) });
}

/** Throws `format-invalid`, or `anchor-tampered` where the signature does not hold. */
export function decodeHeadBody(body: Uint8Array): SignedHead {
  const { head, key } = members(decodeCanonical(body), ['head', 'key'], 'the body');
  const signed = readHead(head);
  if (!isHeadSignedBy(readBytes(key, publicKeyBytes, 'the key'), signed))
    throw headTampered('the body', 'the signature does not hold');
  return signed;
}

/** A refusal by name as undefined; anything else goes on. */
function readOr<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof CaissonError && error.kind !== 'bug') return undefined;
    throw error;
  }
}
