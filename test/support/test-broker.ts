/** A broker in this process behind real HTTPS, with evidence that tests make up, for everything that talks to one. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EvidenceSource } from '../../src/attester/evidence-source.ts';
import { createBroker } from '../../src/broker/broker.ts';
import type { Broker } from '../../src/broker/broker.ts';
import { openBrokerKeys } from '../../src/broker/release/broker-keys.ts';
import type { CollateralSource } from '../../src/broker/attest/collateral.ts';
import { commonClaims } from '../../src/broker/attest/verifier.ts';
import type { TrustedRoot, Verifier } from '../../src/broker/attest/verifier.ts';
import type { Answered } from '../../src/broker/server/app.ts';
import { listenHttps } from '../../src/broker/server/listen.ts';
import type { Listener } from '../../src/broker/server/listen.ts';
import { certificateNames, openOwnAuthority } from '../../src/broker/server/own-authority.ts';
import type { RateLimit } from '../../src/broker/server/rate-limits.ts';
import type { BrokerDatabase } from '../../src/broker/state/broker-database.ts';
import { BrokerAccess } from '../../src/broker-client/broker-access.ts';
import { BrokerClient } from '../../src/broker-client/broker-client.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { patientClock } from '../../src/lib/clock.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import type { ErrorCode } from '../../src/lib/errors.ts';
import type { Technology } from '../../src/wire/evidence.ts';
import { carriedReportData } from '../../src/wire/report-data.ts';
import { MemoryBrokerDatabase } from './memory-broker-database.ts';

/** Evidence "signed" by the text `genuine`, with one claim. */
export const fakeVerifier: Verifier = {
  technology: 'tpm',
  definitions: [
    commonClaims.debug,
    { name: 'tpm.level', kind: 'number', mustBeJudged: true, about: 'A number.', source: 'this test' },
  ],
  async verify({ technology, parts }) {
    if (new TextDecoder().decode(parts['signature']) !== 'genuine')
      throw new CaissonError('integrity', 'evidence-untrusted', 'forged', { details: { check: 'signature' } });
    return {
      technology,
      reportData: parts['quote'] ?? new Uint8Array(0),
      claims: new Map<string, number | boolean>([
        ['debug', false],
        ['tpm.level', parts['pcrs']?.[0] ?? 0],
      ]),
      basis: [{ name: 'root', value: 'fake' }],
    };
  },
};

export function fakeSource(level = 7, changes: Readonly<Record<string, Uint8Array>> = {}): EvidenceSource {
  return {
    technology: 'tpm',
    describe: 'evidence of a test',
    gather: async (reportData) => ({
      technology: 'tpm',
      parts: {
        quote: carriedReportData('tpm', reportData),
        signature: new TextEncoder().encode('genuine'),
        pcrs: Uint8Array.of(level),
        akPublic: Uint8Array.of(1),
        ...changes,
      },
    }),
  };
}

export const noCollateral: CollateralSource = {
  get: async (name) => {
    throw new CaissonError('invalid', 'collateral-missing', `nobody has ${name}`);
  },
};

export function policyText(
  name: string,
  level = 7,
  release = 'may-create-key: true, may-advance-anchor: true',
): string {
  return [
    'caisson-policy: 1',
    `name: ${name}`,
    'profiles:',
    '  main:',
    '    technology: tpm',
    `    rules: {tpm.level: ${level}}`,
    `release: {${release}}`,
  ].join('\n');
}

export interface TestBrokerOptions {
  readonly database?: BrokerDatabase;
  readonly verifiers?: ReadonlyMap<Technology, Verifier>;
  readonly extraRoots?: readonly TrustedRoot[];
  readonly clock?: Clock;
  readonly addressLimit?: RateLimit;
  readonly tenantLimit?: RateLimit;
  readonly port?: number;
  readonly folder?: string;
}

export interface TestBroker {
  readonly broker: Broker;
  readonly database: BrokerDatabase;
  readonly url: string;
  readonly port: number;
  readonly authority: string;
  readonly authorityFile: string;
  readonly folder: string;
  readonly adminToken: string;
  readonly answers: Answered[];
  admin(operation: string, request: object, token?: string): Promise<Record<string, unknown>>;
  client(): BrokerClient;
  access(key: string, source?: EvidenceSource): BrokerAccess;
  /** Stops listening; what it remembers stays. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

const freely: RateLimit = { perSecond: 100_000, burst: 100_000 };

/** With the tenant `acme` and its policy `main`. */
export async function startTestBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'caisson-broker-'));
  const database = options.database ?? new MemoryBrokerDatabase();
  const answers: Answered[] = [];
  const masterKey = createKeyFileSource({
    content: Uint8Array.from({ length: 32 }, (_, at) => at),
    random: systemRandom,
  });
  const { keys, first } = await openBrokerKeys(database, masterKey, systemRandom, Date.now());
  const broker = createBroker({
    version: 'test',
    peers: undefined,
    ...{ database, keys },
    verifiers: options.verifiers ?? new Map([['tpm', fakeVerifier]]),
    collateral: noCollateral,
    extraRoots: options.extraRoots ?? [],
    clock: options.clock ?? patientClock,
    random: systemRandom,
    addressLimit: options.addressLimit ?? freely,
    tenantLimit: options.tenantLimit ?? freely,
    onAnswer: (answer) => answers.push(answer),
  });
  const authority = openOwnAuthority(folder, systemRandom, Date.now());
  const tls = authority.issue(certificateNames('127.0.0.1', []), Date.now());
  const listener: Listener = await listenHttps(broker.app, { host: '127.0.0.1', port: options.port ?? 0, tls });
  const url = `https://127.0.0.1:${listener.port}`;
  const adminToken = first?.adminToken ?? '';
  const admin: TestBroker['admin'] = async (operation, request, token = adminToken) => {
    const response = await broker.app.request(
      `/v1/admin/${operation}`,
      {
        method: 'POST',
        body: JSON.stringify(request),
        headers: { authorization: `Bearer ${token}` },
      },
      { incoming: undefined },
    );
    return (await response.json()) as Record<string, unknown>;
  };
  if (first !== undefined) {
    await admin('tenant-add', { tenant: 'acme' });
    await admin('policy-put', { tenant: 'acme', name: 'main', text: policyText('main') });
    await admin('key-create', { tenant: 'acme', key: 'data', policy: 'main' });
  }
  const client = (): BrokerClient =>
    new BrokerClient({
      url,
      trust: { authority: authority.certificate },
      brokerId: undefined,
      clock: patientClock,
      random: systemRandom,
    });
  const stop = (): Promise<void> => listener.close();
  return {
    ...{ broker, database, url, folder, adminToken, answers, admin, client, stop },
    port: listener.port,
    authority: authority.certificate,
    authorityFile: authority.file,
    access: (key, source = fakeSource()) =>
      new BrokerAccess({ client: client(), source: async () => source, tenant: 'acme', key, clock: patientClock }),
    close: async () => {
      await stop();
      await database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The refusal with this code that the promise must end in. */
export async function refusalOf(promise: Promise<unknown>, code: ErrorCode): Promise<CaissonError> {
  try {
    await promise;
  } catch (error) {
    if (isCaissonError(error, code)) return error;
    throw error;
  }
  throw new Error(`it was not refused with ${code}`);
}
