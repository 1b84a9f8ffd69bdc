/**
 * The broker's log: lines of JSON on stderr. It names routes, codes and addresses; tokens, keys, nonces and
 * evidence have no business in a log call, and the redaction list is the net below that rule.
 */
import { pino } from 'pino';
import type { Logger } from 'pino';
import type { BrokerConfiguration } from '../configuration.ts';
import type { Answered } from './app.ts';

const secretFields = ['secret', 'token', 'authorization', 'key', 'passphrase', 'body'];

export function createBrokerLog(level: BrokerConfiguration['logLevel']): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[hidden]' },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

export function logAnswer(log: Logger, { route, status, milliseconds, address, error }: Answered): void {
  const fields = { route, status, milliseconds: Math.round(milliseconds * 10) / 10, address };
  if (error === undefined) {
    log.debug(fields, 'answered');
    return;
  }
  const failure = { ...fields, code: error.code, error: error.message, ...error.details };
  const isOurs = status >= 500 && error.kind !== 'transient';
  log[isOurs ? 'error' : 'info'](isOurs ? { ...failure, cause: causeOf(error) } : failure, 'refused');
}

function causeOf({ cause }: Error): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : '';
}
