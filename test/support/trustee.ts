/**
 * Trustee's KBS and the client of guest-components, on demand: `CAISSON_TRUSTEE_KBS` and `CAISSON_KBS_CLIENT` name their
 * programs. Their sample TEE stands for hardware that a test has not, and `sampleBridge` for the one difference to it:
 * it renames the TEE and puts the report data of one kind of evidence into the other. All else passes byte for byte.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './ports.ts';
import { runTool } from './tools.ts';
import type { ToolResult } from './tools.ts';

/** The digest that is signed; quotes carry it with zeroes behind. */
const digestBytes = 48;
const startTries = 300;
const tryMilliseconds = 100;

/** Without one of the variables a loud skip; in CI, where a skip is a failure, the test is not there. */
export function testWithTrustee<Name extends string>(
  name: string,
  variables: readonly Name[],
  work: (programs: Readonly<Record<Name, string>>) => Promise<void>,
): void {
  const missing = variables.filter((variable) => process.env[variable] === undefined);
  if (missing.length > 0 && process.env['CI'] !== undefined) return;
  test(name, async (t) => {
    if (missing.length > 0) return t.skip(`set ${missing.join(' and ')} to programs of Trustee to try them`);
    await work(
      Object.fromEntries(variables.map((variable) => [variable, process.env[variable]])) as Record<Name, string>,
    );
  });
}

export interface Passed {
  readonly path: string;
  readonly status: number;
  readonly sent: string;
  readonly answered: string;
}

export interface Bridge {
  readonly url: string;
  readonly passed: readonly Passed[];
  close(): void;
}

type Fields = Record<string, unknown>;
type Forward = (asked: { method: string; path: string; headers: IncomingMessage['headers']; body: string }) => Promise<{
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: string;
}>;

/** What `evidence` makes of the digest that the client had signed takes the place of what it sent. */
export async function sampleBridge(
  {
    tee,
    digest,
    evidence,
  }: { tee: string; digest: (sent: Fields) => Uint8Array; evidence: (digest: Uint8Array) => Fields },
  forward: Forward,
  tls?: { readonly cert: string; readonly key: string },
): Promise<Bridge> {
  const passed: Passed[] = [];
  const translate = (path: string, body: string): string => {
    if (path === '/kbs/v0/auth') return JSON.stringify({ ...(JSON.parse(body) as Fields), tee });
    if (path !== '/kbs/v0/attest') return body;
    const sent = JSON.parse(body) as { 'tee-evidence': { primary_evidence: Fields } };
    sent['tee-evidence'].primary_evidence = evidence(digest(sent['tee-evidence'].primary_evidence));
    return JSON.stringify(sent);
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const [sent, path] = [Buffer.concat(pieces).toString(), request.url ?? ''];
    const asked = { method: request.method ?? '', path, headers: request.headers, body: translate(path, sent) };
    const { status, headers, body } = await forward(asked);
    passed.push({ path, status, sent, answered: body });
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    response.writeHead(status).end(body);
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error));
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    passed,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export function sampleEvidence(digest: Uint8Array): Fields {
  return { svn: '1', report_data: Buffer.from(digest.subarray(0, digestBytes)).toString('base64') };
}

export function sampleDigest(sent: Fields): Uint8Array {
  const digest = Buffer.from(String(sent['report_data']), 'base64');
  assert.equal(digest.length, digestBytes, 'the client had SHA-384 signed');
  return new Uint8Array(digest);
}

/** Asks a server without TLS on this machine. */
export function forwardTo(origin: string): Forward {
  return async ({ method, path, headers, body }) => {
    const { host: _host, 'content-length': _length, ...kept } = headers;
    const sending = httpRequest(`${origin}${path}`, { method, headers: kept });
    sending.end(body);
    const [response] = (await once(sending, 'response')) as [IncomingMessage];
    const pieces: Buffer[] = [];
    for await (const piece of response) pieces.push(piece as Buffer);
    const { 'set-cookie': cookie, 'content-type': type = 'application/json' } = response.headers;
    return {
      status: response.statusCode ?? 0,
      headers: { 'content-type': type, ...(cookie === undefined ? {} : { 'set-cookie': cookie }) },
      body: Buffer.concat(pieces).toString(),
    };
  };
}

export interface TrusteeKbs {
  readonly origin: string;
  stop(): Promise<void>;
}

/** With its built-in attestation service, tokens of a key of its own, and everything below `folder`. */
export async function startTrusteeKbs(program: string, folder: string): Promise<TrusteeKbs> {
  const port = await freePort();
  const configuration = join(folder, 'kbs.toml');
  writeFileSync(configuration, configurationText(port, folder));
  const child: ChildProcess = spawn(program, ['--config-file', configuration], { stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (piece: Buffer) => (printed += piece.toString()));
  const ended = once(child, 'exit');
  const origin = `http://127.0.0.1:${port}`;
  for (let tries = 0; !(await isListening(origin)); tries++) {
    assert.ok(tries < startTries && child.exitCode === null, `the KBS does not start:\n${printed}`);
    await sleep(tryMilliseconds);
  }
  return {
    origin,
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function configurationText(port: number, folder: string): string {
  return `
[http_server]
sockets = ["127.0.0.1:${port}"]
insecure_http = true
[attestation_token]
insecure_header_jwk = true
[attestation_service]
type = "coco_as_builtin"
[attestation_service.attestation_token_broker]
duration_min = 5
[attestation_service.rvps_config]
type = "BuiltIn"
[admin]
authorization_mode = "InsecureAllowAll"
[storage_backend]
storage_type = "LocalFs"
[storage_backend.backends.local_fs]
dir_path = "${join(folder, 'storage')}"
[[plugins]]
name = "resource"
storage_backend_type = "kvstorage"
`;
}

async function isListening(origin: string): Promise<boolean> {
  try {
    await forwardTo(origin)({ method: 'GET', path: '/', headers: {}, body: '' });
    return true;
  } catch {
    return false;
  }
}

export async function kbsClient(program: string, url: string, ...parameters: string[]): Promise<ToolResult> {
  return await runTool(program, ['--url', url, ...parameters], { timeoutMilliseconds: 60_000 });
}
