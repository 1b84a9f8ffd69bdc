/** What a broker answered: checked against the schema, or turned back into the error that it was. */
import type { z } from 'zod';
import { CaissonError } from '../lib/errors.ts';
import type { ErrorCode, ErrorKind } from '../lib/errors.ts';
import { brokerAnswerBytesMax, brokerJsonDepthMax } from '../lib/broker-limits.ts';
import { errorBody } from '../wire/broker-schema.ts';
import { parseRequestJson } from '../wire/request-json.ts';
import { untrusted } from './https-requests.ts';
import type { BrokerResponse } from './https-requests.ts';

export function readAnswer<Schema extends z.ZodType>(
  schema: Schema,
  { status, body }: BrokerResponse,
  url: string,
): z.output<Schema> {
  let value: unknown;
  try {
    value = parseRequestJson(body, 'the answer', { bytesMax: brokerAnswerBytesMax, depthMax: brokerJsonDepthMax });
  } catch (cause) {
    throw untrusted(url, `it answered ${status} with something that no broker says`, cause);
  }
  if (status !== 200) {
    const failure = errorBody.safeParse(value);
    if (failure.success) throw errorOf(failure.data.error, url);
    throw untrusted(url, `it answered ${status} without an error that a broker knows`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw untrusted(url, 'its answer has another form than this version of Caisson expects');
}

/** Codes that a caller acts upon stay what they are; all others are refusals that name the broker's code. */
function errorOf(error: z.output<typeof errorBody>['error'], url: string): CaissonError {
  const { kind, code, message, remedy, details } = error;
  const options = { ...(remedy === null ? {} : { remedy }), details: { ...details, url } };
  if (Object.hasOwn(kindOfCode, code)) {
    const known = code as keyof typeof kindOfCode;
    return new CaissonError(kindOfCode[known], known, message, options);
  }
  const isPassing = kind === 'transient' || kind === 'closed' || kind === 'full' || kind === 'io';
  return new CaissonError(
    isPassing ? 'transient' : 'denied',
    'broker-refused',
    `the broker refuses (${code}): ${message}`,
    {
      ...options,
      details: { ...options.details, code },
    },
  );
}

/** What a broker may say, with the kind that it has here: an answer from outside does not choose it. */
const kindOfCode = {
  'policy-refused': 'denied',
  'policy-missing': 'invalid',
  'policy-invalid': 'invalid',
  'session-missing': 'denied',
  'nonce-unknown': 'denied',
  'nonce-used': 'denied',
  'proof-invalid': 'denied',
  'evidence-invalid': 'invalid',
  'evidence-untrusted': 'integrity',
  'collateral-missing': 'invalid',
  'collateral-stale': 'integrity',
  'collateral-untrusted': 'integrity',
  'tenant-missing': 'invalid',
  'name-missing': 'denied',
  'name-exists': 'invalid',
  'volume-erased': 'denied',
  'admin-refused': 'denied',
  'permission-missing': 'denied',
  'argument-invalid': 'invalid',
  'limit-exceeded': 'invalid',
  'range-outside': 'invalid',
  unsupported: 'invalid',
  'rate-limited': 'transient',
  'database-locked': 'transient',
  'database-full': 'full',
  'database-damaged': 'integrity',
  'database-rolled-back': 'integrity',
  'rolled-back': 'integrity',
  forked: 'integrity',
  'volume-fenced': 'fenced',
} as const satisfies Partial<Record<ErrorCode, ErrorKind>>;
