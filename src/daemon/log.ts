/**
 * The daemon's log: lines of JSON on stderr (a service manager or the background log file keeps
 * them), written synchronously so that the last line before a crash is there. Secrets have no
 * business in a log call; the redaction list is the net below that rule.
 */
import { pino } from 'pino';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import type { LogLevel } from './configuration.ts';

export interface Log {
  readonly write: VolumeLog;
  setLevel(level: LogLevel): void;
}

const secretFields = ['secret', 'passphrase', 'credential', 'newCredential', 'key', 'psk'];

export function createLog(level: LogLevel, descriptor = 2): Log {
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[hidden]' },
    },
    pino.destination({ dest: descriptor, sync: true }),
  );
  return {
    write: (severity, message, details) => {
      const { error, ...rest } = details;
      logger[severity](error === undefined ? rest : { ...rest, ...errorFields(error) }, message);
    },
    setLevel: (next) => {
      logger.level = next;
    },
  };
}

/** Fields, not a stack: the log is for operators. */
function errorFields(error: unknown): Record<string, unknown> {
  if (typeof error === 'string') return { error };
  if (!(error instanceof CaissonError)) return { kind: 'bug', error: messageOf(error) };
  return { kind: error.kind, code: error.code, error: error.message, ...error.details };
}
