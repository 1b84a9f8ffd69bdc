/**
 * config.yaml. A field that is unknown or wrong is an error
 * that names its line, never a guess. Nothing in it is a secret: keys are named by the files that
 * hold them.
 */
import { LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { z } from 'zod';
import { CaissonError } from '../lib/errors.ts';
import { nbdSpinMicrosecondsMax, readCacheBytesMin } from '../lib/limits.ts';
import { isReference } from '../lib/names.ts';
import { parseBytes } from '../lib/sizes.ts';
import { parseAnchorChoice } from './anchors.ts';

const absolutePath = z.string().regex(/^\//, 'must be an absolute path');
const byteCount = z.union([z.number().int().positive(), z.string()]).transform((value, context) => {
  try {
    return typeof value === 'number' ? value : parseBytes(value);
  } catch {
    context.addIssue({ code: 'custom', message: 'must be a size such as 64MiB' });
    return z.NEVER;
  }
});
const milliseconds = z.number().int().positive().max(3_600_000);
const volumeName = z.string().refine(isReference, 'is not a name for a volume');

const volumeSchema = z.strictObject({
  name: volumeName,
  socket: absolutePath.optional(),
  readOnly: z.boolean().default(false),
});

const tcpSchema = z.strictObject({
  listen: z.string().regex(/^.+:\d{1,5}$/, 'must be host:port'),
  tlsCertificate: absolutePath.optional(),
  tlsKey: absolutePath.optional(),
  /** Clients must show a certificate that this authority signed. */
  tlsAuthority: absolutePath.optional(),
  pskFile: absolutePath.optional(),
  /** Named so that nobody sets it by accident: anyone who reaches the port reads the plaintext. */
  insecureNoTls: z.boolean().default(false),
});

/** Fields of VolumeTuning (src/volume/volume-types.ts). */
const tuningSchema = z.strictObject({
  segmentBytesMax: byteCount.optional(),
  zeroAheadBytes: byteCount.optional(),
  mapBytesMax: byteCount.optional(),
  spoolBufferBytesMax: byteCount.optional(),
  checkpointBytes: byteCount.optional(),
  checkpointMilliseconds: milliseconds.optional(),
  unpublishedBytesMax: byteCount.optional(),
  anchorMilliseconds: milliseconds.optional(),
});

/** What stores on other machines need on this one. */
const remoteSchema = z.strictObject({
  /** Holds acknowledged data until it is published. */
  spoolFolder: absolutePath.optional(),
  cacheFolder: absolutePath.optional(),
  cacheBytesMax: byteCount.refine((bytes) => bytes >= readCacheBytesMin, 'must be 16MiB or more').optional(),
});

function isAnchorChoice(text: string): boolean {
  try {
    parseAnchorChoice(text);
    return true;
  } catch {
    return false;
  }
}

const configurationSchema = z.strictObject({
  /** Where `volume create` puts volumes when no --store is given. */
  store: z.string().min(1).max(4096).optional(),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  sealer: z.enum(['auto', 'openssl-ffi', 'node-crypto']).default('auto'),
  /** What `caisson serve` serves when it is given no names. */
  volumes: z.array(z.union([volumeName.transform((name) => ({ name, readOnly: false })), volumeSchema])).default([]),
  tcp: tcpSchema.optional(),
  /** Of new volumes: what remembers their newest state. */
  anchor: z.string().refine(isAnchorChoice, 'is no anchor: file, tpm or tpm:DEVICE').default('file'),
  tuning: tuningSchema.default({}),
  remote: remoteSchema.default({}),
  /** How long an NBD server keeps the event loop awake after a small batch: latency for processor time; 0 is never. */
  spinMicroseconds: z.number().int().min(0).max(nbdSpinMicrosecondsMax).default(50),
});

export type Configuration = z.output<typeof configurationSchema>;
export type LogLevel = Configuration['logLevel'];

export function parseConfiguration(text: string, file: string): Configuration {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: true });
  const fault = document.errors[0];
  if (fault !== undefined) {
    const line = fault.linePos?.[0].line ?? 1;
    throw invalid(file, line, fault.message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? 'not YAML');
  }
  const parsed = configurationSchema.safeParse(toValue(document, file));
  if (!parsed.success) {
    const issue = deepestIssue(parsed.error.issues);
    const path = unknownKeyPath(issue);
    throw invalid(file, lineOf(document, lineCounter, path), `${path.join('.') || 'the file'}: ${describe(issue)}`);
  }
  return parsed.data;
}

/** Aliases are bounded: a few lines of YAML can otherwise stand for gigabytes. */
function toValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 16 }) ?? {};
  } catch (error) {
    throw invalid(file, 1, error instanceof Error ? error.message : 'not YAML');
  }
}

/** A union reports every branch; the one that got furthest is the one the writer meant. */
function deepestIssue(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const [issue] = issues;
  if (issue === undefined) throw new CaissonError('bug', 'assertion-failed', 'a failed parse without an issue');
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.flat();
  const deepest = inner.reduce<z.core.$ZodIssue | undefined>((best, next) => {
    const isBetter = best === undefined || next.path.length > best.path.length || next.code === 'unrecognized_keys';
    return isBetter ? next : best;
  }, undefined);
  return deepest === undefined ? issue : { ...deepestIssue([deepest]), path: [...issue.path, ...deepest.path] };
}

function unknownKeyPath(issue: z.core.$ZodIssue): PropertyKey[] {
  return issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : [...issue.path];
}

function describe(issue: z.core.$ZodIssue): string {
  return issue.code === 'unrecognized_keys' ? 'no such setting' : issue.message;
}

function lineOf(document: Document, lineCounter: LineCounter, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = document.getIn(path.slice(0, depth), true) as { range?: [number, number, number] | null } | undefined;
    const offset = node?.range?.[0];
    if (offset !== undefined) return lineCounter.linePos(offset).line;
  }
  return 1;
}

function invalid(file: string, line: number, message: string): CaissonError {
  return new CaissonError('invalid', 'configuration-invalid', `${file}:${line}: ${message}`, {
    remedy: 'Correct that line; docs/cli.md lists every setting.',
    details: { file, line },
  });
}
