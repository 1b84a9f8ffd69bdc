/**
 * Answers of an S3 server, changed in every place: lists, objects and refusals. The client gives what was
 * asked for, or one error with a name; it never throws anything else, never lists a key outside its prefix,
 * never takes a part of a range for the whole, and ends.
 */
import assert from 'node:assert/strict';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import type { Answer, Exchange, HttpTransport } from '../../src/aws/http-transport.ts';
import { S3Client } from '../../src/store/s3/s3-client.ts';
import { S3Refusal } from '../../src/store/s3/s3-errors.ts';
import { S3Reader } from '../../src/store/s3/s3-reader.ts';
import { parseS3Url } from '../../src/store/s3/s3-url.ts';
import { JumpClock } from '../support/jump-clock.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';

const encoder = new TextEncoder();
const page = `<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken><Contents><Key>p/a%2Fb</Key><Size>10</Size></Contents><Contents><Key>p/c</Key><Size>20</Size></Contents></ListBucketResult>`;
const refusal = '<Error><Code>SlowDown</Code><Message>later &#x26; &lt;again&gt;</Message></Error>';
const pieces = [
  '</Key>',
  '<Key>',
  '&#1114112;',
  '&#xD800;',
  '%',
  '%ff',
  '<Size>-1</Size>',
  '<Size>1e3</Size>',
  '',
  'q/',
  '\0',
];
const statuses = [200, 206, 204, 301, 400, 403, 404, 409, 412, 416, 500, 503, 600];

/** Refused, cut short, or strange: whatever the random numbers say. */
class StrangeTransport {
  readonly #random: SeededBytes;

  constructor(random: SeededBytes) {
    this.#random = random;
  }

  close(): void {
    // Nothing is open.
  }

  async exchange({ sink }: Exchange): Promise<Answer> {
    const random = this.#random;
    if (random.below(20) === 0) throw new CaissonError('transient', 'store-unreachable', 'no answer');
    const status = random.below(2) === 0 ? 200 : statuses[random.below(statuses.length)]!;
    const body = encoder.encode(changed(random, status < 300 ? page : refusal));
    const headers: Record<string, string> = {
      'content-length': String(random.below(3) === 0 ? random.below(99) : body.length),
    };
    if (random.below(8) > 0) headers['etag'] = random.below(4) > 0 ? '"abc"' : '';
    if (random.below(2) === 0) headers['content-range'] = `bytes ${random.below(12)}-99/100`;
    if (sink === undefined || (status !== 200 && status !== 206)) return { status, headers, body };
    sink.check({ status, headers });
    for (let position = 0; position < body.length;) {
      const piece = body.subarray(position, position + 1 + random.below(40));
      const room = sink.landing.room();
      room.set(piece.subarray(0, room.length));
      sink.landing.landed(piece.length);
      position += piece.length;
    }
    return { status, headers, body: new Uint8Array() };
  }
}

function changed(random: SeededBytes, text: string): string {
  let result = text;
  for (let change = random.below(4); change > 0; change--) {
    const at = random.below(result.length + 1);
    const piece = pieces[random.below(pieces.length)]!;
    result = result.substring(0, at) + piece + result.substring(at + random.below(6));
  }
  return result;
}

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  const location = parseS3Url('//bucket/p?endpoint=http://127.0.0.1:1', {});
  const get = (): Promise<{ accessKeyId: string; secretAccessKey: string }> =>
    Promise.resolve({ accessKeyId: 'AK', secretAccessKey: 'SK' });
  for (let iteration = 0; iteration < iterations; iteration++) {
    const client = new S3Client({
      ...{ location, random, clock: new JumpClock(), credentials: { get, renew: get } },
      transport: new StrangeTransport(random) as unknown as HttpTransport,
    });
    await named(async () => {
      let count = 0;
      for await (const { key, size } of client.list('')) {
        assert.ok(!key.startsWith('p/') && Number.isSafeInteger(size) && size >= 0, key);
        if (++count > 50) break;
      }
    });
    await named(async () => assert.ok((await client.get('a', 1000)).bytes.length <= 1000));
    await named(async () => assert.notEqual((await client.head('a')).version, ''));
    const target = new Region(300);
    target.bytes.fill(0xee);
    await named(() => new S3Reader(client, 'a', 100).read(3, 60, target, 10));
    assert.ok(
      target.bytes.subarray(70).every((byte) => byte === 0xee),
      'nothing is written beyond the range',
    );
  }
}

async function named(operation: () => Promise<unknown>): Promise<void> {
  try {
    await operation();
  } catch (error) {
    assert.ok(error instanceof S3Refusal || (isCaissonError(error) && error.kind !== 'bug'), String(error));
  }
}
