/**
 * A PUT under a condition whose answer may be lost. An answer that says neither yes nor no (5xx, 409,
 * silence) leaves open whether the object changed; so does a "no" that follows one. Then only the
 * object itself can tell: it is read and compared before anything is believed or repeated.
 *
 * A repeated PUT is safe: the server checks the condition when it applies, so that of all attempts,
 * also those still on their way, at most one takes effect.
 */
import { isPassing, S3Refusal } from './s3-errors.ts';
import type { Condition, S3Client, Upload } from './s3-client.ts';

/** What stands under the key: our bytes, what stood there before, or somebody else's. */
export type Seen = { readonly ours: string } | 'unchanged' | 'changed';

/** Returns the new version, or undefined when somebody else was first. */
export async function putUnderCondition(
  client: S3Client,
  key: string,
  upload: Upload,
  condition: Condition,
  look: () => Promise<Seen>,
): Promise<string | undefined> {
  const patience = client.patience();
  for (let isFirst = true; ; isFirst = false) {
    let isRefused = false;
    try {
      return await client.put(key, upload, condition);
    } catch (error) {
      isRefused = isConditionRefused(error, condition);
      if (isRefused && isFirst) return undefined;
      if (!isRefused) {
        if (!isPassing(error)) throw error;
        await patience.afterFailure(error);
      }
    }
    const seen = await look();
    if (typeof seen === 'object') return seen.ours;
    if (isRefused || seen === 'changed') return undefined;
  }
}

/** Some servers call a version of an object that is gone a missing object. */
function isConditionRefused(error: unknown, condition: Condition): boolean {
  if (!(error instanceof S3Refusal)) return false;
  return error.status === 412 || (error.status === 404 && error.code !== 'NoSuchBucket' && condition !== 'absent');
}
