/**
 * Whether a server really honours If-None-Match and If-Match. Many accept the headers and do nothing:
 * on such a server two writers would both believe that they own a volume. So before the first write
 * it is asked, on an object of its own that is removed afterwards (spec/store.md, "Bucket").
 */
import { CaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import type { Random } from '../../lib/random.ts';
import { probeFolder } from '../paths.ts';
import { putUnderCondition } from './conditional-put.ts';
import type { Condition, S3Client } from './s3-client.ts';
import { isMissingKey, S3Refusal } from './s3-errors.ts';
import { bytesUpload } from './uploads.ts';

const answerBytesMax = 64;

/** Throws `store-conditions-ignored` unless all four answers are right; sets how the client writes versions. */
export async function probeConditions(client: S3Client, random: Random): Promise<void> {
  const key = `${probeFolder}/${toHex(random.bytes(16))}`;
  try {
    const first = await tryPut(client, key, 'first', 'absent');
    if (first === undefined) throw ignored('it refuses to create an object under If-None-Match');
    if ((await tryPut(client, key, 'second', 'absent')) !== undefined)
      throw ignored('it replaced an object in spite of If-None-Match');
    if ((await swapEitherWay(client, key, first)) === undefined)
      throw ignored('it refuses If-Match with the version it gave');
    if ((await tryPut(client, key, 'fourth', { version: first })) !== undefined)
      throw ignored('it replaced an object in spite of If-Match with another version');
  } finally {
    // A probe object that stays does no harm, and its removal says nothing about conditions.
    await client.remove(key).catch(() => undefined);
  }
}

/** Versions in quotes, as the standard says; or without, as old servers compare them. */
async function swapEitherWay(client: S3Client, key: string, version: string): Promise<string | undefined> {
  client.quotesVersions = true;
  const quoted = await tryPut(client, key, 'third', { version });
  if (quoted !== undefined) return quoted;
  client.quotesVersions = false;
  return tryPut(client, key, 'third', { version });
}

async function tryPut(client: S3Client, key: string, text: string, condition: Condition): Promise<string | undefined> {
  const bytes = new TextEncoder().encode(`caisson probe ${text}\n`);
  const look = async (): Promise<'unchanged' | 'changed' | { readonly ours: string }> => {
    try {
      const found = await client.get(key, answerBytesMax);
      if (Buffer.compare(found.bytes, bytes) === 0) return { ours: found.version };
      return condition !== 'absent' && found.version === condition.version ? 'unchanged' : 'changed';
    } catch (error) {
      if (isMissingKey(error)) return condition === 'absent' ? 'unchanged' : 'changed';
      throw error;
    }
  };
  try {
    return await putUnderCondition(client, key, bytesUpload(bytes), condition, look);
  } catch (error) {
    if (error instanceof S3Refusal && (error.status === 501 || error.code === 'NotImplemented'))
      throw ignored('it does not implement them', error);
    throw error;
  }
}

function ignored(how: string, cause?: unknown): CaissonError {
  return new CaissonError(
    'invalid',
    'store-conditions-ignored',
    `the server does not honour conditional writes: ${how}`,
    {
      remedy:
        'Volumes here can be read but not written: two writers could destroy one. Use a server with conditional writes (docs/stores.md).',
      cause,
    },
  );
}
