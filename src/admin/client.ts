/**
 * The admin API as a client: every operation as a method that asks the daemon behind a unix socket.
 *
 * Answers are checked against the schema like everything else that crosses a process boundary; the
 * schema is loaded while the request is under way, so that the check costs no time of its own.
 */
import http from 'node:http';
import { CaissonError } from '../lib/errors.ts';
import { adminConnectMillisecondsMax, adminResponseBytesMax } from '../lib/limits.ts';
import { bodyToError } from './error-body.ts';
import type { OperationProgress, Operations } from './operations.ts';
import type { OperationName } from './schema.ts';

/** As in schema.ts, which is not loaded before it is needed; a test keeps the two equal. */
export const clientApiVersion = '1';
const versionHeader = 'caisson-api';

export function createAdminClient(socketPath: string): Operations {
  return new Proxy({} as Operations, {
    get: (_target, name) => {
      if (typeof name !== 'string' || name === 'then') return undefined;
      return (request: unknown, onProgress?: OperationProgress, signal?: AbortSignal) =>
        call(socketPath, name as OperationName, request, onProgress, signal);
    },
  });
}

/** True when a daemon answers on the socket. */
export async function isDaemonRunning(socketPath: string): Promise<boolean> {
  try {
    await createAdminClient(socketPath).status({});
    return true;
  } catch (error) {
    if (error instanceof CaissonError && error.code === 'daemon-unreachable') return false;
    throw error;
  }
}

/** The daemon's metrics, as text for Prometheus. */
export async function readMetrics(socketPath: string): Promise<string> {
  const response = await send(socketPath, 'GET', '/metrics', '');
  let text = '';
  for await (const piece of bounded(response)) text += piece;
  return text;
}

async function call(
  socketPath: string,
  name: OperationName,
  request: unknown,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<never> {
  const body = JSON.stringify(request, (_key, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
  );
  const schemas = import('./schema.ts');
  // Where the request fails first, nobody waits for the schema any more.
  schemas.catch(() => undefined);
  const response = await send(socketPath, 'POST', `/v1/${name}`, body);
  // The daemon sees the connection close and stops its work.
  signal?.addEventListener('abort', () => response.destroy(signal.reason as Error), { once: true });
  const answer = isLines(response) ? await readLines(response, onProgress) : await readJson(response);
  const { errorBody, operationSchemas } = await schemas;
  const failure = errorBody.safeParse(answer);
  if (failure.success) throw bodyToError(failure.data);
  const parsed = operationSchemas[name].response.safeParse(answer);
  if (response.statusCode === 200 && parsed.success) return parsed.data as never;
  throw garbled(socketPath, `answer to ${name} that this version does not understand`);
}

/** One request over a unix socket; the caller bounds what it reads. */
export function send(socketPath: string, method: string, path: string, body: string): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      [versionHeader]: clientApiVersion,
      connection: 'close',
    };
    const request = http.request({ socketPath, method, path, headers, agent: false });
    // Connecting is bounded; the answer is not, since a check of a large volume takes as long as it takes.
    const timer = setTimeout(() => request.destroy(new Error('no connection')), adminConnectMillisecondsMax);
    request.once('socket', (socket) => socket.once('connect', () => clearTimeout(timer)));
    request.once('response', (response) => {
      clearTimeout(timer);
      resolve(response);
    });
    request.once('error', (error) => {
      clearTimeout(timer);
      reject(unreachable(socketPath, error));
    });
    request.end(body);
  });
}

function isLines(response: http.IncomingMessage): boolean {
  return response.headers['content-type'] === 'application/x-ndjson';
}

async function readJson(response: http.IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const piece of bounded(response)) text += piece;
  return parse(text);
}

async function readLines(response: http.IncomingMessage, onProgress: OperationProgress | undefined): Promise<unknown> {
  let rest = '';
  for await (const piece of bounded(response)) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const message = parse(line) as { progress?: { done: number; total: number; unit: string }; result?: unknown };
      if (message.progress === undefined) return 'result' in message ? message.result : message;
      onProgress?.(message.progress.done, message.progress.total, message.progress.unit);
    }
  }
  throw new CaissonError('transient', 'daemon-unreachable', 'the daemon went away in the middle of its answer', {
    remedy: 'See its log, and ask again once it runs.',
  });
}

async function* bounded(response: http.IncomingMessage): AsyncGenerator<string> {
  let size = 0;
  response.setEncoding('utf8');
  try {
    for await (const piece of response as AsyncIterable<string>) {
      size += piece.length;
      if (size > adminResponseBytesMax) {
        throw new CaissonError(
          'invalid',
          'limit-exceeded',
          `the daemon's answer is larger than ${adminResponseBytesMax} bytes`,
        );
      }
      yield piece;
    }
  } catch (error) {
    if (error instanceof CaissonError) throw error;
    throw new CaissonError('transient', 'daemon-unreachable', 'the daemon went away in the middle of its answer', {
      cause: error,
      remedy: 'See its log, and repeat the command; a move or a rekey goes on where it was.',
    });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CaissonError('io', 'daemon-refused', 'the daemon answered with something that is not JSON', {
      cause: error,
    });
  }
}

function garbled(socketPath: string, what: string): CaissonError {
  return new CaissonError('io', 'daemon-refused', `the daemon at ${socketPath} gave an ${what}`, {
    remedy: 'Restart the daemon with the same version of Caisson as this command.',
  });
}

function unreachable(socketPath: string, error: Error): CaissonError {
  const code = 'code' in error ? String(error.code) : '';
  if (code === 'EACCES' || code === 'EPERM') {
    return new CaissonError('denied', 'permission-missing', `not permitted to talk to the daemon at ${socketPath}`, {
      remedy: 'Run the command as the user who runs the daemon.',
      cause: error,
    });
  }
  return new CaissonError('transient', 'daemon-unreachable', `no daemon answers at ${socketPath}`, {
    remedy: 'Start one with "caisson serve NAME".',
    cause: error,
  });
}
