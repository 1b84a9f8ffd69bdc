/**
 * The routes of the admin API, apart from the socket (listen.ts).
 *
 * Invariants: a request is bounded in size and matches its schema before an operation sees it, and
 * every failure leaves as an error body; a stack trace never does.
 */
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { CaissonError } from '../lib/errors.ts';
import { adminRequestBytesMax } from '../lib/limits.ts';
import { errorStatus, errorToBody } from './error-body.ts';
import type { Operation, OperationProgress, Operations } from './operations.ts';
import { apiVersion, apiVersionHeader, operationSchemas } from './schema.ts';
import type { OperationName } from './schema.ts';

export interface AdminServerOptions {
  readonly operations: Operations;
  /** The text of `/metrics`, in Prometheus exposition format. */
  readonly metrics: () => Promise<string>;
  readonly onError?: (operation: string, error: unknown) => void;
}

function createAdminApp(options: AdminServerOptions): Hono {
  const app = new Hono();
  app.use('*', async (context, next) => {
    await next();
    context.header(apiVersionHeader, apiVersion);
  });
  app.use('/v1/*', bodyLimit({ maxSize: adminRequestBytesMax, onError: () => errorResponse(tooLarge()) }));
  app.use('/v1/*', async (context, next) => {
    const asked = context.req.header(apiVersionHeader);
    if (asked !== undefined && asked !== apiVersion) return errorResponse(otherVersion(asked));
    return next();
  });
  for (const name of Object.keys(operationSchemas) as OperationName[]) {
    const { remote, progress } = operationSchemas[name];
    if (!remote) continue;
    app.post(`/v1/${name}`, async (context) => {
      try {
        const request = parseRequest(name, await context.req.text());
        const operation = options.operations[name] as Operation<OperationName>;
        const run = (onProgress?: OperationProgress, signal?: AbortSignal): Promise<unknown> =>
          operation(request as never, onProgress, signal);
        if (progress) return answerInLines(run);
        return Response.json(await run());
      } catch (error) {
        options.onError?.(name, error);
        return errorResponse(error);
      }
    });
  }
  app.get('/metrics', async (context) =>
    context.text(await options.metrics(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }),
  );
  app.notFound(() => errorResponse(new CaissonError('invalid', 'unsupported', 'the admin API has no such operation')));
  app.onError((error) => errorResponse(error));
  return app;
}

function parseRequest(name: OperationName, text: string): unknown {
  let json: unknown;
  try {
    json = JSON.parse(text === '' ? '{}' : text);
  } catch (error) {
    throw new CaissonError('invalid', 'argument-invalid', `the body of ${name} is not JSON`, { cause: error });
  }
  const parsed = operationSchemas[name].request.safeParse(json);
  if (parsed.success) return parsed.data;
  // Only where and what kind of value was expected: a value itself may be a secret.
  const issue = parsed.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? 'the request' : issue.path.join('.');
  throw new CaissonError('invalid', 'argument-invalid', `${name}: ${where}: ${issue?.message ?? 'not valid'}`);
}

/** Lines of JSON: progress as it comes, coalesced to what the connection takes, then the one result. */
function answerInLines(run: (onProgress: OperationProgress, signal: AbortSignal) => Promise<unknown>): Response {
  const encoder = new TextEncoder();
  const gone = new AbortController();
  let open = true;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      const send = (line: unknown): void => {
        if (open) controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
      };
      const onProgress: OperationProgress = (done, total, unit) => {
        if ((controller.desiredSize ?? 0) > 0) send({ progress: { done, total, unit } });
      };
      void run(onProgress, gone.signal)
        .then((result) => send({ result }))
        .catch((error: unknown) => send(errorToBody(error)))
        .then(() => open && controller.close());
    },
    cancel() {
      open = false;
      gone.abort(new CaissonError('closed', 'cancelled', 'whoever asked for it has gone'));
    },
  });
  return new Response(body, { headers: { 'content-type': 'application/x-ndjson' } });
}

function errorResponse(error: unknown): Response {
  return Response.json(errorToBody(error), { status: errorStatus(error), headers: { [apiVersionHeader]: apiVersion } });
}

function tooLarge(): CaissonError {
  return new CaissonError('invalid', 'limit-exceeded', `the request is larger than ${adminRequestBytesMax} bytes`);
}

function otherVersion(asked: string): CaissonError {
  return new CaissonError(
    'invalid',
    'daemon-refused',
    `the daemon speaks version ${apiVersion} of the admin API, not ${JSON.stringify(asked.substring(0, 16))}`,
    {
      remedy: 'Restart the daemon with the same version of Caisson as this command.',
    },
  );
}

/** For node:http. */
export function createAdminListener(options: AdminServerOptions): ReturnType<typeof getRequestListener> {
  return getRequestListener(createAdminApp(options).fetch);
}
