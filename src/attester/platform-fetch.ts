/**
 * Questions to the service that a cloud keeps on each of its machines, at a link-local address: plain HTTP, no proxy, no
 * redirection, bounded in time and size. It is the host's word, and whoever uses it has to judge what it says.
 */
import http from 'node:http';
import { patientClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { platformServiceMillisecondsMax } from '../lib/limits.ts';
import { evidenceMissing } from './evidence-source.ts';

export interface PlatformRequest {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Of the answer. */
  readonly bytesMax: number;
}

/** The body of a successful answer; `evidence-missing` for any other. */
export type PlatformFetch = (request: PlatformRequest) => Promise<Uint8Array>;

export function createPlatformFetch(clock: Clock = patientClock): PlatformFetch {
  return ({ url, method, headers, body, bytesMax }) =>
    new Promise((resolve, reject) => {
      const fail = (reason: string, cause?: unknown): void => {
        cancel();
        request.destroy();
        reject(
          evidenceMissing(`${url}: ${reason}`, 'Let this process reach the service of its cloud.', cause, 'transient'),
        );
      };
      const request = http.request(url, { method, headers, agent: false }, (response) => {
        if (response.statusCode !== 200) return fail(`it answered with status ${response.statusCode}`);
        const pieces: Buffer[] = [];
        let length = 0;
        response.on('data', (piece: Buffer) => {
          length += piece.length;
          if (length > bytesMax) return fail(`it answered with more than ${bytesMax} bytes`);
          pieces.push(piece);
        });
        response.on('error', (error) => fail(messageOf(error), error));
        response.on('end', () => {
          cancel();
          resolve(new Uint8Array(Buffer.concat(pieces, length)));
        });
      });
      const cancel = clock.after(platformServiceMillisecondsMax, () => fail('it did not answer in time'));
      request.on('error', (error) => fail(messageOf(error), error));
      request.end(body);
    });
}
