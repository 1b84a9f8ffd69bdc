/**
 * Sessions of attested workloads (spec/broker-http.md, "Sessions"): opened by a release, found again by
 * their id, proved by a MAC with each request.
 *
 * Invariants: the secret is in the database only wrapped; a counter is accepted once in this process; what another
 * instance ended or revoked is refused here within `brokerSessionCacheMilliseconds`.
 */
import { equalBytes } from '../../crypto/digest.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import {
  brokerSessionCacheMilliseconds,
  brokerSessionsCachedMax,
  sessionCounterWindow,
} from '../../lib/broker-limits.ts';
import type { Random } from '../../lib/random.ts';
import { requestMac, sessionIdBytes, sessionSecretBytes } from '../../wire/session-mac.ts';
import type { SessionRequest } from '../../wire/session-mac.ts';
import type { BrokerDatabase, StoredSession } from '../state/broker-database.ts';
import type { BrokerKeys, WrapPlace } from './broker-keys.ts';

export interface Session {
  readonly id: Uint8Array;
  readonly tenant: string;
  readonly keyName: string;
  readonly secret: Uint8Array;
  readonly expiresAt: number;
  readonly issuedAt: number;
  readonly mayAdvance: boolean;
}

interface Kept {
  readonly session: Session;
  readonly until: number;
}

/** The counters that a session has used: the highest, and which of those shortly below it. */
interface Counters {
  highest: number;
  seen: bigint;
}

export class Sessions {
  readonly #database: BrokerDatabase;
  readonly #keys: BrokerKeys;
  readonly #random: Random;
  readonly #kept = new Map<string, Kept>();
  readonly #counters = new Map<string, Counters>();

  constructor(database: BrokerDatabase, keys: BrokerKeys, random: Random) {
    this.#database = database;
    this.#keys = keys;
    this.#random = random;
  }

  /** A new session and the row that the commit of its release stores. */
  make(about: Omit<Session, 'id' | 'secret'>): { readonly session: Session; readonly stored: StoredSession } {
    const session = {
      ...about,
      id: this.#random.bytes(sessionIdBytes),
      secret: this.#random.bytes(sessionSecretBytes),
    };
    const plain = new ByteWriter()
      .bytes(session.secret)
      .u64(session.issuedAt)
      .u8(session.mayAdvance ? 1 : 0)
      .finish();
    const { id, tenant, keyName, expiresAt } = session;
    const wrappedSecret = this.#keys.wrap(placeOf(session), plain);
    plain.fill(0);
    return { session, stored: { id, tenant, keyName, wrappedSecret, expiresAt } };
  }

  /** The session of a request whose MAC holds; else `session-missing`, whatever was wrong. */
  async prove(request: SessionRequest, mac: Uint8Array, now: number): Promise<Session> {
    const session = await this.#find(request.id, now);
    if (session === undefined) throw missing('it has ended, or there was none');
    if (!equalBytes(mac, requestMac(session.secret, request))) throw missing('the MAC of the request does not hold');
    if (!this.#takeCounter(toHex(request.id), request.counter)) throw missing('the counter was used before');
    return session;
  }

  /** The row that ends a session. */
  endOf({ id, tenant, keyName }: Pick<Session, 'id' | 'tenant' | 'keyName'>): StoredSession {
    return { id, tenant, keyName, wrappedSecret: Uint8Array.of(0), expiresAt: 0 };
  }

  /** After sessions were ended or revoked in this process. */
  forget(): void {
    this.#kept.clear();
  }

  async #find(id: Uint8Array, now: number): Promise<Session | undefined> {
    const name = toHex(id);
    const kept = this.#kept.get(name);
    if (kept !== undefined && now < kept.until && now < kept.session.expiresAt) return kept.session;
    this.#kept.delete(name);
    const stored = await this.#database.session(id);
    if (stored === undefined || stored.expiresAt <= now) return undefined;
    const session = this.#open(stored);
    if (session === undefined) return undefined;
    if (!(await this.#isGood(session))) return undefined;
    if (this.#kept.size >= brokerSessionsCachedMax) this.#kept.clear();
    this.#kept.set(name, { session, until: now + brokerSessionCacheMilliseconds });
    return session;
  }

  /** Undefined: sealed below a root key that was rotated away, which ended it. */
  #open(stored: StoredSession): Session | undefined {
    const opened = this.#unwrap(stored);
    if (opened === undefined) return undefined;
    const plain = new ByteReader(opened, 'session');
    const { id, tenant, keyName, expiresAt } = stored;
    return {
      ...{ id, tenant, keyName, expiresAt },
      secret: plain.bytes(sessionSecretBytes),
      issuedAt: plain.u64(),
      mayAdvance: plain.u8() === 1,
    };
  }

  #unwrap(stored: StoredSession): Uint8Array | undefined {
    try {
      return this.#keys.unwrap(placeOf(stored), stored.wrappedSecret);
    } catch (error) {
      if (isCaissonError(error, 'database-damaged')) return undefined;
      throw error;
    }
  }

  /** Its key is there, and its sessions were not revoked since. */
  async #isGood({ tenant, keyName, issuedAt }: Session): Promise<boolean> {
    const key = await this.#database.key(tenant, keyName);
    if (key === undefined || key.erasedAt !== undefined) return false;
    const revoked = await this.#database.setting(revocationSetting(tenant, keyName));
    return revoked === undefined || issuedAt > revocationTime(revoked);
  }

  #takeCounter(name: string, counter: number): boolean {
    const counters = this.#counters.get(name);
    if (counters === undefined) {
      if (this.#counters.size >= brokerSessionsCachedMax) this.#dropOldestCounters();
      this.#counters.set(name, { highest: counter, seen: 1n });
      return true;
    }
    if (counter > counters.highest) {
      const ahead = counter - counters.highest;
      counters.seen = ahead >= sessionCounterWindow ? 1n : ((counters.seen << BigInt(ahead)) | 1n) & windowMask;
      counters.highest = counter;
      return true;
    }
    const behind = counters.highest - counter;
    if (behind >= sessionCounterWindow) return false;
    const bit = 1n << BigInt(behind);
    if ((counters.seen & bit) !== 0n) return false;
    counters.seen |= bit;
    return true;
  }

  /** What a replay could do then is bounded by what requests mean: anchors only move forward. */
  #dropOldestCounters(): void {
    const [oldest] = this.#counters.keys();
    if (oldest !== undefined) this.#counters.delete(oldest);
  }
}

const windowMask = (1n << BigInt(sessionCounterWindow)) - 1n;

export function revocationSetting(tenant: string, keyName: string): string {
  return `sessions-revoked/${tenant}/${keyName}`;
}

export function revocationValue(at: number): Uint8Array {
  return new ByteWriter().u64(at).finish();
}

function revocationTime(value: Uint8Array): number {
  return new ByteReader(value, 'revocation').u64();
}

function placeOf({ id, tenant, keyName }: Pick<StoredSession, 'id' | 'tenant' | 'keyName'>): WrapPlace {
  return { what: 'session', tenant, name: keyName, id };
}

function missing(reason: string): CaissonError {
  return new CaissonError('denied', 'session-missing', `the session cannot be used: ${reason}`, {
    remedy: 'Show evidence again, which opens another one.',
  });
}
