/**
 * LogHeadAnchor: a second place that remembers how far the broker's own log had come, out of reach of
 * whoever puts the database back to an older state. Spec: spec/broker-state.md, "Rollback of the
 * database itself".
 *
 * Rules: `advance` is durable when it resolves and never goes backward: a smaller head than the one that is
 * kept, or another of its size, is `rolled-back`; `read` gives undefined only where none was ever kept, and
 * damage is `anchor-tampered`. `replace` is for an accepted restore alone.
 */
import { equalBytes } from '../../crypto/digest.ts';
import { CaissonError } from '../../lib/errors.ts';

export interface LogHead {
  readonly size: number;
  readonly root: Uint8Array; // 32 bytes
}

export interface LogHeadAnchor {
  /** Where it is, for people. */
  readonly describe: string;
  /** Heads may move this often; 0: before every answer. */
  readonly millisecondsMin: number;
  read(): Promise<LogHead | undefined>;
  advance(head: LogHead): Promise<void>;
  replace(head: LogHead): Promise<void>;
}

/** The rule of `advance`. */
export function checkHeadAdvance(held: LogHead | undefined, next: LogHead): void {
  if (held === undefined || held.size < next.size) return;
  if (held.size === next.size && equalBytes(held.root, next.root)) return;
  throw new CaissonError(
    'integrity',
    'rolled-back',
    `a head of ${held.size} lines is kept; this one has ${next.size} and is not its continuation`,
    {
      remedy: 'Put the newest copy of the database back.',
      details: { heldSize: held.size, size: next.size },
    },
  );
}

export function headTampered(where: string, reason: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'anchor-tampered', `what ${where} keeps is no head of this log: ${reason}`, {
    remedy: 'Find out who changed it; then start once with the present state accepted.',
    ...(cause === undefined ? {} : { cause }),
  });
}
