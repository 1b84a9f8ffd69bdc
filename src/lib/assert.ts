/**
 * Invariants that stay on in production. An assertion is never error handling: what fails here is a
 * defect of Caisson, so the error is of kind `bug`.
 */
import { CaissonError } from './errors.ts';

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new CaissonError('bug', 'assertion-failed', `internal invariant broken: ${message}`);
}
