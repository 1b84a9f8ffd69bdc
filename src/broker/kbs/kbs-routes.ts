/** The routes of the KBS protocol and the form of its errors (spec/kbs.md, "Exchange"). */
import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import { z } from 'zod';
import { CaissonError } from '../../lib/errors.ts';
import { brokerReleaseBytesMax, brokerRequestBytesMax } from '../../lib/broker-limits.ts';
import { asCaissonError } from '../server/error-answer.ts';
import { parseMessage, readBody } from '../server/requests.ts';
import type { Attempt, AttestRequest, KbsService } from './kbs-service.ts';

type Env = { Bindings: HttpBindings };

/** What the broker's other routes have, too: counting, limits, metrics. */
export interface KbsGuard {
  /** Runs the work of a route; `refused` makes the answer of what it throws. */
  answer(
    context: Context<Env>,
    route: string,
    work: () => Promise<Response>,
    refused: (error: CaissonError) => Response,
  ): Promise<Response>;
  takeTenant(tenant: string): void;
  /** At most so many verifications at one time. */
  verify<Value>(work: () => Promise<Value>): Promise<Value>;
}

const prefix = '/kbs/v0';
const cookieName = 'kbs-session-id';
const errorTypes = 'https://github.com/confidential-containers/kbs/errors';
const segment = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/;

/** Clients of newer releases may say more than this broker asks for. */
const authRequest = z.object({ version: z.string().max(32), tee: z.string().max(32), 'extra-params': z.unknown() });
const attestRequest = z.object({
  'runtime-data': z.object({ nonce: z.string().max(128), 'tee-pubkey': z.record(z.string(), z.unknown()) }),
  'tee-evidence': z.object({ primary_evidence: z.unknown(), additional_evidence: z.string() }),
});

export function addKbsRoutes(app: Hono<Env>, service: KbsService, guard: KbsGuard): void {
  const answer = (context: Context<Env>, step: string, work: (attempt: Attempt) => Promise<Response>) =>
    guard.answer(context, `${prefix}/${step}`, () => service.attempt(step, work), refused);
  app.post(`${prefix}/auth`, (context) =>
    answer(context, 'auth', async () => {
      const { version, tee } = parseMessage(authRequest, await readBody(context.req.raw, brokerRequestBytesMax));
      const { nonce, session, expiresAt } = service.auth(version, tee);
      const challenge = { nonce, 'extra-params': { 'selected-hash-algorithm': 'sha384' } };
      const cookie = `${cookieName}=${session}; Expires=${new Date(expiresAt).toUTCString()}; Path=${prefix}; HttpOnly`;
      return Response.json(challenge, { headers: { 'set-cookie': cookie } });
    }),
  );
  app.post(`${prefix}/attest`, (context) =>
    answer(context, 'attest', async (attempt) => {
      const body = await readBody(context.req.raw, brokerReleaseBytesMax);
      const request = parseMessage(attestRequest, body) as unknown as AttestRequest;
      const token = await guard.verify(() => service.attest(sessionOf(context), request, attempt));
      return Response.json({ token });
    }),
  );
  app.get(`${prefix}/resource/:repository/:type/:tag`, (context) =>
    answer(context, 'resource', async (attempt) => {
      const { repository, type, tag } = context.req.param();
      if (![repository, type, tag].every((part) => segment.test(part))) throw noPath();
      guard.takeTenant(repository);
      return Response.json(await service.resource(shownBy(context), { repository, type, tag }, attempt));
    }),
  );
  // Not a request of this protocol: nothing was asked for, and nothing is written down.
  app.all(`${prefix}/*`, (context) =>
    guard.answer(context, `${prefix}/unknown`, () => Promise.reject(noPath()), refused),
  );
}

function noPath(): CaissonError {
  return new CaissonError('invalid', 'object-missing', 'there is no such path');
}

function shownBy(context: Context<Env>): { readonly session?: string; readonly token?: string } {
  const [, token] = /^Bearer (\S+)$/.exec(context.req.header('authorization') ?? '') ?? [];
  if (token !== undefined) return { token };
  const session = sessionOf(context);
  return session === undefined ? {} : { session };
}

function sessionOf(context: Context<Env>): string | undefined {
  const cookies = (context.req.header('cookie') ?? '').split(/; */);
  return cookies.map((cookie) => new RegExp(`^${cookieName}=([0-9a-f]{32})$`).exec(cookie)?.[1]).find(Boolean);
}

/** Names as the protocol's own server uses them; 404 is final for its clients, 401 makes them attest again. */
function refused(thrown: CaissonError): Response {
  const error = asCaissonError(thrown);
  const isPath = error.code === 'object-missing';
  const status = isPath ? 404 : error.code === 'rate-limited' ? 429 : error.kind === 'transient' ? 503 : 401;
  const detail = error.kind === 'bug' ? 'the broker met a defect of its own' : error.message;
  return Response.json({ type: `${errorTypes}/${typeOf(error)}`, detail }, { status });
}

function typeOf({ code, kind, details }: CaissonError): string {
  if (typeof details['kbsError'] === 'string') return details['kbsError'];
  if (code === 'object-missing') return 'InvalidRequestPath';
  if (code === 'session-missing') return 'TokenNotFound';
  if (code === 'policy-refused') return 'PolicyDeny';
  if (code === 'policy-missing' || code === 'policy-invalid') return 'PolicyEngineError';
  if (code === 'name-missing') return 'PluginInternalError';
  if (code === 'argument-invalid' || code === 'limit-exceeded') return 'SerdeError';
  return kind === 'transient' || kind === 'bug' ? 'PluginInternalError' : 'AttestationError';
}
