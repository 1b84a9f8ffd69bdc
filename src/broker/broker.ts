/** A broker put together from its parts, apart from files and signals: what `main.ts` runs and tests start. */
import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/random.ts';
import type { Technology } from '../wire/evidence.ts';
import type { CollateralSource } from './attest/collateral.ts';
import type { TrustedRoot, Verifier } from './attest/verifier.ts';
import { KbsService } from './kbs/kbs-service.ts';
import { AdminService } from './release/admin.ts';
import { Anchors } from './release/anchors.ts';
import type { BrokerKeys } from './release/broker-keys.ts';
import { Credentials } from './release/credentials.ts';
import { Nonces } from './release/nonces.ts';
import { Policies } from './release/policies.ts';
import { ReleaseService } from './release/release.ts';
import { Sessions } from './release/sessions.ts';
import { createBrokerApp } from './server/app.ts';
import type { Answered } from './server/app.ts';
import { LogAnswers } from './server/log-answers.ts';
import { BrokerMetrics } from './server/metrics.ts';
import type { RateLimit } from './server/rate-limits.ts';
import type { PeerHeads } from './heads/peer-heads.ts';
import type { BrokerDatabase } from './state/broker-database.ts';

export interface BrokerOptions {
  readonly version: string;
  readonly database: BrokerDatabase;
  readonly keys: BrokerKeys;
  readonly verifiers: ReadonlyMap<Technology, Verifier>;
  readonly collateral: CollateralSource;
  readonly extraRoots: readonly TrustedRoot[];
  readonly clock: Clock;
  readonly random: Random;
  readonly addressLimit: RateLimit;
  readonly tenantLimit: RateLimit;
  readonly onAnswer: (answer: Answered) => void;
  /** Heads of other brokers' logs that are kept here; undefined: none. */
  readonly peers: PeerHeads | undefined;
}

export interface Broker {
  readonly app: ReturnType<typeof createBrokerApp>;
}

export function createBroker(options: BrokerOptions): Broker {
  const { database, keys, clock, random, version, collateral, extraRoots, verifiers } = options;
  const nonces = new Nonces(keys.nonceKey, random);
  const sessions = new Sessions(database, keys, random);
  const definitions = new Map([...verifiers].map(([technology, verifier]) => [technology, verifier.definitions]));
  const policies = new Policies(database, definitions);
  const metrics = new BrokerMetrics();
  const releases = new ReleaseService({
    ...{ database, keys, nonces, sessions, policies, verifiers, collateral, extraRoots, clock, random },
    credentials: new Credentials(nonces, extraRoots),
    onOutcome: (outcome) => metrics.outcome(outcome),
  });
  const app = createBrokerApp({
    ...{ version, database, keys, releases, sessions, metrics, clock },
    anchors: new Anchors(database),
    admin: new AdminService({ version, database, keys, policies, sessions, clock, random }),
    log: new LogAnswers(database, keys.signing, clock),
    addressLimit: options.addressLimit,
    tenantLimit: options.tenantLimit,
    onAnswer: options.onAnswer,
    peers: options.peers,
    kbs: new KbsService({ database, keys, nonces, policies, verifiers, collateral, extraRoots, clock, random }),
  });
  return { app };
}
