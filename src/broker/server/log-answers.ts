/** Heads, proofs and copies of the release log (spec/release-log.md), signed by the broker's key. */
import type { Clock } from '../../lib/clock.ts';
import { logHeadAgeMillisecondsMax } from '../../lib/broker-limits.ts';
import { CaissonError } from '../../lib/errors.ts';
import { equalBytes } from '../../crypto/digest.ts';
import { toHex } from '../../lib/hex.ts';
import { writeLogFile } from '../../wire/log-file.ts';
import { encodeConsistencyProof, encodeInclusionProof } from '../../wire/log-proof.ts';
import { buildProof, planConsistency, planInclusion, rootOf } from '../../wire/merkle.ts';
import type { ProofPlan } from '../../wire/merkle.ts';
import { decodeLeaf, signHead } from '../../wire/release-log.ts';
import type { SignedHead } from '../../wire/release-log.ts';
import type { SigningKey } from '../../crypto/signature.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';

export class LogAnswers {
  readonly #database: BrokerDatabase;
  readonly #key: SigningKey;
  readonly #clock: Clock;
  /** The newest that was signed: whoever asks before the log grows gets the same, signed once for a group of commits. */
  #signed: SignedHead | undefined;

  constructor(database: BrokerDatabase, key: SigningKey, clock: Clock) {
    this.#database = database;
    this.#key = key;
    this.#clock = clock;
  }

  async head(): Promise<SignedHead> {
    const { size, root } = await this.#database.logTree();
    const held = this.#signed;
    const isSame = held !== undefined && held.size === size && equalBytes(held.root, root);
    const age = this.#clock.wall() - (held?.time ?? 0);
    if (isSame && age >= 0 && age <= logHeadAgeMillisecondsMax) return held;
    return (this.#signed = this.#sign(size, root));
  }

  /** The whole log up to now, in pieces. */
  async *download(): AsyncGenerator<Uint8Array> {
    const database = this.#database;
    yield* writeLogFile({
      publicKey: this.#key.publicKey,
      head: await this.head(),
      leaves: (from, count) => database.logLeaves(from, count),
    });
  }

  /** The tenant of a line: whose administrator may see it. */
  async tenantOf(index: number): Promise<string> {
    return decodeLeaf(await this.#leaf(index)).tenant;
  }

  async inclusion(index: number): Promise<Uint8Array> {
    return this.#inclusionOf(await this.#leaf(index), index);
  }

  async #inclusionOf(leaf: Uint8Array, index: number): Promise<Uint8Array> {
    const head = await this.head();
    return encodeInclusionProof(this.#key.publicKey, head, leaf, await this.#proof(planInclusion(index, head.size)));
  }

  /** The proof of a line for who made the request that it is about: nobody else knows its digest. */
  async receipt(index: number, request: Uint8Array): Promise<Uint8Array> {
    const [leaf] = await this.#database.logLeaves(index, 1);
    const facts = leaf === undefined ? {} : decodeLeaf(leaf.bytes).facts;
    if (leaf !== undefined && facts['request'] === toHex(request)) return this.#inclusionOf(leaf.bytes, index);
    throw new CaissonError('invalid', 'name-missing', 'this line of the log is not about that request');
  }

  /** From the tree of the first `size` lines to the present one. */
  async consistency(size: number): Promise<Uint8Array> {
    const second = await this.head();
    if (size > second.size || size === 0) throw outside(size, second.size);
    const proof = await this.#proof(planConsistency(size, second.size));
    return encodeConsistencyProof(this.#key.publicKey, await this.#headAt(size), second, proof);
  }

  async #headAt(size: number): Promise<SignedHead> {
    const root = await rootOf(size, (ids) => this.#database.logNodes(ids));
    return this.#sign(size, root);
  }

  #sign(size: number, root: Uint8Array): SignedHead {
    return signHead(this.#key, size, root, this.#clock.wall());
  }

  async #leaf(index: number): Promise<Uint8Array> {
    const [leaf] = await this.#database.logLeaves(index, 1);
    if (leaf !== undefined) return leaf.bytes;
    throw outside(index, (await this.#database.logTree()).size);
  }

  #proof(plan: ProofPlan): Promise<readonly Uint8Array[]> {
    return buildProof(plan, (ids) => this.#database.logNodes(ids));
  }
}

function outside(place: number, size: number): CaissonError {
  return new CaissonError('invalid', 'range-outside', `the log has ${size} lines, so that there is no ${place}`);
}
