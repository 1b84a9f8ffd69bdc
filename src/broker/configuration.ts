/**
 * The configuration of a broker: strict YAML, every field with a default that is safe. Nothing in it is a
 * secret: keys and tokens are named by the files that hold them.
 */
import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { CaissonError } from '../lib/errors.ts';
import { technologies } from '../wire/evidence.ts';
import { readPrivateFile } from './server/state-files.ts';

const absolutePath = z.string().regex(/^\//, 'must be an absolute path');
const rate = z.strictObject({
  perSecond: z.number().positive().max(1_000_000),
  burst: z.number().positive().max(1_000_000),
});

const service = z.strictObject({
  url: z.url({ protocol: /^https?$/, error: 'must be https://HOST:PORT or http://HOST:PORT' }),
  /** PEM: whom its certificate must come from, instead of the public authorities. */
  ca: absolutePath.optional(),
});

const brokerSchema = z.strictObject({
  listen: z
    .string()
    .regex(/^(\[[0-9a-fA-F:.]+\]|[^:]+):\d{1,5}$/, 'must be HOST:PORT')
    .default('127.0.0.1:7443'),
  /** Database (where it is SQLite), master key, certificate authority. */
  state: absolutePath.optional(),
  /** Absent: an authority of its own. */
  tls: z.strictObject({ certificate: absolutePath, key: absolutePath }).optional(),
  /** More names for the certificate of the own authority. */
  names: z.array(z.string().regex(/^[A-Za-z0-9.:_-]{1,253}$/, 'must be a host name or an address')).default([]),
  /** `postgresql://…`, or the absolute path of an SQLite file; absent: a file in the state folder. */
  database: z
    .string()
    .regex(/^(postgres(ql)?:\/\/|\/)/, 'must be postgresql://… or an absolute path')
    .optional(),
  /** `file:/path`, `passphrase:/path`, or the URL of a key source; absent: a key file in the state folder. */
  masterKey: z.string().min(1).max(2048).optional(),
  /** Beside the pinned roots of the vendors: DER or PEM of a certificate or a public key. */
  extraRoots: z
    .array(z.strictObject({ technology: z.enum(technologies), name: z.string().min(1).max(64), file: absolutePath }))
    .max(1024)
    .default([]),
  collateral: z
    .strictObject({
      /** Files that "caisson broker collateral-fetch" wrote for brokers without a network. */
      bundles: z.array(absolutePath).max(64).default([]),
      /** What was fetched is kept here; absent: in the state folder. */
      cache: absolutePath.optional(),
      /** Asks the vendors' services for what is missing. */
      fetch: z.boolean().default(false),
      /** A caching service of one's own in place of Intel's. */
      pccs: service.optional(),
      /** One in place of AMD's. */
      kds: service.optional(),
    })
    .prefault({}),
  limits: z
    .strictObject({
      address: rate.default({ perSecond: 200, burst: 400 }),
      tenant: rate.default({ perSecond: 5000, burst: 10_000 }),
    })
    .prefault({}),
  /** Where the head of the release log is kept besides: `file:/path`, `tpm:0x01800010` or `peer:https://other/v1/heads`. */
  logHead: z
    .string()
    .regex(/^(file:\/|tpm:0x[0-9a-f]{8}$|peer:https:\/\/)/, 'must be file:/path, tpm:0x01800010 or peer:https://…')
    .optional(),
  /** PEM: whom the certificate of a peer must come from. */
  peerAuthority: absolutePath.optional(),
  /** Logs of other brokers whose heads are kept here. */
  peers: z.array(z.string().regex(/^[0-9a-f]{64}$/, 'must be the id of a log')).default([]),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

export type BrokerConfiguration = z.output<typeof brokerSchema>;

export const brokerConfigurationDefaults: BrokerConfiguration = brokerSchema.parse({});

/** Of a file, or the defaults where none is named. */
export function loadBrokerConfiguration(file: string | undefined): BrokerConfiguration {
  if (file === undefined) return brokerConfigurationDefaults;
  const text = readPrivateFile(file);
  if (text !== undefined) return parseBrokerConfiguration(text, file);
  throw new CaissonError('invalid', 'configuration-invalid', `there is no ${file}`, {
    remedy: 'Give an existing file with --config, or none.',
    details: { file },
  });
}

/** `configuration-invalid` with file and line. */
export function parseBrokerConfiguration(text: string, file: string): BrokerConfiguration {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const fault = document.errors[0];
  if (fault !== undefined) throw invalid(file, fault.linePos?.[0].line ?? 1, fault.message.split('\n')[0] ?? 'no YAML');
  let value: unknown;
  try {
    // Aliases are bounded: a few lines of YAML can otherwise stand for gigabytes.
    value = document.toJS({ maxAliasCount: 16 }) ?? {};
  } catch (error) {
    throw invalid(file, 1, error instanceof Error ? error.message : 'no YAML');
  }
  const parsed = brokerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : (issue?.path ?? []);
  const node = document.getIn(path, true) as { readonly range?: readonly [number, number, number] } | undefined;
  const line = node?.range === undefined ? lineOfParent(document, lines, path) : lines.linePos(node.range[0]).line;
  const what = issue?.code === 'unrecognized_keys' ? 'there is no such field' : (issue?.message ?? 'not valid');
  throw invalid(file, line, `${path.join('.') || 'the file'}: ${what}`);
}

function lineOfParent(document: ReturnType<typeof parseDocument>, lines: LineCounter, path: PropertyKey[]): number {
  const parent = document.getIn(path.slice(0, -1), true) as
    { readonly range?: readonly [number, number, number] } | undefined;
  return parent?.range === undefined ? 1 : lines.linePos(parent.range[0]).line;
}

function invalid(file: string, line: number, what: string): CaissonError {
  return new CaissonError('invalid', 'configuration-invalid', `${file}:${line}: ${what}`, {
    remedy: 'Correct the file; docs/broker.md lists the fields.',
    details: { file, line },
  });
}
