/** The OpenAPI 3.1 document, made from the schemas that check the requests. */
import { z } from 'zod';
import { adminOperations, errorBody, workloadOperations } from '../../wire/broker-schema.ts';

type Json = Readonly<Record<string, unknown>>;

export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const { path, who, about, request, answer } of Object.values(workloadOperations))
    paths[path] = { post: operation(about, request, answer, who === 'session' ? sessionSecurity : []) };
  for (const [name, { who, about, request, answer }] of Object.entries(adminOperations)) {
    const whose = who === 'root' ? 'root administrator' : 'administrator of the tenant';
    paths[`/v1/admin/${name}`] = { post: operation(`${about} (${whose})`, request, answer, [{ administrator: [] }]) };
  }
  for (const [path, about, type] of documents)
    paths[path] = { get: { summary: about, responses: { 200: content(type) } } };
  return {
    openapi: '3.1.0',
    info: { title: 'Caisson broker', version, description: 'Keys only after proof. See spec/broker-http.md.' },
    paths,
    components: {
      schemas: { Error: schemaOf(errorBody) },
      securitySchemes: {
        administrator: { type: 'http', scheme: 'bearer' },
        session: { type: 'apiKey', in: 'header', name: 'Caisson-Session' },
        counter: { type: 'apiKey', in: 'header', name: 'Caisson-Counter' },
        mac: { type: 'apiKey', in: 'header', name: 'Caisson-Mac' },
      },
    },
  };
}

const sessionSecurity = [{ session: [], counter: [], mac: [] }];

const documents = [
  ['/v1/log', 'The whole release log (root administrator)', 'application/jsonl'],
  ['/v1/log/head', 'The signed tree head', 'application/json'],
  ['/v1/log/proof', 'A proof of inclusion or consistency', 'application/json'],
  ['/v1/openapi.json', 'This document', 'application/json'],
  ['/v1/health', 'Whether the process lives', 'application/json'],
  ['/v1/ready', 'Whether commits are possible', 'application/json'],
  ['/metrics', 'Counters for Prometheus', 'text/plain'],
] as const;

function operation(summary: string, request: z.ZodType, answer: z.ZodType, security: readonly Json[]): Json {
  return {
    summary,
    security,
    requestBody: { required: true, content: { 'application/json': { schema: schemaOf(request) } } },
    responses: {
      200: { description: 'Done', content: { 'application/json': { schema: schemaOf(answer) } } },
      default: {
        description: 'Refused',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

function content(type: string): Json {
  return { description: 'Done', content: { [type]: {} } };
}

/** What goes over the wire is what the schemas take in, before bytes are decoded. */
function schemaOf(schema: z.ZodType): Json {
  const { $schema: _unused, ...rest } = z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' }) as Json;
  return rest;
}
