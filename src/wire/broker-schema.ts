/**
 * The messages of the broker's HTTP API (spec/broker-http.md): one table from which the server checks
 * requests, the client checks answers, and the OpenAPI document is made. Every object is strict.
 */
import { z } from 'zod';
import { fromHex } from '../lib/hex.ts';
import { anchorGroupStatesMax, brokerDocumentBytesMax } from '../lib/broker-limits.ts';
import { evidencePartBytesMax } from '../lib/limits.ts';
import { envelopeSuites } from './envelope-suites.ts';
import { technologies } from './evidence.ts';

/** Of tenants, keys and documents. */
export const brokerNamePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const brokerName = z.string().regex(brokerNamePattern, 'must be 1 to 64 of a-z, 0-9 and "-"');

function hexBytes(length: number) {
  return z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${length * 2}}$`), `must be ${length} bytes in lower-case hexadecimal`)
    .transform((text): Uint8Array => fromHex(text, length) ?? new Uint8Array(0));
}

function base64Bytes(lengthMax: number) {
  return z
    .string()
    .max(Math.ceil(lengthMax / 3) * 4)
    .refine((text) => isBase64(text), 'must be base64 with padding')
    .transform((text): Uint8Array => new Uint8Array(Buffer.from(text, 'base64')));
}

/** One spelling of each value: Buffer reads far more than base64. */
function isBase64(text: string): boolean {
  return text.length % 4 === 0 && Buffer.from(text, 'base64').toString('base64') === text;
}

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const index = count;
const time = count;
const volumeId = hexBytes(16);

export const anchorStateShape = z.strictObject({
  volumeId,
  epoch: count,
  manifestNumber: count,
  manifestDigest: hexBytes(32),
  sequence: count,
  chain: hexBytes(16),
});

const prepare = z
  .strictObject({
    akPublic: base64Bytes(4096),
    ekPublic: base64Bytes(4096).optional(),
    ekCertificate: base64Bytes(16_384).optional(),
  })
  .refine(
    ({ ekPublic, ekCertificate }) => (ekPublic === undefined) !== (ekCertificate === undefined),
    'takes ekPublic or ekCertificate, one of them',
  );

export const challengeRequest = z.strictObject({
  tenant: brokerName,
  technology: z.enum(technologies),
  prepare: prepare.optional(),
});
export const challengeAnswer = z.strictObject({
  nonce: hexBytes(32),
  expiresAt: time,
  brokerId: hexBytes(32),
  brokerPublicKey: hexBytes(32),
  credential: z.strictObject({ blob: base64Bytes(4096), secret: base64Bytes(4096) }).optional(),
});

const partsCountMax = 16;
export const releaseRequest = z.strictObject({
  tenant: brokerName,
  key: brokerName,
  nonce: hexBytes(32),
  evidence: z.strictObject({
    technology: z.enum(technologies),
    parts: z
      .record(z.string().max(32), base64Bytes(evidencePartBytesMax))
      .refine((parts) => Object.keys(parts).length <= partsCountMax, `has more than ${partsCountMax} members`),
  }),
  suite: z.enum(envelopeSuites),
  recipientPublicKey: base64Bytes(2048),
  sessionPublicKey: hexBytes(32),
  volumeId: volumeId.optional(),
  anchors: z.literal(true).optional(),
  create: z.strictObject({ policy: brokerName }).optional(),
  signature: hexBytes(64),
});
export const releaseAnswer = z.strictObject({
  envelope: z.strictObject({
    suite: z.enum(envelopeSuites),
    encapsulated: base64Bytes(2048),
    ciphertext: base64Bytes(128 * 1024),
    signature: hexBytes(64),
  }),
  brokerPublicKey: hexBytes(32),
  logIndex: index,
});

export const outageRule = z.discriminatedUnion('mode', [
  z.strictObject({ mode: z.literal('wait') }),
  z.strictObject({ mode: z.literal('go-on'), secondsMax: count, recordsMax: count }),
]);
export type OutageRule = z.output<typeof outageRule>;

/** What the envelope holds. */
export const releasedShape = z.strictObject({
  key: base64Bytes(32),
  keyId: hexBytes(16),
  created: z.boolean(),
  session: z.strictObject({ id: hexBytes(16), secret: base64Bytes(32), expiresAt: time }),
  outage: outageRule,
  logIndex: index,
});

const states = z.array(anchorStateShape).min(1).max(anchorGroupStatesMax);
const empty = z.strictObject({});
const keyRow = z.strictObject({
  key: brokerName,
  id: z.string(),
  policy: brokerName,
  createdAt: time,
  erasedAt: time.nullable(),
});
const documentRow = z.strictObject({ name: brokerName, version: count, digest: z.string() });
const documentText = z.string().min(1).max(brokerDocumentBytesMax);
const tenant = brokerName;

/** `who`: may ask it. `session` requests carry a MAC, administrators a bearer token. */
export interface BrokerOperation {
  readonly method: 'get' | 'post';
  readonly path: string;
  readonly who: 'anybody' | 'session' | 'tenant' | 'root';
  readonly about: string;
  readonly request: z.ZodType;
  readonly answer: z.ZodType;
}

/** What workloads ask. */
export const workloadOperations = {
  challenge: post('/v1/challenge', 'anybody', 'A nonce, and for a TPM a credential', challengeRequest, challengeAnswer),
  release: post('/v1/release', 'anybody', 'A key, for evidence', releaseRequest, releaseAnswer),
  advanceAnchors: post(
    '/v1/anchors/advance',
    'session',
    'Moves anchors forward, all or none',
    z.strictObject({ states }),
    z.strictObject({ logIndex: index }),
  ),
  readAnchors: post(
    '/v1/anchors/read',
    'session',
    'What the anchors hold',
    z.strictObject({ volumeIds: z.array(volumeId).min(1).max(anchorGroupStatesMax) }),
    z.strictObject({ states: z.array(anchorStateShape.nullable()).max(anchorGroupStatesMax) }),
  ),
  forgetAnchor: post('/v1/anchors/forget', 'session', 'Forgets a volume', z.strictObject({ volumeId }), empty),
  capabilityEpoch: post(
    '/v1/capabilities/epoch',
    'session',
    'The capability epoch of a volume, raised to what the workload knows',
    z.strictObject({ volumeId, atLeast: count }),
    z.strictObject({ epoch: count }),
  ),
  endSession: post('/v1/session/end', 'session', 'Ends the session', empty, empty),
  logReceipt: post(
    '/v1/log/receipt',
    'anybody',
    'The proof of a line of the log, for whoever knows the digest of the request that it is about',
    z.strictObject({ index, request: hexBytes(32) }),
    // Its form is that of release-log.md, "Proof files", and checked there.
    z.looseObject({ format: z.string() }),
  ),
} as const satisfies Record<string, BrokerOperation>;

const named = z.strictObject({ tenant, name: brokerName });
const documentPut = admin(
  'tenant',
  'Stores a document after checking it, under the name that it gives itself; a name that is asked for must be that one',
  z.strictObject({ tenant, name: brokerName.optional(), text: documentText }),
  z.strictObject({ name: brokerName, version: count, digest: z.string() }),
);
const documentLs = admin(
  'tenant',
  'Lists documents',
  z.strictObject({ tenant }),
  z.strictObject({ documents: z.array(documentRow) }),
);
const documentShow = admin(
  'tenant',
  'Shows a document',
  named,
  z.strictObject({ text: z.string(), version: count, digest: z.string() }),
);
const documentRm = admin('tenant', 'Removes a document', named, empty);

/** What administrators ask: `POST /v1/admin/<name>`. */
export const adminOperations = {
  status: admin(
    'tenant',
    'Version, database and log of the broker',
    z.strictObject({ tenant: tenant.optional() }),
    z.strictObject({
      version: z.string(),
      database: z.string(),
      brokerId: z.string(),
      logSize: count,
      logRoot: z.string(),
      tenants: count.nullable(),
    }),
  ),
  'tenant-ls': admin('root', 'Lists tenants', empty, z.strictObject({ tenants: z.array(brokerName) })),
  'tenant-add': admin('root', 'Adds a tenant', z.strictObject({ tenant }), z.strictObject({ token: z.string() })),
  'tenant-token': admin(
    'root',
    'Replaces the token of a tenant',
    z.strictObject({ tenant }),
    z.strictObject({ token: z.string() }),
  ),
  'tenant-rm': admin('root', 'Removes a tenant with all it has', z.strictObject({ tenant }), empty),
  'key-ls': admin('tenant', 'Lists keys', z.strictObject({ tenant }), z.strictObject({ keys: z.array(keyRow) })),
  'key-create': admin(
    'tenant',
    'Makes a key, guarded by a policy',
    z.strictObject({ tenant, key: brokerName, policy: brokerName }),
    z.strictObject({ id: z.string() }),
  ),
  'key-erase': admin(
    'tenant',
    'Destroys a key for good; the answer is the receipt',
    z.strictObject({ tenant, key: brokerName }),
    z.strictObject({ tenant, key: brokerName, id: z.string(), erasedAt: time, logIndex: index, brokerId: z.string() }),
  ),
  'key-set-policy': admin(
    'tenant',
    'Puts a key under another policy',
    z.strictObject({ tenant, key: brokerName, policy: brokerName }),
    empty,
  ),
  'key-rewrap': admin(
    'tenant',
    'Wraps the keys of a tenant anew',
    z.strictObject({ tenant }),
    z.strictObject({ keys: count }),
  ),
  'policy-put': documentPut,
  'policy-ls': documentLs,
  'policy-show': documentShow,
  'policy-rm': documentRm,
  'reference-put': documentPut,
  'reference-ls': documentLs,
  'reference-show': documentShow,
  'reference-rm': documentRm,
  'session-revoke': admin(
    'tenant',
    'Ends one session, or all of a key',
    z.strictObject({ tenant, session: hexBytes(16).optional(), key: brokerName.optional() }),
    empty,
  ),
  'anchor-show': admin(
    'tenant',
    'What the anchor of a volume holds',
    z.strictObject({ tenant, volumeId }),
    z.strictObject({ state: anchorStateShape.nullable() }),
  ),
  'anchor-forget': admin('tenant', 'Forgets the anchor of a volume', z.strictObject({ tenant, volumeId }), empty),
  'capability-revoke': admin(
    'tenant',
    'Raises the capability epoch of a volume',
    z.strictObject({ tenant, volumeId }),
    z.strictObject({ epoch: count }),
  ),
} as const satisfies Readonly<Record<string, AdminOperation>>;

export type AdminOperationName = keyof typeof adminOperations;
export type AdminRequest<Name extends AdminOperationName> = z.output<(typeof adminOperations)[Name]['request']>;
/** As JSON: bytes are hexadecimal. */
export type AdminAnswer<Name extends AdminOperationName> = z.input<(typeof adminOperations)[Name]['answer']>;

export interface AdminOperation<Request extends z.ZodType = z.ZodType, Answer extends z.ZodType = z.ZodType> {
  readonly who: 'tenant' | 'root';
  readonly about: string;
  readonly request: Request;
  readonly answer: Answer;
}

export const errorBody = z.strictObject({
  error: z.strictObject({
    kind: z.string().max(32),
    code: z.string().max(64),
    message: z.string().max(8192),
    remedy: z.string().max(8192).nullable(),
    details: z.record(z.string().max(128), z.union([z.string().max(16_384), z.number(), z.boolean()])),
  }),
});

function post<Request extends z.ZodType, Answer extends z.ZodType>(
  path: string,
  who: BrokerOperation['who'],
  about: string,
  request: Request,
  answer: Answer,
): BrokerOperation & { readonly request: Request; readonly answer: Answer } {
  return { method: 'post', path, who, about, request, answer };
}

function admin<Request extends z.ZodType, Answer extends z.ZodType>(
  who: AdminOperation['who'],
  about: string,
  request: Request,
  answer: Answer,
): AdminOperation<Request, Answer> {
  return { who, about, request, answer };
}
