/** From an HTTP request to a checked message: bounded, strict JSON that matches its schema. */
import type { Context } from 'hono';
import type { z } from 'zod';
import { CaissonError } from '../../lib/errors.ts';
import { brokerJsonDepthMax } from '../../lib/broker-limits.ts';
import { parseRequestJson } from '../../wire/request-json.ts';

/** The body, unless it is longer than `bytesMax`: what is too much is never held. */
export async function readBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const announced = request.headers.get('content-length');
  if (Number(announced ?? 0) > bytesMax) throw tooLarge(bytesMax);
  // Node's parser passes on as many bytes as were announced and no more, so these need no counting, which costs a stream of the web.
  if (announced !== null && !request.headers.has('transfer-encoding')) return wholeBody(request, bytesMax);
  if (request.body === null) return new Uint8Array(0);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of request.body as unknown as AsyncIterable<Uint8Array>) {
    length += piece.length;
    if (length > bytesMax) throw tooLarge(bytesMax);
    pieces.push(piece);
  }
  return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces, length);
}

async function wholeBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const body = new Uint8Array(await request.arrayBuffer());
  if (body.length > bytesMax) throw tooLarge(bytesMax);
  return body;
}

export function parseMessage<Schema extends z.ZodType>(schema: Schema, body: Uint8Array): z.output<Schema> {
  const value = parseRequestJson(body, 'the request', { bytesMax: body.length, depthMax: brokerJsonDepthMax });
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  // Only where and what kind of value was expected: a value itself may be a secret.
  const issue = parsed.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? 'the request' : issue.path.join('.').substring(0, 200);
  throw new CaissonError('invalid', 'argument-invalid', `${where}: ${issue?.message ?? 'not valid'}`.substring(0, 500));
}

/** The token of an administrator, or `admin-refused`. */
export function bearerToken(context: Context): string {
  const [, token] = /^Bearer ([0-9a-f]{64})$/.exec(context.req.header('authorization') ?? '') ?? [];
  if (token !== undefined) return token;
  throw new CaissonError('denied', 'admin-refused', 'the request carries no token of an administrator', {
    remedy: 'Send "Authorization: Bearer" with the 64 digits of the token file.',
  });
}

/** A whole number of the query, `argument-invalid` for anything else. */
export function countOf(context: Context, name: string): number | undefined {
  const text = context.req.query(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new CaissonError('invalid', 'argument-invalid', `${name} is not a whole number`);
}

function tooLarge(bytesMax: number): CaissonError {
  return new CaissonError('invalid', 'limit-exceeded', `the request has more than ${bytesMax} bytes`);
}
