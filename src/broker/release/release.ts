/**
 * The release of a key: evidence, proof and policy first, then one commit, then the sealed answer
 * (spec/broker-http.md, "Challenge and release").
 *
 * Invariants:
 * - No key leaves before its line of the log is durable; release, session, new key and nonce are one commit.
 * - Every refusal of a request whose nonce is ours takes the nonce and leaves a line.
 * - What is judged is what was verified, and what is answered goes to the keys that the evidence names.
 */
import { signatureBytes } from '../../crypto/signature.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { toHex } from '../../lib/hex.ts';
import { anchorOutageRecordsMax, refusalRulesMax } from '../../lib/broker-limits.ts';
import type { Random } from '../../lib/random.ts';
import { sealEnvelope } from '../../wire/envelope.ts';
import type { Envelope } from '../../wire/envelope.ts';
import type { EnvelopeSuite } from '../../wire/envelope-suites.ts';
import { checkEvidence } from '../../wire/evidence.ts';
import type { Evidence, Technology } from '../../wire/evidence.ts';
import type { LogFact } from '../../wire/release-log.ts';
import { releaseBodyDigest } from '../../wire/release-body.ts';
import type { ReleaseBody } from '../../wire/release-body.ts';
import { checkReportData, reportDataOf } from '../../wire/report-data.ts';
import { checkRequestSignature, evidenceDigestOf, requestDigest } from '../../wire/request-statement.ts';
import type { RequestStatement } from '../../wire/request-statement.ts';
import type { CollateralSource } from '../attest/collateral.ts';
import type { TrustedRoot, VerifiedEvidence, Verifier, VerifyContext } from '../attest/verifier.ts';
import { evaluatePolicy } from '../policy/evaluate.ts';
import type { Policy } from '../policy/policy.ts';
import { releaseDefaults } from '../policy/release-section.ts';
import { failures } from '../policy/verdict.ts';
import { policyRefusal } from '../policy/refusal.ts';
import type { RuleOutcome, Verdict } from '../policy/verdict.ts';
import type { BrokerDatabase, Effect, StoredKey } from '../state/broker-database.ts';
import { rootTenant } from './broker-keys.ts';
import type { BrokerKeys } from './broker-keys.ts';
import type { Nonces } from './nonces.ts';
import type { Policies } from './policies.ts';
import type { Session, Sessions } from './sessions.ts';
import type { Credentials, TpmKeys } from './credentials.ts';
import type { Credential } from '../attest/tpm/credential.ts';
import { newVolumeKey, openVolumeKey } from './volume-keys.ts';

export interface ChallengeRequest {
  readonly tenant: string;
  readonly technology: Technology;
  readonly prepare?: TpmKeys | undefined;
}

export interface ReleaseRequest extends ReleaseBody {
  readonly tenant: string;
  readonly key: string;
  readonly nonce: Uint8Array;
  readonly evidence: Evidence;
  readonly suite: EnvelopeSuite;
  readonly recipientPublicKey: Uint8Array;
  readonly sessionPublicKey: Uint8Array;
  readonly signature: Uint8Array;
}

export interface ReleaseParts {
  readonly database: BrokerDatabase;
  readonly keys: BrokerKeys;
  readonly nonces: Nonces;
  readonly sessions: Sessions;
  readonly policies: Policies;
  readonly verifiers: ReadonlyMap<Technology, Verifier>;
  readonly credentials: Credentials;
  readonly collateral: CollateralSource;
  readonly extraRoots: readonly TrustedRoot[];
  readonly clock: Clock;
  readonly random: Random;
  /** Told how each release went, for metrics. */
  readonly onOutcome: (outcome: ReleaseOutcome) => void;
}

export interface ReleaseOutcome {
  readonly technology: Technology;
  /** `released`, or the code of the refusal. */
  readonly result: string;
  readonly failedRules: readonly string[];
  readonly verifyMilliseconds: number | undefined;
}

export interface ReleaseAnswer {
  readonly envelope: Envelope;
  readonly logIndex: number;
}

/** What has been found out about a request so far, for its line in the log. */
interface Progress {
  readonly facts: Record<string, LogFact>;
  failed: readonly RuleOutcome[];
  verifyMilliseconds: number | undefined;
  nonceEndsAt: number | undefined;
}

export class ReleaseService {
  readonly #parts: ReleaseParts;

  constructor(parts: ReleaseParts) {
    this.#parts = parts;
  }

  async challenge(
    request: ChallengeRequest,
  ): Promise<{ readonly nonce: Uint8Array; readonly expiresAt: number; readonly credential?: Credential }> {
    const { nonces, credentials, clock } = this.#parts;
    await this.#mustKnow(request.tenant);
    const issued = nonces.issue(request, clock.wall());
    if (request.prepare === undefined) return issued;
    return { ...issued, credential: credentials.prepare(issued.nonce, request.prepare) };
  }

  async release(request: ReleaseRequest): Promise<ReleaseAnswer> {
    const progress: Progress = {
      facts: { key: request.key, technology: request.evidence.technology, suite: request.suite },
      failed: [],
      verifyMilliseconds: undefined,
      nonceEndsAt: undefined,
    };
    const told = (result: string): void =>
      this.#parts.onOutcome({
        technology: request.evidence.technology,
        result,
        failedRules: progress.failed.map(({ rule }) => rule),
        verifyMilliseconds: progress.verifyMilliseconds,
      });
    try {
      const answer = await this.#release(request, progress);
      told('released');
      return answer;
    } catch (error) {
      const refusal = error instanceof CaissonError ? error : undefined;
      told(refusal?.code ?? 'assertion-failed');
      if (refusal === undefined || !isRefusal(refusal)) throw error;
      throw await this.#logRefusal(request, progress, refusal);
    }
  }

  /** For a request that cannot even be read: nobody's tenant, but a line. */
  async refuseUnread({ code, message }: CaissonError): Promise<void> {
    const { database, clock } = this.#parts;
    const facts = { code, reason: message.substring(0, reasonCharactersMax) };
    await database.commit({
      effects: [],
      entries: [{ kind: 'refusal', at: clock.wall(), tenant: rootTenant, facts }],
    });
  }

  async #release(request: ReleaseRequest, progress: Progress): Promise<ReleaseAnswer> {
    const { keys, clock, database, sessions } = this.#parts;
    const now = clock.wall();
    await this.#mustKnow(request.tenant);
    const endsAt = this.#parts.nonces.check(request.nonce, nonceUse(request), now);
    progress.nonceEndsAt = endsAt;
    checkEvidence(request.evidence);
    const guarded = await this.#guard(request, now);
    const verified = await this.#verify(request, guarded, now, progress);
    const statement = this.#proved(request, verified, progress);
    if (guarded instanceof CaissonError) throw guarded;
    const verdict = judge(guarded, request, verified, now, progress);
    const { key, stored } =
      guarded.key === undefined
        ? newVolumeKey(request, guarded.policyName, keys, this.#parts.random, now)
        : { key: openVolumeKey(guarded.key, keys), stored: guarded.key };
    const opened = sessions.make(sessionFor(request, guarded.policy, now));
    const facts = releaseFacts(progress.facts, verdict, verified, stored, opened.session);
    const effects: Effect[] = [
      { kind: 'take-nonce', nonce: request.nonce, expiresAt: endsAt },
      ...(guarded.key === undefined ? [{ kind: 'create-key', key: stored } as const] : []),
      { kind: 'put-session', session: opened.stored },
      keys.expected,
    ];
    const entry = { kind: 'release', at: now, tenant: request.tenant, facts } as const;
    const { firstIndex } = await database.commit({ effects, entries: [entry] });
    const plain = plaintextOf(key, stored, guarded, opened.session, firstIndex);
    key.fill(0);
    try {
      return { envelope: await sealEnvelope(plain, statement, keys.signing), logIndex: firstIndex };
    } finally {
      plain.fill(0);
    }
  }

  /** The policy that guards the key, or why there is none: told only to who has shown evidence. */
  async #guard(request: ReleaseRequest, now: number): Promise<Guarded | CaissonError> {
    const { database, policies } = this.#parts;
    try {
      const key = await database.key(request.tenant, request.key);
      if (key?.erasedAt !== undefined) return keyErased(request.key);
      const policyName = key?.policy ?? request.create?.policy;
      if (policyName === undefined) return keyMissing(request.key);
      return { key, policyName, policy: await policies.get(request.tenant, policyName, now) };
    } catch (error) {
      if (isCaissonError(error, 'policy-missing') || isCaissonError(error, 'policy-invalid')) return error;
      throw error;
    }
  }

  async #verify(
    { evidence, nonce }: ReleaseRequest,
    guarded: Guarded | CaissonError,
    now: number,
    progress: Progress,
  ): Promise<VerifiedEvidence> {
    const { verifiers, collateral, extraRoots, credentials, clock } = this.#parts;
    const verifier = verifiers.get(evidence.technology);
    if (verifier === undefined) {
      throw new CaissonError('invalid', 'unsupported', `this broker verifies no ${evidence.technology} evidence`);
    }
    const { collateralAgeMillisecondsMax } = guarded instanceof CaissonError ? releaseDefaults : guarded.policy.release;
    const activation = credentials.expected(nonce, evidence);
    const context: VerifyContext = {
      ...{ now, collateral, extraRoots, collateralAgeMax: collateralAgeMillisecondsMax },
      ...(activation === undefined ? {} : { activation }),
    };
    const begun = clock.monotonic();
    try {
      return await verifier.verify(evidence, context);
    } finally {
      progress.verifyMilliseconds = clock.monotonic() - begun;
    }
  }

  /** The evidence names the keys of this request, and their holder signed it. */
  #proved(request: ReleaseRequest, verified: VerifiedEvidence, progress: Progress): RequestStatement {
    const { evidence, key: keyName, tenant, nonce, suite, recipientPublicKey, sessionPublicKey } = request;
    const requestKeys = { purpose: 'release', nonce, suite, recipientPublicKey, sessionPublicKey };
    checkReportData(evidence.technology, verified.reportData, reportDataOf(requestKeys));
    const statement: RequestStatement = {
      ...requestKeys,
      ...{ tenant, keyName, brokerId: this.#parts.keys.brokerId },
      evidenceDigest: evidenceDigestOf(evidence),
      bodyDigest: releaseBodyDigest(request),
    };
    if (request.signature.length !== signatureBytes)
      throw new CaissonError('denied', 'proof-invalid', `the signature has not ${signatureBytes} bytes`);
    checkRequestSignature(statement, request.signature);
    progress.facts['request'] = toHex(requestDigest(statement));
    return statement;
  }

  async #mustKnow(tenant: string): Promise<void> {
    if (tenant !== rootTenant && (await this.#parts.database.tenant(tenant)) !== undefined) return;
    throw new CaissonError('invalid', 'tenant-missing', 'this broker has no such tenant', {
      remedy: 'Look at the tenant in the URL of the key; operators add one with "caisson broker tenant-add".',
      details: { tenant },
    });
  }

  /** The refusal as the client gets it: with the place of its line. */
  async #logRefusal(request: ReleaseRequest, progress: Progress, refusal: CaissonError): Promise<CaissonError> {
    const { database, clock } = this.#parts;
    // A tenant that is not there has no lines; nobody's name from outside becomes one.
    const tenant = refusal.code === 'tenant-missing' ? rootTenant : request.tenant;
    const { check } = refusal.details;
    const facts = {
      ...progress.facts,
      code: refusal.code,
      reason: refusal.message.substring(0, reasonCharactersMax),
      ...(typeof check === 'string' ? { check } : {}),
      ...(progress.failed.length === 0
        ? {}
        : { failed: progress.failed.map(({ rule }) => rule).toSpliced(refusalRulesMax) }),
    };
    const entry = { kind: 'refusal', at: clock.wall(), tenant, facts } as const;
    const { nonceEndsAt } = progress;
    const isTaken = refusal.code === 'nonce-used' || nonceEndsAt === undefined;
    const effects: Effect[] = isTaken ? [] : [{ kind: 'take-nonce', nonce: request.nonce, expiresAt: nonceEndsAt }];
    try {
      const { firstIndex } = await database.commit({ effects, entries: [entry] });
      return withDetails(refusal, { logIndex: firstIndex });
    } catch (error) {
      if (!isCaissonError(error, 'nonce-used')) throw error;
      const { firstIndex } = await database.commit({ effects: [], entries: [entry] });
      return withDetails(refusal, { logIndex: firstIndex });
    }
  }
}

const reasonCharactersMax = 500;

interface Guarded {
  /** Undefined: to be made. */
  readonly key: StoredKey | undefined;
  readonly policyName: string;
  readonly policy: Policy;
}

/** What a client did wrong or may not do; anything else is the broker's own trouble and no decision. */
function isRefusal({ kind }: CaissonError): boolean {
  return kind === 'denied' || kind === 'invalid' || kind === 'integrity';
}

function nonceUse({ tenant, evidence: { technology } }: ReleaseRequest): { tenant: string; technology: Technology } {
  return { tenant, technology };
}

function judge(
  { key, policy }: Guarded,
  request: ReleaseRequest,
  verified: VerifiedEvidence,
  now: number,
  progress: Progress,
): Verdict {
  const { key: keyName, volumeId, suite, anchors } = request;
  const asks = [
    ...(key === undefined ? (['create-key'] as const) : []),
    ...(anchors === true ? (['advance-anchor'] as const) : []),
  ];
  const verdict = evaluatePolicy(policy, verified, { now, keyName, volumeId, suite, asks });
  Object.assign(progress.facts, { policy: policy.name, policyDigest: policy.digest });
  if (verdict.allowed) return verdict;
  progress.failed = failures(verdict);
  throw policyRefusal(verdict);
}

function sessionFor(
  { tenant, key, anchors }: ReleaseRequest,
  { release }: Policy,
  now: number,
): Omit<Session, 'id' | 'secret'> {
  const expiresAt = now + release.sessionMillisecondsMax;
  return { tenant, keyName: key, issuedAt: now, expiresAt, mayAdvance: anchors === true };
}

function releaseFacts(
  facts: Readonly<Record<string, LogFact>>,
  verdict: Verdict,
  verified: VerifiedEvidence,
  key: StoredKey,
  session: Session,
): Record<string, LogFact> {
  return {
    ...facts,
    keyId: toHex(key.id),
    session: toHex(session.id),
    profile: verdict.profile ?? '',
    basis: verified.basis.map(({ name, value }) => `${name}: ${value}`),
    waived: verdict.profiles
      .filter(({ profile }) => profile === verdict.profile)
      .flatMap(({ rules }) => rules.filter(({ outcome }) => outcome === 'waived').map(({ rule }) => rule)),
  };
}

function plaintextOf(
  key: Uint8Array,
  stored: StoredKey,
  { key: held, policy }: Guarded,
  session: Session,
  logIndex: number,
): Uint8Array {
  const { anchorOutageMilliseconds: outage } = policy.release;
  const body = {
    key: Buffer.from(key).toString('base64'),
    keyId: toHex(stored.id),
    created: held === undefined,
    session: {
      id: toHex(session.id),
      secret: Buffer.from(session.secret).toString('base64'),
      expiresAt: session.expiresAt,
    },
    outage:
      outage === 0
        ? { mode: 'wait' }
        : { mode: 'go-on', secondsMax: Math.floor(outage / 1000), recordsMax: anchorOutageRecordsMax },
    logIndex,
  };
  return new TextEncoder().encode(JSON.stringify(body));
}

function withDetails(error: CaissonError, details: Record<string, number>): CaissonError {
  return new CaissonError(error.kind, error.code, error.message, {
    ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    details: { ...error.details, ...details },
    cause: error,
  });
}

function keyMissing(name: string): CaissonError {
  return new CaissonError('denied', 'name-missing', `the tenant has no key ${name}`, {
    remedy: 'Create it with "caisson broker key-create", or ask with "create" and a policy that lets workloads do so.',
    details: { key: name },
  });
}

function keyErased(name: string): CaissonError {
  return new CaissonError('denied', 'volume-erased', `the key ${name} was destroyed on purpose`, {
    details: { key: name },
  });
}
