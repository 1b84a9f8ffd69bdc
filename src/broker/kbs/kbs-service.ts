/**
 * The KBS protocol over this broker's keys and policies (spec/kbs.md): evidence first, then, for each resource, the
 * policy of the tenant that it belongs to.
 *
 * Invariants:
 * - A nonce is taken by the first attempt to use it, whatever comes of it.
 * - Every refusal has its line in the log, also of what could not be read.
 * - A resource leaves only after its line of the log is durable, and only to the key that the evidence names.
 * - What is judged is what was verified; nothing of a request for a resource adds to it.
 */
import { equalBytes } from '../../crypto/digest.ts';
import { CaissonError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { toHex } from '../../lib/hex.ts';
import type { Random } from '../../lib/random.ts';
import { checkEvidence } from '../../wire/evidence.ts';
import { evidenceFromKbs, teeNames } from '../../wire/kbs/evidence.ts';
import { readTeePublicKey, sealJwe, type Jwe, type TeePublicKey } from '../../wire/kbs/jwe.ts';
import { kbsReportData } from '../../wire/kbs/runtime-data.ts';
import type { LogEntry, LogFact } from '../../wire/release-log.ts';
import type { CollateralSource } from '../attest/collateral.ts';
import type { TrustedRoot, VerifiedEvidence, Verifier } from '../attest/verifier.ts';
import { evaluatePolicy } from '../policy/evaluate.ts';
import { releaseDefaults } from '../policy/release-section.ts';
import { trustworthinessVector } from '../policy/trustworthiness.ts';
import { policyRefusal } from '../policy/refusal.ts';
import type { Technology } from '../../wire/evidence.ts';
import { rootTenant, type BrokerKeys } from '../release/broker-keys.ts';
import type { Nonces } from '../release/nonces.ts';
import type { Policies } from '../release/policies.ts';
import { openVolumeKey } from '../release/volume-keys.ts';
import type { BrokerDatabase, Effect } from '../state/broker-database.ts';
import { AttestedTokens, tokenMillisecondsMax } from './attested-token.ts';

export const kbsVersion = '0.4.0';
/** Sessions of either kind that are held at one time; the oldest makes room. */
const sessionsMax = 4096;
const sessionIdBytes = 16;

export interface KbsParts {
  readonly database: BrokerDatabase;
  readonly keys: BrokerKeys;
  readonly nonces: Nonces;
  readonly policies: Policies;
  readonly verifiers: ReadonlyMap<Technology, Verifier>;
  readonly collateral: CollateralSource;
  readonly extraRoots: readonly TrustedRoot[];
  readonly clock: Clock;
  readonly random: Random;
}

export interface AttestRequest {
  readonly 'runtime-data': { readonly nonce: string; readonly 'tee-pubkey': TeePublicKey };
  readonly 'tee-evidence': { readonly primary_evidence: unknown; readonly additional_evidence: string };
}

/** `repository/type/tag`; the repository is the tenant, the tag the name of the key. */
export interface ResourcePath {
  readonly repository: string;
  readonly type: string;
  readonly tag: string;
}

interface Attested {
  readonly verified: VerifiedEvidence;
  readonly recipient: TeePublicKey;
  readonly expiresAt: number;
}

/** A challenge that waits for its evidence. */
interface Challenged {
  readonly tee: string;
  readonly technology: Technology;
  readonly nonce: Uint8Array;
  readonly expiresAt: number;
}

/** What is known so far of one request, for the line of the log that it gets when it is refused. */
export interface Attempt {
  readonly facts: Record<string, LogFact>;
  tenant: string;
  readonly effects: Effect[];
}

const resourceType = 'volume-key';

export class KbsService {
  readonly #parts: KbsParts;
  readonly #tokens = new AttestedTokens();
  /** Strangers fill the first, and only whoever showed good evidence the second. */
  readonly #challenged = new Map<string, Challenged>();
  readonly #attested = new Map<string, Attested>();

  constructor(parts: KbsParts) {
    this.#parts = parts;
  }

  /** Runs one request; what it is refused for is in the log before the client learns of it. */
  async attempt<Value>(step: string, work: (attempt: Attempt) => Promise<Value>): Promise<Value> {
    const { clock, database } = this.#parts;
    const attempt: Attempt = { facts: { protocol: 'kbs', step }, tenant: rootTenant, effects: [] };
    try {
      return await work(attempt);
    } catch (error) {
      if (!(error instanceof CaissonError) || !isDecision(error)) throw error;
      const known = await database.tenant(attempt.tenant);
      const entry: LogEntry = {
        kind: 'refusal',
        at: clock.wall(),
        tenant: known === undefined ? rootTenant : attempt.tenant,
        facts: { ...attempt.facts, ...reasonOf(error) },
      };
      await database.commit({ effects: attempt.effects, entries: [entry] });
      throw error;
    }
  }

  auth(version: string, tee: string): { readonly nonce: string; readonly session: string; readonly expiresAt: number } {
    if (version !== kbsVersion) {
      throw new CaissonError('invalid', 'unsupported', `this broker speaks version ${kbsVersion} of the protocol`, {
        details: { kbsError: 'ProtocolVersion' },
      });
    }
    const technology = Object.hasOwn(teeNames, tee) ? teeNames[tee] : undefined;
    if (technology === undefined || !this.#parts.verifiers.has(technology)) {
      throw new CaissonError(
        'invalid',
        'unsupported',
        'this broker verifies no evidence of that TEE by this protocol',
        {
          remedy: `It takes ${Object.keys(teeNames).join(', ')}.`,
        },
      );
    }
    const { nonces, random, clock } = this.#parts;
    const { nonce, expiresAt } = nonces.issue({ tenant: rootTenant, technology }, clock.wall());
    const session = toHex(random.bytes(sessionIdBytes));
    keep(this.#challenged, session, { tee, technology, nonce, expiresAt });
    return { nonce: Buffer.from(nonce).toString('base64'), session, expiresAt };
  }

  /** The token. A session attests once: what fails ends it. */
  async attest(id: string | undefined, request: AttestRequest, { facts, effects }: Attempt): Promise<string> {
    const { clock, database } = this.#parts;
    const now = clock.wall();
    const challenged = live(this.#challenged, id, now);
    const { technology, nonce, expiresAt, tee } = challenged.value;
    this.#challenged.delete(challenged.id);
    facts['technology'] = technology;
    const taken = { kind: 'take-nonce', nonce, expiresAt } as const;
    effects.push(taken);
    const verified = await this.#verify(challenged.value, request, now);
    const recipient = request['runtime-data']['tee-pubkey'];
    readTeePublicKey(recipient);
    const entry: LogEntry = {
      kind: 'session',
      at: now,
      tenant: rootTenant,
      facts: { ...facts, change: 'attested' },
    };
    effects.pop();
    await database.commit({ effects: [taken], entries: [entry] });
    keep(this.#attested, challenged.id, { verified, recipient, expiresAt: now + tokenMillisecondsMax });
    const runtimeData = {
      ...request['runtime-data'],
      'additional-evidence': request['tee-evidence'].additional_evidence,
    };
    return this.#tokens.issue({ id: challenged.id, tee, verified, runtimeData }, now);
  }

  async resource(
    shown: { readonly session?: string; readonly token?: string },
    path: ResourcePath,
    attempt: Attempt,
  ): Promise<Jwe> {
    const { clock, database, random } = this.#parts;
    const now = clock.wall();
    const id = shown.token === undefined ? shown.session : this.#tokens.idOf(shown.token);
    const attested = live(this.#attested, id, now).value;
    attempt.tenant = path.repository;
    Object.assign(attempt.facts, { technology: attested.verified.technology, key: path.tag });
    const { secret, entry } = await this.#judge(attested, path, attempt.facts, now);
    try {
      const sealed = sealJwe(secret, attested.recipient, random);
      await database.commit({ effects: [], entries: [entry] });
      return sealed;
    } finally {
      secret.fill(0);
    }
  }

  async #verify(challenged: Challenged, request: AttestRequest, now: number): Promise<VerifiedEvidence> {
    const { verifiers, collateral, extraRoots } = this.#parts;
    const { nonce, technology } = challenged;
    const runtimeData = request['runtime-data'];
    const { primary_evidence: primary, additional_evidence: additional } = request['tee-evidence'];
    this.#parts.nonces.check(nonce, { tenant: rootTenant, technology }, now);
    if (runtimeData.nonce !== Buffer.from(nonce).toString('base64'))
      throw new CaissonError('denied', 'nonce-unknown', 'the runtime data name another nonce than the session has');
    if (additional !== '' && additional !== '{}')
      throw new CaissonError('invalid', 'unsupported', 'evidence of devices is not judged by this broker');
    const evidence = evidenceFromKbs(technology, primary);
    checkEvidence(evidence);
    const verifier = verifiers.get(technology);
    if (verifier === undefined) throw noSession();
    const { collateralAgeMillisecondsMax: collateralAgeMax } = releaseDefaults;
    const verified = await verifier.verify(evidence, { now, collateral, extraRoots, collateralAgeMax });
    if (!equalBytes(verified.reportData, kbsReportData(technology, runtimeData, additional)))
      throw new CaissonError('denied', 'proof-invalid', 'the evidence names another key or another nonce');
    return verified;
  }

  /** The secret and the line that says so; a refusal says which rule failed. */
  async #judge(
    { verified }: Attested,
    { repository: tenant, type, tag }: ResourcePath,
    facts: Record<string, LogFact>,
    now: number,
  ): Promise<{ readonly secret: Uint8Array; readonly entry: LogEntry }> {
    const { database, policies, keys } = this.#parts;
    const stored = type === resourceType ? await database.key(tenant, tag) : undefined;
    if (stored === undefined || stored.erasedAt !== undefined)
      throw new CaissonError('denied', 'name-missing', 'this broker has no such resource');
    const policy = await policies.get(tenant, stored.policy, now);
    // The keys of this protocol are classical ones: a policy that asks for more refuses them.
    const asked = { now, keyName: tag, volumeId: undefined, suite: 'p256', asks: [] } as const;
    const verdict = evaluatePolicy(policy, verified, asked);
    const judged = { policy: policy.name, policyDigest: policy.digest, keyId: toHex(stored.id) };
    Object.assign(facts, judged, { status: trustworthinessVector(verdict, verified).status });
    if (!verdict.allowed) throw policyRefusal(verdict);
    const basis = verified.basis.map(({ name, value }) => `${name}: ${value}`);
    const entry: LogEntry = {
      kind: 'release',
      at: now,
      tenant,
      facts: { ...facts, profile: verdict.profile ?? '', basis },
    };
    return { secret: openVolumeKey(stored, keys), entry };
  }
}

function keep<Session>(sessions: Map<string, Session>, id: string, session: Session): void {
  sessions.set(id, session);
  for (const oldest of sessions.keys()) {
    if (sessions.size <= sessionsMax) break;
    sessions.delete(oldest);
  }
}

function live<Session extends { readonly expiresAt: number }>(
  sessions: Map<string, Session>,
  id: string | undefined,
  now: number,
): { readonly id: string; readonly value: Session } {
  const value = id === undefined ? undefined : sessions.get(id);
  if (id === undefined || value === undefined) throw noSession();
  if (now < value.expiresAt) return { id, value };
  sessions.delete(id);
  throw noSession();
}

function isDecision({ kind }: CaissonError): boolean {
  return kind === 'denied' || kind === 'invalid' || kind === 'integrity';
}

const reasonCharactersMax = 500;

function reasonOf({ code, message, details }: CaissonError): Record<string, LogFact> {
  const { check, rules } = details;
  return {
    code,
    reason: message.substring(0, reasonCharactersMax),
    ...(typeof check === 'string' ? { check } : {}),
    ...(typeof rules === 'string' ? { failed: rules.split(', ') } : {}),
  };
}

function noSession(): CaissonError {
  return new CaissonError('denied', 'session-missing', 'there is no attested session', { remedy: 'Attest again.' });
}
