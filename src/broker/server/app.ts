/**
 * The routes of a broker (spec/broker-http.md), apart from the socket (listen.ts).
 *
 * Invariants: a request is counted, bounded and checked against its schema before anything acts on it;
 * every failure leaves as an error body; what a session asked is answered under its MAC, refusals too.
 */
import { Hono } from 'hono';
import type { Context } from 'hono';
import type { HttpBindings } from '@hono/node-server';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { fromHex, toHex } from '../../lib/hex.ts';
import {
  brokerReleasesInFlightMax,
  brokerReleasesWaitingMax,
  brokerReleaseBytesMax,
  brokerRequestBytesMax,
} from '../../lib/broker-limits.ts';
import { logHeadBodyBytesMax } from '../../lib/limits.ts';
import { adminOperations, workloadOperations } from '../../wire/broker-schema.ts';
import type { AdminOperationName } from '../../wire/broker-schema.ts';
import { encodeHead } from '../../wire/release-log.ts';
import {
  answerMac,
  sessionCounterHeader,
  sessionHeader,
  sessionIdBytes,
  sessionMacBytes,
  sessionMacHeader,
} from '../../wire/session-mac.ts';
import type { AdminService } from '../release/admin.ts';
import type { Anchors } from '../release/anchors.ts';
import type { BrokerKeys } from '../release/broker-keys.ts';
import { CapabilityEpochs } from '../release/capability-epochs.ts';
import type { ReleaseService } from '../release/release.ts';
import type { Session, Sessions } from '../release/sessions.ts';
import type { PeerAnswer, PeerHeads } from '../heads/peer-heads.ts';
import { addKbsRoutes } from '../kbs/kbs-routes.ts';
import type { KbsService } from '../kbs/kbs-service.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';
import { asCaissonError, bodyOf, statusOf } from './error-answer.ts';
import type { LogAnswers } from './log-answers.ts';
import type { BrokerMetrics } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { Gate, RateLimiter } from './rate-limits.ts';
import type { RateLimit } from './rate-limits.ts';
import { bearerToken, countOf, parseMessage, readBody } from './requests.ts';
import { anchorStateJson, challengeJson, releaseJson } from './answers.ts';

export interface BrokerAppParts {
  readonly version: string;
  readonly database: BrokerDatabase;
  readonly keys: BrokerKeys;
  readonly releases: ReleaseService;
  readonly sessions: Sessions;
  readonly anchors: Anchors;
  readonly admin: AdminService;
  readonly log: LogAnswers;
  readonly metrics: BrokerMetrics;
  readonly clock: Clock;
  readonly addressLimit: RateLimit;
  readonly tenantLimit: RateLimit;
  /** Told every answer; `error` of those that are the broker's own trouble. */
  readonly onAnswer: (answer: Answered) => void;
  readonly peers: PeerHeads | undefined;
  readonly kbs: KbsService;
}

export interface Answered {
  readonly route: string;
  readonly status: number;
  readonly milliseconds: number;
  readonly address: string;
  readonly error: CaissonError | undefined;
}

type Env = { Bindings: HttpBindings };
type SessionWork = (session: Session, body: Uint8Array, now: number) => Promise<object>;

export function createBrokerApp(parts: BrokerAppParts): Hono<Env> {
  return new BrokerRoutes(parts).app();
}

class BrokerRoutes {
  readonly #parts: BrokerAppParts;
  readonly #app = new Hono<Env>();
  readonly #addresses: RateLimiter;
  readonly #tenants: RateLimiter;
  readonly #gate = new Gate(brokerReleasesInFlightMax, brokerReleasesWaitingMax);
  #openApi: string | undefined;

  constructor(parts: BrokerAppParts) {
    this.#parts = parts;
    const monotonic = (): number => parts.clock.monotonic();
    this.#addresses = new RateLimiter(parts.addressLimit, monotonic);
    this.#tenants = new RateLimiter(parts.tenantLimit, monotonic);
  }

  app(): Hono<Env> {
    this.#workloadRoutes();
    this.#sessionRoutes();
    this.#adminRoutes();
    this.#logRoutes();
    this.#operatorRoutes();
    this.#peerRoutes();
    this.#kbsRoutes();
    this.#app.notFound((context) =>
      this.#answer(context, 'unknown', async () => {
        throw new CaissonError('invalid', 'name-missing', 'the broker has no such route');
      }),
    );
    return this.#app;
  }

  #workloadRoutes(): void {
    const { challenge, release } = workloadOperations;
    const { releases, keys } = this.#parts;
    this.#post(challenge.path, brokerRequestBytesMax, async (body) => {
      const request = parseMessage(challenge.request, body);
      this.#tenants.take(request.tenant);
      return challengeJson(await releases.challenge(request), keys);
    });
    this.#post(release.path, brokerReleaseBytesMax, async (body) => {
      const request = await this.#parseRelease(body);
      this.#tenants.take(request.tenant);
      return releaseJson(await this.#gate.run(() => releases.release(request)), keys);
    });
  }

  /** What cannot be read as a release is a refusal like any other: it has its line. */
  async #parseRelease(body: Uint8Array) {
    try {
      return parseMessage(workloadOperations.release.request, body);
    } catch (error) {
      if (error instanceof CaissonError) await this.#parts.releases.refuseUnread(error);
      throw error;
    }
  }

  #sessionRoutes(): void {
    const { advanceAnchors, readAnchors, forgetAnchor, capabilityEpoch, endSession } = workloadOperations;
    const { anchors, sessions, database, metrics } = this.#parts;
    this.#postSession(advanceAnchors.path, async (session, body, now) => {
      const { states } = parseMessage(advanceAnchors.request, body);
      const { firstIndex } = await anchors.advance(session, states, now);
      metrics.advanced(states.length);
      return { logIndex: firstIndex };
    });
    this.#postSession(readAnchors.path, async (session, body) => {
      const states = await anchors.read(session, parseMessage(readAnchors.request, body).volumeIds);
      return { states: states.map((state) => (state === undefined ? null : anchorStateJson(state))) };
    });
    this.#postSession(forgetAnchor.path, async (session, body, now) => {
      await anchors.forget(session, parseMessage(forgetAnchor.request, body).volumeId, now);
      return {};
    });
    const epochs = new CapabilityEpochs(database);
    this.#postSession(capabilityEpoch.path, async (session, body, now) => {
      const { volumeId, atLeast } = parseMessage(capabilityEpoch.request, body);
      return { epoch: await epochs.atLeast(session, volumeId, atLeast, now) };
    });
    this.#postSession(endSession.path, async (session, body, now) => {
      parseMessage(endSession.request, body);
      const { tenant, id } = session;
      const facts = { change: 'ended', session: toHex(id) };
      await database.commit({
        effects: [{ kind: 'put-session', session: sessions.endOf(session) }],
        entries: [{ kind: 'session', at: now, tenant, facts }],
      });
      sessions.forget();
      return {};
    });
  }

  #adminRoutes(): void {
    const { admin } = this.#parts;
    for (const name of Object.keys(adminOperations) as AdminOperationName[]) {
      this.#post(`/v1/admin/${name}`, brokerRequestBytesMax, async (body, context) => {
        const token = bearerToken(context);
        const request: { readonly tenant?: string | undefined } = parseMessage(adminOperations[name].request, body);
        await admin.authorize(name, request.tenant, token);
        return admin.run(name, request);
      });
    }
  }

  #logRoutes(): void {
    const { admin, log } = this.#parts;
    this.#get('/v1/log/head', async () => json(await log.head().then(encodeHead)));
    this.#get('/v1/log/proof', async (context) => {
      const index = countOf(context, 'index');
      const from = countOf(context, 'from');
      if ((index === undefined) === (from === undefined))
        throw new CaissonError('invalid', 'argument-invalid', 'a proof takes index or from, one of them');
      if (from !== undefined) return json(await log.consistency(from));
      const token = bearerToken(context);
      await admin.authorize('key-ls', await log.tenantOf(index ?? 0), token);
      return json(await log.inclusion(index ?? 0));
    });
    const { path, request } = workloadOperations.logReceipt;
    this.#app.post(path, (context) =>
      this.#answer(context, path, async () => {
        const asked = parseMessage(request, await readBody(context.req.raw, brokerRequestBytesMax));
        return json(await log.receipt(asked.index, asked.request));
      }),
    );
    this.#get('/v1/log', async (context) => {
      await admin.authorizeRoot(bearerToken(context));
      return new Response(ReadableStream.from(log.download()), {
        headers: { 'content-type': 'application/jsonl' },
      });
    });
  }

  #operatorRoutes(): void {
    const { database, metrics, version } = this.#parts;
    this.#get('/v1/health', async () => Response.json({ alive: true }));
    this.#get('/v1/ready', async () => {
      await database.check();
      return Response.json({ ready: true });
    });
    this.#get('/v1/openapi.json', async () => json((this.#openApi ??= JSON.stringify(openApiDocument(version)))));
    this.#get('/metrics', async () => {
      const { size } = await database.logTree();
      return new Response(await metrics.text(size), {
        headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
      });
    });
  }

  /** Other brokers keep the heads of their logs here: what they sign is all the right they need. */
  #peerRoutes(): void {
    const { peers } = this.#parts;
    if (peers === undefined) return;
    const path = '/v1/heads/:log';
    const answerOf = ({ status, body }: PeerAnswer): Response =>
      new Response(body === undefined ? null : Uint8Array.from(body), { status });
    this.#get(path, async (context) => answerOf(await peers.get(context.req.param('log') ?? '')));
    this.#app.put(path, (context) =>
      this.#answer(context, path, async () => {
        const body = await readBody(context.req.raw, logHeadBodyBytesMax);
        return answerOf(await peers.put(context.req.param('log'), body, context.req.header('if-match')));
      }),
    );
  }

  #kbsRoutes(): void {
    addKbsRoutes(this.#app, this.#parts.kbs, {
      answer: (context, route, work, refuse) => this.#answer(context, route, work, refuse),
      takeTenant: (tenant) => this.#tenants.take(tenant),
      verify: (work) => this.#gate.run(work),
    });
  }

  #get(path: string, work: (context: Context<Env>) => Promise<Response>): void {
    this.#app.get(path, (context) => this.#answer(context, path, () => work(context)));
  }

  #post(path: string, bytesMax: number, work: (body: Uint8Array, context: Context<Env>) => Promise<object>): void {
    this.#app.post(path, (context) =>
      this.#answer(context, path, async () => {
        const body = await readBody(context.req.raw, bytesMax);
        return Response.json(await work(body, context));
      }),
    );
  }

  #postSession(path: string, work: SessionWork): void {
    this.#app.post(path, (context) =>
      this.#answer(context, path, async () => {
        const body = await readBody(context.req.raw, brokerRequestBytesMax);
        const { id, counter, mac } = sessionHeaders(context);
        const now = this.#parts.clock.wall();
        const session = await this.#parts.sessions.prove({ id, counter, method: 'POST', path, body }, mac, now);
        return sealed(session, mac, async () => {
          this.#tenants.take(session.tenant);
          return work(session, body, now);
        });
      }),
    );
  }

  /** The one place where requests are counted and errors become answers. */
  async #answer(
    context: Context<Env>,
    route: string,
    work: () => Promise<Response>,
    refuse: (error: CaissonError) => Response = refused,
  ): Promise<Response> {
    const { clock, metrics, onAnswer } = this.#parts;
    const begun = clock.monotonic();
    const address = context.env.incoming?.socket.remoteAddress ?? 'unknown';
    let response: Response;
    let failure: CaissonError | undefined;
    try {
      this.#addresses.take(address);
      response = await work();
    } catch (error) {
      failure = asCaissonError(error);
      response = refuse(failure);
    }
    response.headers.set('cache-control', 'no-store');
    metrics.answered(route, response.status);
    onAnswer({ route, status: response.status, milliseconds: clock.monotonic() - begun, address, error: failure });
    return response;
  }
}

/** Success or refusal, under the MAC of the session. */
async function sealed(session: Session, mac: Uint8Array, work: () => Promise<object>): Promise<Response> {
  let status = 200;
  let text: string;
  try {
    text = JSON.stringify(await work());
  } catch (error) {
    const failure = asCaissonError(error);
    status = statusOf(failure);
    text = bodyOf(failure);
  }
  const body = new TextEncoder().encode(text);
  return new Response(body, {
    status,
    headers: {
      'content-type': 'application/json',
      [sessionMacHeader]: toHex(answerMac(session.secret, mac, status, body)),
    },
  });
}

function sessionHeaders(context: Context): { id: Uint8Array; counter: number; mac: Uint8Array } {
  const id = fromHex(context.req.header(sessionHeader) ?? '', sessionIdBytes);
  const mac = fromHex(context.req.header(sessionMacHeader) ?? '', sessionMacBytes);
  const counterText = context.req.header(sessionCounterHeader) ?? '';
  const counter = /^\d{1,16}$/.test(counterText) ? Number(counterText) : Number.NaN;
  if (id !== undefined && mac !== undefined && Number.isSafeInteger(counter)) return { id, mac, counter };
  throw new CaissonError('denied', 'session-missing', 'the request carries no session, counter and MAC', {
    remedy: 'Show evidence first, with a release.',
  });
}

function refused(error: CaissonError): Response {
  const { seconds } = error.details;
  return new Response(bodyOf(error), {
    status: statusOf(error),
    headers: {
      'content-type': 'application/json',
      ...(isCaissonError(error, 'rate-limited') ? { 'retry-after': String(seconds ?? 1) } : {}),
    },
  });
}

function json(text: string | Uint8Array): Response {
  return new Response(text as Uint8Array<ArrayBuffer> | string, { headers: { 'content-type': 'application/json' } });
}
