/** Exit codes: what a script can tell apart without parsing (table in docs/cli.md). */
import type { CaissonError, ErrorCode, ErrorKind } from '../lib/errors.ts';

export const ExitCode = {
  good: 0,
  general: 1,
  usage: 2,
  missing: 3,
  denied: 4,
  tampered: 5,
  rolledBack: 6,
  busy: 7,
  full: 8,
  unsupported: 9,
  bug: 70,
  cancelled: 130,
} as const;

const ofCode: Partial<Readonly<Record<ErrorCode, number>>> = {
  'object-missing': ExitCode.missing,
  'store-missing': ExitCode.missing,
  'volume-missing': ExitCode.missing,
  'name-missing': ExitCode.missing,
  'mount-missing': ExitCode.missing,
  'import-source-missing': ExitCode.missing,
  'key-slot-missing': ExitCode.missing,
  'snapshot-missing': ExitCode.missing,
  'key-wrong': ExitCode.denied,
  'key-source-unavailable': ExitCode.denied,
  'permission-missing': ExitCode.denied,
  'store-read-only': ExitCode.denied,
  'volume-read-only': ExitCode.denied,
  'rolled-back': ExitCode.rolledBack,
  forked: ExitCode.rolledBack,
  'anchor-missing': ExitCode.rolledBack,
  'volume-open-elsewhere': ExitCode.busy,
  'volume-fenced': ExitCode.busy,
  'volume-busy': ExitCode.busy,
  'socket-in-use': ExitCode.busy,
  'import-source-busy': ExitCode.busy,
  'format-version': ExitCode.unsupported,
  'tool-missing': ExitCode.unsupported,
  unsupported: ExitCode.unsupported,
  'store-full': ExitCode.full,
  cancelled: ExitCode.cancelled,
};

const ofKind: Readonly<Record<ErrorKind, number>> = {
  transient: ExitCode.general,
  invalid: ExitCode.usage,
  integrity: ExitCode.tampered,
  fenced: ExitCode.busy,
  denied: ExitCode.denied,
  full: ExitCode.full,
  io: ExitCode.general,
  closed: ExitCode.general,
  bug: ExitCode.bug,
};

/** The code decides where it says more than the kind. */
export function exitCodeOf(error: CaissonError): number {
  return ofCode[error.code] ?? ofKind[error.kind] ?? ExitCode.general;
}
