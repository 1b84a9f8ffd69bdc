/**
 * The keyring of an open volume (spec/keys.md, section 4): signing seed, data keys, slots.
 *
 * Invariants:
 * - `encode()` always gives the newest state, sealed once per change: same state, same bytes.
 * - A change either happens whole (generation + 1) or leaves the keyring as it was.
 * - At least one slot opens it; a slot without protection is the only one.
 * - Secrets live in the arrays of this object, which `wipe` zeroes. Whoever gets `signingSeed` or a
 *   data key borrows it: no writing, no use after `wipe`.
 * - Of two changes made at the same time one is refused (`volume-busy`); none is lost unnoticed.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import type { Random } from '../lib/random.ts';
import { unwrapBox, wrapBox } from '../crypto/box.ts';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { equalBytes } from '../crypto/digest.ts';
import { keyBytes } from '../crypto/sealer.ts';
import { seedBytes, signingKeyFromSeed, volumeIdBytes } from '../crypto/signature.ts';
import type { KeySource, KeySourceKind } from './key-source.ts';
import * as format from './keyring-format.ts';
import type { DataKey, EncodedKeyring, EncodedSlot, InheritedKey, KeyringBody } from './keyring-format.ts';
import { parsePassphraseParameters } from './passphrase.ts';
import type { PassphraseCost } from './passphrase.ts';

/** What can be said of a slot without any key. */
export interface SlotInfo {
  readonly id: number;
  readonly kind: KeySourceKind;
  /** Only of passphrase slots; undefined where the parameters are refused. */
  readonly cost: PassphraseCost | undefined;
}

export interface LabelledSlot extends SlotInfo {
  readonly label: string;
}

export interface CreateKeyringOptions {
  readonly source: KeySource;
  readonly random: Random;
  /** `volumeIdFromPublicKey` of crypto/signature.ts. */
  readonly volumeIdOf: (publicKey: Uint8Array) => Uint8Array;
  /** A name for the first slot; sealed. */
  readonly label?: string;
  /** Data keys of the volumes that a clone takes something over from; copied. */
  readonly inherited?: readonly InheritedKey[];
}

interface Slot extends EncodedSlot {
  readonly label: string;
}

/** Fresh signing seed, one data key of epoch 1, one slot. */
export async function createKeyring(options: CreateKeyringOptions): Promise<Keyring> {
  const { source, random, volumeIdOf, label = '' } = options;
  checkLabel(label);
  const signingSeed = copyOf(random.bytes(seedBytes));
  const volumeId = copyOf(volumeIdOf(signingKeyFromSeed(signingSeed).publicKey));
  const keyringKey = copyOf(random.bytes(keyBytes));
  const slot = await enrollSlot({ volumeId, keyringKey, random }, 0, source, label);
  const dataKeys = [{ epoch: 1, key: copyOf(random.bytes(keyBytes)) }];
  return new Keyring({
    volumeId,
    random,
    keyringKey,
    signingSeed,
    slots: [slot],
    dataKeys,
    inherited: (options.inherited ?? [])
      .map((one) => ({ lineage: copyOf(one.lineage), epoch: one.epoch, key: copyOf(one.key) }))
      .sort(format.compareInherited),
    generation: 1,
    encoded: undefined,
  });
}

/**
 * Opens a keyring with the first slot that the source fits. Errors: `format-*` (nobody wrote this),
 * `key-slot-missing` (no slot of this kind), `key-wrong`, `key-parameters-weak`, `keyring-tampered`.
 */
export async function openKeyring(
  encoded: Uint8Array,
  volumeId: Uint8Array,
  source: KeySource,
  random: Random,
): Promise<Keyring> {
  assert(volumeId.length === volumeIdBytes, 'a volume id has 16 bytes');
  // A copy, so that what was checked is what is used even if the caller's buffer changes meanwhile.
  const snapshot = copyOf(encoded);
  const decoded = format.decodeKeyring(snapshot);
  const keyringKey = await findKeyringKey(decoded, volumeId, source);
  const body = openBody(decoded, volumeId, keyringKey);
  if (body === undefined) {
    keyringKey.fill(0);
    throw tampered();
  }
  const slots = decoded.slots.map((slot, index) => ({ ...slot, label: body.labels[index] ?? '' }));
  return new Keyring({
    volumeId: copyOf(volumeId),
    random,
    keyringKey,
    signingSeed: body.signingSeed,
    slots,
    dataKeys: [...body.dataKeys],
    inherited: body.inherited,
    generation: body.generation,
    encoded: snapshot,
  });
}

/** The slots as anyone sees them. Nothing here is authentic yet. */
export function readKeyringSlots(encoded: Uint8Array): readonly SlotInfo[] {
  return format.decodeKeyring(encoded).slots.map(slotInfo);
}

interface KeyringState {
  readonly volumeId: Uint8Array;
  readonly random: Random;
  readonly keyringKey: Uint8Array;
  readonly signingSeed: Uint8Array;
  readonly slots: readonly Slot[];
  readonly dataKeys: readonly DataKey[];
  readonly inherited: readonly InheritedKey[];
  readonly generation: number;
  /** The bytes this state was read from; undefined when it must be sealed first. */
  readonly encoded: Uint8Array | undefined;
}

export class Keyring {
  #state: KeyringState;
  #encoded: Uint8Array;
  #live = true;

  /** Use `createKeyring` or `openKeyring`. */
  constructor(state: KeyringState) {
    this.#state = state;
    this.#encoded = state.encoded ?? sealState(state);
  }

  get volumeId(): Uint8Array {
    return this.#state.volumeId;
  }

  /** Counts changes; 1 when created. */
  get generation(): number {
    return this.#state.generation;
  }

  /** Borrowed: see the invariants. */
  get signingSeed(): Uint8Array {
    return this.#liveState().signingSeed;
  }

  get currentKeyEpoch(): number {
    return currentEpoch(this.#state);
  }

  /** Whether another data key would be refused. */
  get isFull(): boolean {
    return this.#state.dataKeys.length >= format.keyringEpochsMax;
  }

  /** Ascending; the last is the current one. */
  get keyEpochs(): readonly number[] {
    return this.#state.dataKeys.map(({ epoch }) => epoch);
  }

  get slots(): readonly LabelledSlot[] {
    return this.#state.slots.map((slot) => ({ ...slotInfo(slot), label: slot.label }));
  }

  /** Borrowed: see the invariants. */
  dataKey(epoch: number): Uint8Array {
    const found = this.#liveState().dataKeys.find((dataKey) => dataKey.epoch === epoch);
    if (found === undefined) throw epochMissing(epoch);
    return found.key;
  }

  /** The data keys taken over from other volumes. Borrowed. */
  get inherited(): readonly InheritedKey[] {
    return this.#liveState().inherited;
  }

  /** The data key of `epoch` of the volume `lineage`: this one or one that it took something over from. Borrowed. */
  keyOf(lineage: Uint8Array, epoch: number): Uint8Array {
    const state = this.#liveState();
    if (equalBytes(lineage, state.volumeId)) return this.dataKey(epoch);
    const found = state.inherited.find((one) => one.epoch === epoch && equalBytes(one.lineage, lineage));
    if (found === undefined) throw epochMissing(epoch);
    return found.key;
  }

  /** The bytes to store; a copy. */
  encode(): Uint8Array {
    this.#liveState();
    return copyOf(this.#encoded);
  }

  /** Adds a way in; returns the id of its slot, the lowest that is free. */
  async addSlot(source: KeySource, label = ''): Promise<number> {
    checkLabel(label);
    const state = this.#liveState();
    const { slots } = state;
    if (source.kind === 'none' || slots.some((slot) => slot.kind === 'none')) throw noneBesideOthers();
    if (slots.length >= format.keyringSlotsMax) throw slotsFull(format.keyringSlotsMax, 'slots');
    refuseFullPassphrases(source, slots);
    const id = lowestFreeId(slots);
    const slot = await enrollSlot(state, id, source, label);
    this.#change(state, { slots: [...slots, slot].sort((left, right) => left.id - right.id) });
    return id;
  }

  /** Takes a way in away. What its secret already opened stays known to its holder: see `renew`. */
  removeSlot(id: number): void {
    const state = this.#liveState();
    const { slots } = state;
    requireSlot(slots, id);
    if (slots.length === 1) throw lastSlot(id);
    this.#change(state, { slots: slots.filter((slot) => slot.id !== id) });
  }

  /** Replaces a slot's secret, for example a passphrase; the label stays unless a new one is given. */
  async changeSlot(id: number, source: KeySource, label?: string): Promise<void> {
    const state = this.#liveState();
    const { slots } = state;
    const old = requireSlot(slots, id);
    const newLabel = label ?? old.label;
    checkLabel(newLabel);
    const others = slots.filter((slot) => slot.id !== id);
    if ((source.kind === 'none') !== (old.kind === 'none')) throw noneBesideOthers();
    refuseFullPassphrases(source, others);
    const slot = await enrollSlot(state, id, source, newLabel);
    this.#change(state, { slots: slots.map((other) => (other.id === id ? slot : other)) });
  }

  /**
   * A new keyring key with `source` as its only slot: shuts out whoever knows a removed secret and an
   * old copy of the keyring. The other slots are added again; data keys change by a rekey.
   */
  async renew(source: KeySource, label = ''): Promise<void> {
    checkLabel(label);
    const state = this.#liveState();
    const { slots, volumeId, random, keyringKey: oldKey } = state;
    if ((source.kind === 'none') !== slots.some((slot) => slot.kind === 'none')) throw noneBesideOthers();
    const keyringKey = copyOf(random.bytes(keyBytes));
    const slot = await enrollSlot({ volumeId, keyringKey, random }, 0, source, label);
    this.#change(state, { keyringKey, slots: [slot] });
    oldKey.fill(0);
  }

  /** Starts the next key epoch with a fresh data key; returns its number. */
  addDataKey(): number {
    const state = this.#liveState();
    const { dataKeys, random } = state;
    if (dataKeys.length >= format.keyringEpochsMax) throw epochsFull();
    const epoch = this.currentKeyEpoch + 1;
    this.#change(state, { dataKeys: [...dataKeys, { epoch, key: copyOf(random.bytes(keyBytes)) }] });
    return epoch;
  }

  /** Forgets a data key that nothing is sealed under any more, and zeroes it. Never the current one. */
  removeDataKey(epoch: number): void {
    const state = this.#liveState();
    const { dataKeys } = state;
    assert(epoch !== this.currentKeyEpoch, 'the current data key stays');
    const removed = dataKeys.find((dataKey) => dataKey.epoch === epoch);
    if (removed === undefined) throw epochMissing(epoch);
    this.#change(state, { dataKeys: dataKeys.filter((dataKey) => dataKey !== removed) });
    removed.key.fill(0);
  }

  /** Forgets the inherited keys that nothing is sealed under any more, and zeroes them. */
  removeInherited(unneeded: (key: InheritedKey) => boolean): void {
    const state = this.#liveState();
    const gone = state.inherited.filter(unneeded);
    if (gone.length === 0) return;
    this.#change(state, { inherited: state.inherited.filter((one) => !gone.includes(one)) });
    for (const { key } of gone) key.fill(0);
  }

  /** Zeroes every secret. Idempotent; the keyring is of no use afterwards. */
  wipe(): void {
    this.#live = false;
    this.#state.keyringKey.fill(0);
    this.#state.signingSeed.fill(0);
    for (const { key } of [...this.#state.dataKeys, ...this.#state.inherited]) key.fill(0);
  }

  /** The single place where a keyring changes: seals the new state, then takes it. `from` is what the change was made on. */
  #change(
    from: KeyringState,
    change: Partial<Pick<KeyringState, 'slots' | 'dataKeys' | 'inherited' | 'keyringKey'>>,
  ): void {
    if (this.#liveState() !== from) throw changedMeanwhile();
    const state = { ...from, ...change, generation: from.generation + 1 };
    this.#encoded = sealState(state);
    this.#state = state;
  }

  #liveState(): KeyringState {
    if (!this.#live) throw new CaissonError('closed', 'volume-closed', 'the keyring was wiped from memory');
    return this.#state;
  }
}

type WrapContext = Pick<KeyringState, 'volumeId' | 'keyringKey' | 'random'>;

async function enrollSlot(context: WrapContext, id: number, source: KeySource, label: string): Promise<Slot> {
  const { parameters, key } = await source.enroll({ volumeId: copyOf(context.volumeId) });
  const head = { id, kind: source.kind, parameters: copyOf(parameters) };
  const wrappingKey = slotWrappingKey(key, context.volumeId);
  const wrap = wrapBox(wrappingKey, format.wrapAdditional(context.volumeId, head), context.keyringKey, context.random);
  wrappingKey.fill(0);
  return { ...head, wrap, label };
}

async function findKeyringKey(decoded: EncodedKeyring, volumeId: Uint8Array, source: KeySource): Promise<Uint8Array> {
  const slots = decoded.slots.filter((slot) => slot.kind === source.kind);
  if (slots.length === 0) throw kindMissing(source, decoded);
  let refusal: CaissonError | undefined;
  for (const slot of slots) {
    try {
      const keyringKey = unwrapSlot(
        slot,
        await source.derive(slot.parameters, { volumeId: copyOf(volumeId) }),
        volumeId,
      );
      if (keyringKey !== undefined) return keyringKey;
    } catch (error) {
      if (!isSlotRefusal(error)) throw error;
      refusal ??= error;
    }
  }
  throw refusal ?? wrongKey(source);
}

/** Faults of one slot, which another slot may not have. Anything else ends the attempt. */
function isSlotRefusal(error: unknown): error is CaissonError {
  return (
    isCaissonError(error, 'key-parameters-weak') ||
    isCaissonError(error, 'format-invalid') ||
    isCaissonError(error, 'key-wrong')
  );
}

function unwrapSlot(slot: EncodedSlot, slotKey: Uint8Array, volumeId: Uint8Array): Uint8Array | undefined {
  const wrappingKey = slotWrappingKey(slotKey, volumeId);
  const keyringKey = unwrapBox(wrappingKey, format.wrapAdditional(volumeId, slot), slot.wrap);
  wrappingKey.fill(0);
  return keyringKey;
}

/** Wipes the slot key, which belongs to whoever asked the source for it. */
function slotWrappingKey(slotKey: Uint8Array, volumeId: Uint8Array): Uint8Array {
  assert(slotKey.length === keyBytes, 'a slot key has 32 bytes');
  const wrappingKey = deriveKey(slotKey, volumeId, keyLabel.keyringSlot);
  slotKey.fill(0);
  return wrappingKey;
}

function sealState(state: KeyringState): Uint8Array {
  const { volumeId, keyringKey, random, slots, dataKeys, inherited, generation, signingSeed } = state;
  const encodedSlots = format.encodeSlots(slots);
  const body = format.encodeBody({
    generation,
    signingSeed,
    dataKeys,
    inherited,
    labels: slots.map((slot) => slot.label),
  });
  const bodyKey = deriveKey(keyringKey, volumeId, keyLabel.keyringBody);
  const sealedBody = wrapBox(bodyKey, format.bodyAdditional(volumeId, encodedSlots), body, random);
  bodyKey.fill(0);
  body.fill(0);
  return format.joinKeyring(encodedSlots, sealedBody);
}

function openBody(decoded: EncodedKeyring, volumeId: Uint8Array, keyringKey: Uint8Array): KeyringBody | undefined {
  const bodyKey = deriveKey(keyringKey, volumeId, keyLabel.keyringBody);
  const additional = format.bodyAdditional(volumeId, format.encodeSlots(decoded.slots));
  const encodedBody = unwrapBox(bodyKey, additional, decoded.sealedBody);
  bodyKey.fill(0);
  if (encodedBody === undefined) return undefined;
  try {
    return format.decodeBody(encodedBody, decoded.slots.length);
  } finally {
    encodedBody.fill(0);
  }
}

function slotInfo(slot: EncodedSlot): SlotInfo {
  return { id: slot.id, kind: slot.kind, cost: costOf(slot) };
}

function costOf(slot: EncodedSlot): PassphraseCost | undefined {
  if (slot.kind !== 'passphrase') return undefined;
  try {
    const { memoryKibibytes, passes, parallelism } = parsePassphraseParameters(slot.parameters);
    return { memoryKibibytes, passes, parallelism };
  } catch {
    return undefined;
  }
}

function currentEpoch(state: KeyringState): number {
  const last = state.dataKeys.at(-1);
  assert(last !== undefined, 'a keyring has a data key');
  return last.epoch;
}

function lowestFreeId(slots: readonly Slot[]): number {
  let id = 0;
  while (slots.some((slot) => slot.id === id)) id++;
  return id;
}

function requireSlot(slots: readonly Slot[], id: number): Slot {
  const found = slots.find((slot) => slot.id === id);
  if (found !== undefined) return found;
  throw new CaissonError('invalid', 'key-slot-missing', `the keyring has no slot ${id}`, {
    remedy: `Name one of its slots: ${slots.map((slot) => slot.id).join(', ')}.`,
  });
}

function refuseFullPassphrases(source: KeySource, others: readonly Slot[]): void {
  if (source.kind !== 'passphrase') return;
  const count = others.filter((slot) => slot.kind === 'passphrase').length;
  if (count >= format.keyringPassphraseSlotsMax) throw slotsFull(format.keyringPassphraseSlotsMax, 'passphrase slots');
}

function checkLabel(label: string): void {
  const fault = format.labelFault(label);
  if (fault !== undefined) throw new CaissonError('invalid', 'argument-invalid', fault);
}

function copyOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}

function kindMissing(source: KeySource, decoded: EncodedKeyring): CaissonError {
  const kinds = [...new Set(decoded.slots.map((slot) => slot.kind))].join(', ');
  return new CaissonError('denied', 'key-slot-missing', `no slot of this volume opens with a ${source.kind}`, {
    remedy: `Open it with one of: ${kinds}.`,
  });
}

function wrongKey(source: KeySource): CaissonError {
  return new CaissonError('denied', 'key-wrong', `this ${source.kind} does not open the volume`, {
    remedy: 'Check that the secret belongs to this volume; a changed keyring looks the same as a wrong secret.',
  });
}

function tampered(): CaissonError {
  return new CaissonError(
    'integrity',
    'keyring-tampered',
    'the keyring was changed by somebody who does not hold its key',
    {
      remedy: 'Do not use this copy of the volume; restore it from one you trust.',
    },
  );
}

function changedMeanwhile(): CaissonError {
  return new CaissonError('transient', 'volume-busy', 'the keyring was changed by another request at the same time', {
    remedy: 'Look at its slots and try again.',
  });
}

function lastSlot(id: number): CaissonError {
  return new CaissonError('denied', 'key-slot-last', `slot ${id} is the only way into this volume`, {
    remedy: 'Add another slot first, or change this one.',
  });
}

function slotsFull(limit: number, what: string): CaissonError {
  return new CaissonError('full', 'key-slots-full', `a keyring holds at most ${limit} ${what}`, {
    remedy: 'Remove a slot first.',
  });
}

function noneBesideOthers(): CaissonError {
  return new CaissonError(
    'invalid',
    'argument-invalid',
    'a volume is either protected or not: the kind "none" stands alone',
    {
      remedy: 'Make a new volume with the protection you want and copy the data.',
    },
  );
}

function epochMissing(epoch: number): CaissonError {
  return new CaissonError('integrity', 'key-epoch-missing', `the keyring holds no data key of epoch ${epoch}`, {
    remedy: 'The keyring is older than the data, or the key was destroyed on purpose.',
    details: { epoch },
  });
}

function epochsFull(): CaissonError {
  return new CaissonError('full', 'key-epochs-full', `a keyring holds at most ${format.keyringEpochsMax} data keys`, {
    remedy: 'Let cleaning re-seal the data of old key epochs first.',
  });
}
