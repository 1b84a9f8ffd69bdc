/**
 * One workload's access to one key of one broker: the key source and the anchor of a volume share it, so that
 * opening takes one attestation for both.
 *
 * Invariants: evidence is shown once for all who wait at the same time; a session that has ended is replaced
 * once for a request, then the error is told; a released key that nobody took is wiped after a minute.
 */
import type { EvidenceSource } from '../attester/evidence-source.ts';
import type { Clock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { releasedKeyMillisecondsMax } from '../lib/broker-limits.ts';
import type { OutageRule } from '../wire/broker-schema.ts';
import type { EnvelopeSuite } from '../wire/envelope-suites.ts';
import type { BrokerClient, ClientSession, ReleaseAsk, Released } from './broker-client.ts';
import type { z } from 'zod';

export interface BrokerAccessOptions {
  readonly client: BrokerClient;
  readonly source: () => Promise<EvidenceSource>;
  readonly tenant: string;
  readonly key: string;
  readonly suite?: EnvelopeSuite | undefined;
  readonly clock: Clock;
}

export interface ReleasedKey {
  readonly key: Uint8Array;
  readonly keyId: Uint8Array;
  readonly brokerId: Uint8Array;
}

export class BrokerAccess {
  readonly #options: BrokerAccessOptions;
  #session: ClientSession | undefined;
  #outage: OutageRule = { mode: 'wait' };
  #pending: Promise<Released> | undefined;
  #untaken: ReleasedKey | undefined;
  #cancelWipe: () => void = () => undefined;
  #wantsAnchors = false;
  /** Of the session: whether it was asked for with the right to move anchors. */
  #mayAdvance = false;
  #volumeId: Uint8Array | undefined;

  constructor(options: BrokerAccessOptions) {
    this.#options = options;
  }

  /** For people: which key of which broker. */
  get describe(): string {
    const { client, tenant, key } = this.#options;
    return `key ${key} of ${tenant} at ${client.url}`;
  }

  get outage(): OutageRule {
    return this.#outage;
  }

  /** From now on sessions are asked for that may move anchors. */
  wantAnchors(): void {
    this.#wantsAnchors = true;
  }

  /** The key for a volume: one that came with a session and waits, or a new release. */
  async takeKey(volumeId: Uint8Array, create?: { readonly policy: string }): Promise<ReleasedKey> {
    const waiting = this.#untaken;
    this.#untaken = undefined;
    this.#cancelWipe();
    if (waiting !== undefined) return waiting;
    this.#volumeId = volumeId;
    const { key, keyId, brokerId } = await this.#release({ volumeId, create });
    this.#untaken = undefined; // this very key: somebody waited for the session of the same release
    this.#cancelWipe();
    return { key: Uint8Array.from(key), keyId, brokerId };
  }

  /** A request under the session, which is opened where there is none. */
  async ask<Schema extends z.ZodType>(
    path: string,
    request: object,
    answer: Schema,
    isRepeatable: boolean,
  ): Promise<z.output<Schema>> {
    const { client } = this.#options;
    const session = await this.#openSession();
    try {
      return await client.ask(session, path, request, answer, isRepeatable);
    } catch (error) {
      if (!isCaissonError(error, 'session-missing')) throw error;
      if (this.#session === session) this.#session = undefined;
      return client.ask(await this.#openSession(), path, request, answer, isRepeatable);
    }
  }

  /** Wipes what is held. Sessions end by themselves, at the broker. */
  close(): void {
    this.#cancelWipe();
    this.#untaken?.key.fill(0);
    this.#untaken = undefined;
    this.#session?.secret.fill(0);
    this.#session = undefined;
    this.#options.client.close();
  }

  async #openSession(): Promise<ClientSession> {
    const { clock } = this.#options;
    const session = this.#session;
    const isEnough = this.#mayAdvance || !this.#wantsAnchors;
    if (session !== undefined && isEnough && clock.wall() < session.expiresAt) return session;
    const released = await this.#release({ volumeId: this.#volumeId });
    // Somebody who wanted only the key had asked already.
    if (this.#wantsAnchors && !this.#mayAdvance) return this.#openSession();
    const untaken = { key: released.key, keyId: released.keyId, brokerId: released.brokerId };
    this.#untaken = untaken;
    this.#cancelWipe();
    this.#cancelWipe = clock.after(releasedKeyMillisecondsMax, () => {
      if (this.#untaken !== untaken) return;
      this.#untaken = undefined;
      untaken.key.fill(0);
    });
    return released.session;
  }

  /** Whoever asks meanwhile waits for the same evidence. */
  async #release(ask: Pick<ReleaseAsk, 'volumeId' | 'create'>): Promise<Released> {
    const pending = (this.#pending ??= this.#ask(ask));
    try {
      return await pending;
    } finally {
      if (this.#pending === pending) this.#pending = undefined;
    }
  }

  async #ask(ask: Pick<ReleaseAsk, 'volumeId' | 'create'>): Promise<Released> {
    const { client, source, tenant, key, suite } = this.#options;
    const mayAdvance = this.#wantsAnchors;
    const request: ReleaseAsk = { tenant, key, suite, ...ask, ...(mayAdvance ? { anchors: true } : {}) };
    const released = await client.release(request, await source());
    this.#session = released.session;
    this.#mayAdvance = mayAdvance;
    this.#outage = released.outage;
    return released;
  }
}
