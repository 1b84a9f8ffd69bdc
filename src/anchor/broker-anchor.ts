/**
 * Anchor at a broker: durable there, out of the reach of store and host (spec/broker-http.md, "Sessions").
 *
 * Invariants:
 * - States that wait at the same time travel as one group, in the order in which they came; one that is refused
 *   does not take the others with it.
 * - While no broker answers, the policy of the key decides: `wait` makes callers wait, then fail; `go-on` lets them go
 *   on within a bound of time and records, after which they fail as well. What was let go is brought up first.
 * - What is read always comes from the broker: no volume opens while it is away.
 */
import type { BrokerAccess } from '../broker-client/broker-access.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import {
  anchorGroupStatesMax,
  anchorPatienceMilliseconds,
  anchorRetryMilliseconds,
  anchorWaitingMax,
} from '../lib/broker-limits.ts';
import { workloadOperations } from '../wire/broker-schema.ts';
import type { Anchor, AnchorState } from './anchor.ts';
import { checkAdvance } from './anchor-order.ts';

/** For metrics and alerts. */
export interface AnchorOutage {
  /** Since no broker has answered; 0 while one does. */
  readonly unreachableSeconds: number;
  /** Volumes that went on although the anchor does not hold their newest state. */
  readonly unanchoredVolumes: number;
}

export interface BrokerAnchorOptions {
  readonly access: BrokerAccess;
  readonly clock: Clock;
  /** Told when the broker goes away and when it is back. */
  readonly onOutage?: (message: string, details: Readonly<Record<string, unknown>>) => void;
}

interface Waiting {
  readonly state: AnchorState;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class BrokerAnchor implements Anchor {
  readonly describe: string;
  readonly #access: BrokerAccess;
  readonly #clock: Clock;
  readonly #onOutage: BrokerAnchorOptions['onOutage'];
  readonly #waiting: Waiting[] = [];
  /** Let go on: the newest state of each volume, with the sequence that the anchor held when the broker went away. */
  readonly #unanchored = new Map<string, { state: AnchorState; readonly heldSequence: number }>();
  readonly #anchored = new Map<string, number>();
  /** What the broker said of a state that was let go: the volume has another history. */
  readonly #refused = new Map<string, CaissonError>();
  #isSending = false;
  #isRetryPlanned = false;
  #awaySince: number | undefined;

  constructor({ access, clock, onOutage }: BrokerAnchorOptions) {
    access.wantAnchors();
    this.describe = `Shows when an old copy of the store is put back, also to who rules this machine and the store: the newest state is kept with the ${access.describe}.`;
    this.#access = access;
    this.#clock = clock;
    this.#onOutage = onOutage;
  }

  get outage(): AnchorOutage {
    const since = this.#awaySince;
    return {
      unreachableSeconds: since === undefined ? 0 : (this.#clock.monotonic() - since) / 1000,
      unanchoredVolumes: this.#unanchored.size,
    };
  }

  async read(volumeId: Uint8Array): Promise<AnchorState | undefined> {
    const { path, answer } = workloadOperations.readAnchors;
    const { states } = await this.#access.ask(path, { volumeIds: [toHex(volumeId)] }, answer, true);
    const [state] = states;
    if (state === undefined || (state !== null && toHex(state.volumeId) !== toHex(volumeId)))
      throw new CaissonError('integrity', 'anchor-tampered', 'the broker answered with the anchor of another volume');
    if (state !== null) this.#anchored.set(toHex(volumeId), state.sequence);
    return state ?? undefined;
  }

  async advance(state: AnchorState): Promise<void> {
    const refused = this.#refused.get(toHex(state.volumeId));
    if (refused !== undefined) throw refused;
    if (this.#waiting.length >= anchorWaitingMax) {
      throw new CaissonError('transient', 'limit-exceeded', `${anchorWaitingMax} states wait for the anchor already`);
    }
    const copy = copyOf(state);
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ state: copy, resolve, reject });
      void this.#send();
    });
  }

  async forget(volumeId: Uint8Array): Promise<void> {
    const { path, answer } = workloadOperations.forgetAnchor;
    await this.#access.ask(path, { volumeId: toHex(volumeId) }, answer, true);
    const name = toHex(volumeId);
    for (const map of [this.#unanchored, this.#anchored, this.#refused]) map.delete(name);
  }

  async #send(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    // Whoever asks in this same turn comes along.
    await this.#clock.turn();
    try {
      while (this.#waiting.length > 0) await this.#sendGroup(this.#waiting.splice(0, anchorGroupStatesMax));
    } finally {
      this.#isSending = false;
    }
  }

  async #sendGroup(group: readonly Waiting[]): Promise<void> {
    try {
      await this.#catchUp();
      await this.#ask(group.map(({ state }) => state));
    } catch (error) {
      if (isPassing(error)) return this.#away(group, error);
      if (group.length === 1) return group[0]?.reject(error);
      for (const one of group) await this.#sendGroup([one]);
      return;
    }
    for (const { state, resolve } of group) {
      this.#anchored.set(toHex(state.volumeId), state.sequence);
      resolve();
    }
  }

  async #ask(states: readonly AnchorState[]): Promise<void> {
    const { path, answer } = workloadOperations.advanceAnchors;
    try {
      // An advance that arrived already is no change: it may be asked for again.
      await this.#access.ask(path, { states: states.map(stateJson) }, answer, true);
    } catch (error) {
      if (!isPassing(error)) this.#back();
      throw error;
    }
    this.#back();
  }

  /** Brings up what was let go; what the broker refuses of it stands against the volume from then on. */
  async #catchUp(): Promise<void> {
    for (const [name, { state }] of this.#unanchored) {
      try {
        await this.#ask([state]);
      } catch (error) {
        if (isPassing(error) || !(error instanceof CaissonError)) throw error;
        this.#refused.set(name, error);
      }
      this.#anchored.set(name, state.sequence);
      this.#unanchored.delete(name);
    }
  }

  #back(): void {
    if (this.#awaySince === undefined) return;
    const { unreachableSeconds } = this.outage;
    this.#awaySince = undefined;
    this.#onOutage?.('the broker that keeps the anchor answers again', { seconds: Math.round(unreachableSeconds) });
  }

  /** No answer: who may go on goes on, the others wait their time. */
  async #away(group: readonly Waiting[], error: CaissonError): Promise<void> {
    if (this.#awaySince === undefined) {
      this.#awaySince = this.#clock.monotonic();
      const { outage } = this.#access;
      this.#onOutage?.('the broker that keeps the anchor does not answer', {
        policy: outage.mode,
        error: error.message,
      });
    }
    const left: Waiting[] = [];
    for (const waiting of group) {
      if (this.#mayGoOn(waiting.state)) this.#letGo(waiting);
      else left.push(waiting);
    }
    if (this.#unanchored.size > 0) this.#retrySoon();
    if (left.length === 0) return;
    const isOver = this.outage.unreachableSeconds * 1000 >= anchorPatienceMilliseconds || this.#isBounded;
    if (isOver) {
      for (const { reject } of left) reject(outageOver(error, this.outage.unreachableSeconds));
      return;
    }
    await new Promise<void>((resolve) => void this.#clock.after(anchorRetryMilliseconds, resolve));
    this.#waiting.unshift(...left);
  }

  /** Whoever could go on and no longer may has waited long enough. */
  get #isBounded(): boolean {
    return this.#access.outage.mode === 'go-on';
  }

  #mayGoOn({ volumeId, sequence }: AnchorState): boolean {
    const { outage } = this.#access;
    if (outage.mode === 'wait') return false;
    const name = toHex(volumeId);
    const held = this.#unanchored.get(name)?.heldSequence ?? this.#anchored.get(name);
    // A volume that this process has never anchored was not opened by it: nothing vouches for its state.
    if (held === undefined) return false;
    return this.outage.unreachableSeconds <= outage.secondsMax && sequence - held <= outage.recordsMax;
  }

  #letGo({ state, resolve, reject }: Waiting): void {
    const name = toHex(state.volumeId);
    const before = this.#unanchored.get(name);
    try {
      if (before !== undefined) checkAdvance(before.state, state);
    } catch (error) {
      reject(error);
      return;
    }
    const heldSequence = before?.heldSequence ?? this.#anchored.get(name) ?? 0;
    this.#unanchored.set(name, { state, heldSequence });
    resolve();
  }

  #retrySoon(): void {
    if (this.#isRetryPlanned) return;
    this.#isRetryPlanned = true;
    this.#clock.after(anchorRetryMilliseconds, () => {
      this.#isRetryPlanned = false;
      void this.#retry().catch(() => undefined);
    });
  }

  async #retry(): Promise<void> {
    if (this.#isSending || this.#unanchored.size === 0) return;
    this.#isSending = true;
    try {
      await this.#catchUp();
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#retrySoon();
    } finally {
      this.#isSending = false;
      if (this.#waiting.length > 0) void this.#send();
    }
  }
}

/** No answer, or none but "later". */
function isPassing(error: unknown): error is CaissonError {
  return error instanceof CaissonError && error.kind === 'transient';
}

function stateJson(state: AnchorState): object {
  const { volumeId, epoch, manifestNumber, manifestDigest, sequence, chain } = state;
  return {
    ...{ epoch, manifestNumber, sequence },
    ...{ volumeId: toHex(volumeId), manifestDigest: toHex(manifestDigest), chain: toHex(chain) },
  };
}

function copyOf(state: AnchorState): AnchorState {
  return {
    ...state,
    volumeId: Uint8Array.from(state.volumeId),
    manifestDigest: Uint8Array.from(state.manifestDigest),
    chain: Uint8Array.from(state.chain),
  };
}

function outageOver(cause: CaissonError, seconds: number): CaissonError {
  return new CaissonError(
    'transient',
    'broker-unreachable',
    `no broker has answered for ${Math.round(seconds)} s, so that the anchor cannot hold what was written: ${cause.message}`,
    {
      remedy: 'Bring the broker back, then open the volume again; what was flushed before is safe.',
      details: { seconds: Math.round(seconds) },
      cause,
    },
  );
}
