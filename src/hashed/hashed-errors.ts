/** What goes wrong with an image, told by object: everything that the store shows and nobody made is `integrity`. */
import { CaissonError } from '../lib/errors.ts';
import type { ErrorCode } from '../lib/errors.ts';

const remedy =
  'The store was changed from outside or is damaged. Remove the object named and make the image again from its source, or restore the object from a copy.';

export function damaged(
  code: 'digest-mismatch' | 'format-invalid' | 'object-missing',
  object: string,
  message: string,
  cause?: unknown,
): CaissonError {
  return new CaissonError('integrity', code, message, { remedy, details: { object }, cause });
}

/** A store's own words for a missing or short object become a finding about the image; anything else stays as it is. */
export function namedFor(error: unknown, object: string): unknown {
  if (!(error instanceof CaissonError) || error.details['object'] !== undefined) return error;
  if (error.code === 'object-missing')
    return damaged('object-missing', object, `${object} is missing from the store`, error);
  const isShape: ErrorCode[] = ['format-invalid', 'object-too-large'];
  if (!isShape.includes(error.code)) return error;
  return damaged('format-invalid', object, `${object} is not what the image asks for: ${error.message}`, error);
}
