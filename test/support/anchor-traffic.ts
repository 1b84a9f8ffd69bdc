/**
 * Workloads that move anchors and ask for keys at brokers which are killed meanwhile, and what they were told: nothing
 * of it may be lost, nothing may be there twice, and an answer that got lost is given by the next broker.
 */
import assert from 'node:assert/strict';
import type { AnchorState } from '../../src/anchor/anchor.ts';
import type { BrokerClient, ClientSession } from '../../src/broker-client/broker-client.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { toHex } from '../../src/lib/hex.ts';
import { workloadOperations } from '../../src/wire/broker-schema.ts';
import { stateAt } from '../conformance/anchor.ts';
import { workloadEvidence } from './fake-tpm-workload.ts';

/** The brokers that answer now; one that was killed is replaced when it serves again. */
export type Clients = () => readonly BrokerClient[];

export interface Told {
  /** Volume to the last sequence that was acknowledged. */
  readonly advanced: Map<string, number>;
  /** Epoch to the writers that were let into it, of the volume that two of them fight for. */
  readonly epochs: Map<number, Set<number>>;
  /** Lines of the log that releases were said to be. */
  readonly releases: number[];
  readonly keys: Set<string>;
  count: number;
  /** Advances that were found to be there although their answer was lost. */
  lostAnswers: number;
}

export function nothingTold(): Told {
  return { ...{ advanced: new Map(), epochs: new Map(), releases: [], keys: new Set() }, count: 0, lostAnswers: 0 };
}

export const fought = new Uint8Array(16).fill(0xf0);

/** A broker that is away, or that said nothing about whether it did it. */
function isGone(error: unknown): boolean {
  return isCaissonError(error) && error.kind === 'transient';
}

/** What the anchors hold, from whichever broker answers. */
export async function readAnchor(
  clients: Clients,
  session: ClientSession,
  volumeId: Uint8Array,
): Promise<AnchorState | undefined> {
  const { path, answer } = workloadOperations.readAnchors;
  for (let turn = 0; ; turn++) {
    const all = clients();
    try {
      const client = all[turn % all.length]!;
      const { states } = await client.ask(session, path, { volumeIds: [toHex(volumeId)] }, answer, false);
      return states[0] ?? undefined;
    } catch (error) {
      if (!isGone(error)) throw error;
      await pause();
    }
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

async function advance(client: BrokerClient, session: ClientSession, state: AnchorState): Promise<void> {
  const { path, answer } = workloadOperations.advanceAnchors;
  const { volumeId, manifestDigest, chain, ...counts } = state;
  const bytes = { volumeId: toHex(volumeId), manifestDigest: toHex(manifestDigest), chain: toHex(chain) };
  await client.ask(session, path, { states: [{ ...counts, ...bytes }] }, answer, false);
}

/** One volume moves on by one, at one broker and then the next; the same again until somebody says yes. */
export async function keepAdvancing(
  clients: Clients,
  session: ClientSession,
  volume: number,
  told: Told,
  isDone: () => boolean,
): Promise<void> {
  const volumeId = new Uint8Array(16).fill(volume);
  for (let sequence = 1; !isDone(); sequence++) {
    const state = stateAt(1, 1, sequence, { volumeId });
    for (let turn = sequence + volume; ; turn++) {
      const all = clients();
      try {
        await advance(all[turn % all.length]!, session, state);
        break;
      } catch (error) {
        if (!isGone(error)) throw error;
        const held = (await readAnchor(clients, session, volumeId))?.sequence ?? 0;
        assert.ok(held === sequence || held === sequence - 1, `volume ${volume}: ${held} held, ${sequence} asked for`);
        if (held === sequence) told.lostAnswers++;
      }
    }
    told.advanced.set(toHex(volumeId), sequence);
    told.count++;
  }
}

/** Two of these fight for one volume: each takes the next epoch whenever it can. */
export async function keepFighting(
  clients: Clients,
  session: ClientSession,
  writer: number,
  told: Told,
  isDone: () => boolean,
): Promise<void> {
  const own = {
    volumeId: fought,
    manifestDigest: new Uint8Array(32).fill(writer),
    chain: new Uint8Array(16).fill(writer),
  };
  for (let turn = writer; !isDone(); turn++) {
    const held = await readAnchor(clients, session, fought);
    const [epoch, manifestNumber] = [(held?.epoch ?? 0) + 1, (held?.manifestNumber ?? 0) + 1];
    const state = { ...own, epoch, manifestNumber, sequence: held?.sequence ?? 0 };
    const all = clients();
    try {
      await advance(all[turn % all.length]!, session, state);
    } catch (error) {
      if (isCaissonError(error, 'rolled-back') || isCaissonError(error, 'forked')) continue;
      if (!isGone(error)) throw error;
      const now = await readAnchor(clients, session, fought);
      if (now?.epoch !== epoch || now.manifestDigest[0] !== writer) continue;
      told.lostAnswers++;
    }
    if (!told.epochs.has(epoch)) told.epochs.set(epoch, new Set());
    told.epochs.get(epoch)!.add(writer);
  }
}

/** Evidence again and again; a release whose answer was lost is asked for anew. */
export async function keepReleasing(clients: Clients, told: Told, isDone: () => boolean): Promise<void> {
  for (let turn = 0; !isDone(); turn++) {
    const all = clients();
    try {
      const released = await all[turn % all.length]!.release({ tenant: 'acme', key: 'data' }, workloadEvidence());
      told.releases.push(released.logIndex);
      told.keys.add(toHex(released.key));
    } catch (error) {
      if (!isGone(error)) throw error;
      await pause();
    }
  }
}
