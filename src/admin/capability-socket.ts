/**
 * The socket where holders show their capabilities to a daemon (spec/capability-format.md, section 6): its
 * questions, as a server and as a client. What a token is worth is decided elsewhere.
 *
 * Invariants: whoever connects is not trusted: requests are bounded in size, time and number, match their schema,
 * and an answer never tells what went wrong inside the daemon, only what is wrong with the request.
 */
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { z } from 'zod';
import { CaissonError } from '../lib/errors.ts';
import * as limits from '../lib/limits.ts';
import { send } from './client.ts';
import { bodyToError, errorStatus, errorToBody } from './error-body.ts';
import { listenHttp } from './listen.ts';
import type { AdminServer } from './listen.ts';
import { errorBody } from './schema.ts';

const hexBytes = (bytesMax: number): z.ZodString =>
  z
    .string()
    .max(bytesMax * 2)
    .regex(/^(?:[0-9a-f]{2})+$/);

const shown = {
  token: z.string().min(1).max(4096),
  challenge: hexBytes(1024),
  signature: hexBytes(64),
};
const byteCount = z.number().int().nonnegative();
const snapshot = z.string().min(1).max(64);
const part = {
  export: z.string().regex(/^[0-9a-f]{32}$/),
  size: byteCount,
  rights: z.array(z.string().max(32)).max(32),
  expiresAt: z.number().int(),
};
const snapshotRow = {
  id: hexBytes(16),
  name: z.string().max(1024),
  time: z.number(),
  manifestNumber: byteCount,
};

const questions = {
  challenge: { request: z.strictObject({}), response: z.object({ challenge: hexBytes(1024) }) },
  open: { request: z.strictObject(shown), response: z.object(part) },
  'open-snapshot': { request: z.strictObject({ ...shown, snapshot }), response: z.object(part) },
  serve: {
    request: z.strictObject(shown),
    response: z.object({ ...part, address: z.string().max(300), usesTls: z.boolean() }),
  },
  snapshots: {
    request: z.strictObject(shown),
    response: z.object({ snapshots: z.array(z.object(snapshotRow)) }),
  },
  'snapshot-create': {
    request: z.strictObject({ ...shown, snapshot }),
    response: z.object({ ...snapshotRow, frozen: z.boolean() }),
  },
  'snapshot-remove': { request: z.strictObject({ ...shown, snapshot }), response: z.object(snapshotRow) },
  resize: { request: z.strictObject({ ...shown, size: byteCount }), response: z.object({ size: byteCount }) },
} as const;

type Question = keyof typeof questions;
export type CapabilityRequest<Name extends Question> = z.output<(typeof questions)[Name]['request']>;
export type CapabilityResponse<Name extends Question> = z.output<(typeof questions)[Name]['response']>;

export type CapabilityAnswers = {
  readonly [Name in Question]: (
    request: CapabilityRequest<Name>,
  ) => CapabilityResponse<Name> | Promise<CapabilityResponse<Name>>;
};

export async function listenForCapabilities(
  socketPath: string,
  answers: CapabilityAnswers,
  onError: (error: unknown) => void,
): Promise<AdminServer> {
  return listenHttp(socketPath, {
    load: async () => getRequestListener(createApp(answers, onError).fetch),
    onError,
    connectionsMax: limits.capabilityConnectionsMax,
    requestMillisecondsMax: limits.capabilityRequestMillisecondsMax,
    connectionCheckMilliseconds: limits.capabilityConnectionCheckMilliseconds,
    // What counts is the proof; who gets as far as the socket is for its folder to say.
    mode: 0o666,
    waitsForClients: false,
  });
}

function createApp(answers: CapabilityAnswers, onError: (error: unknown) => void): Hono {
  const app = new Hono();
  const failed = (error: unknown): Response => {
    onError(error);
    const told =
      error instanceof CaissonError && error.kind !== 'bug'
        ? error
        : new CaissonError('io', 'daemon-refused', 'failed');
    return Response.json(errorToBody(told), { status: errorStatus(told) });
  };
  app.use('*', bodyLimit({ maxSize: limits.capabilityRequestBytesMax, onError: () => failed(tooLarge()) }));
  for (const name of Object.keys(questions) as Question[]) {
    app.post(`/v1/${name}`, async (context) => {
      const request = parseRequest(name, await context.req.text());
      return Response.json(await (answers[name] as (request: unknown) => unknown)(request));
    });
  }
  app.notFound(() => failed(new CaissonError('invalid', 'unsupported', 'this socket knows no such question')));
  app.onError(failed);
  return app;
}

function parseRequest(name: Question, text: string): unknown {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new CaissonError('invalid', 'argument-invalid', `the body of ${name} is not JSON`, { cause: error });
  }
  const parsed = questions[name].request.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new CaissonError(
    'invalid',
    'argument-invalid',
    `the body of ${name} does not have the shape that it must have`,
  );
}

function tooLarge(): CaissonError {
  const message = `the request is larger than ${limits.capabilityRequestBytesMax} bytes`;
  return new CaissonError('invalid', 'limit-exceeded', message);
}

/** Asks a daemon; its answer is checked like that of a stranger. */
export async function askForCapability<Name extends Question>(
  socketPath: string,
  name: Name,
  request: CapabilityRequest<Name>,
): Promise<CapabilityResponse<Name>> {
  const response = await send(socketPath, 'POST', `/v1/${name}`, JSON.stringify(request));
  response.setTimeout(limits.capabilityAnswerMillisecondsMax, () => response.destroy(new Error('no answer')));
  let answer: unknown;
  try {
    let text = '';
    response.setEncoding('utf8');
    for await (const piece of response as AsyncIterable<string>) {
      text += piece;
      if (text.length > limits.capabilityAnswerBytesMax) throw new Error('the answer is too long');
    }
    answer = JSON.parse(text);
  } catch (error) {
    throw garbled(socketPath, error);
  }
  const failure = errorBody.safeParse(answer);
  if (failure.success) throw bodyToError(failure.data);
  const parsed = questions[name].response.safeParse(answer);
  if (response.statusCode === 200 && parsed.success) return parsed.data as CapabilityResponse<Name>;
  throw garbled(socketPath, undefined);
}

function garbled(socketPath: string, cause: unknown): CaissonError {
  return new CaissonError('io', 'daemon-refused', `what listens on ${socketPath} gave no answer that can be used`, {
    remedy: 'Give --socket the path that "caisson serve --capability-socket" was given.',
    ...(cause === undefined ? {} : { cause }),
  });
}
