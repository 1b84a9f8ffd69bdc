/**
 * How an operation reaches a volume: where this process holds it open, or in its store.
 *
 * Invariant: a volume that the host holds is used where it is, with no key asked; any other is opened under its
 * writer lock for the one operation and closed again, whatever happens.
 */
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { Credential, VolumeDetails } from '../admin/schema.ts';
import type { KeySource } from '../keys/key-source.ts';
import { CaissonError } from '../lib/errors.ts';
import type {
  EraseReceipt,
  InspectedVolume,
  KeySlotInfo,
  VerifyReport,
  Volume,
  VolumeEnvironment,
} from '../volume/volume-types.ts';
import { credentialOfEntry } from './credentials.ts';
import { isHashedEntry } from './hashed-entry.ts';
import type { OperationsContext } from './operations-context.ts';
import type { Engine, OpenEnvironment } from './parts.ts';
import { answerOf, lineageOf } from './relatives.ts';
import { hashedRefusal, requireVolume } from './served-volume.ts';
import { bytesOfId, closing, detailsOf, spaceOf, receiptAnswer } from './volume-details.ts';
import type { HostedVolume, VolumeHost } from './volume-host.ts';
import type { VolumeEntry } from './volume-names.ts';

export interface StorePlace {
  readonly engine: Engine;
  readonly environment: VolumeEnvironment;
  readonly volumeId: Uint8Array;
}

export class VolumeAccess {
  readonly #context: OperationsContext;

  constructor(context: OperationsContext) {
    this.#context = context;
  }

  get host(): VolumeHost | undefined {
    return this.#context.daemon?.host;
  }

  async use<Value>(
    name: string,
    credential: Credential | undefined,
    act: (volume: Volume, entry: VolumeEntry, opened: OpenEnvironment) => Promise<Value>,
    readOnly = false,
  ): Promise<Value> {
    const entry = await this.settled(name);
    const hosted = this.host?.get(name);
    if (hosted !== undefined) return act(requireVolume(name, hosted.volume), entry, hosted.environment);
    const { parts } = this.#context;
    const keySource = await this.keySource(name, credential);
    return this.#withEnvironment(entry, async (opened) => {
      const engine = await parts.engine();
      const options = { volumeId: bytesOfId(entry.volumeId), keySource, readOnly };
      const volume = await engine.openVolume(opened.environment, options);
      return closing(
        () => volume.close(),
        () => act(volume, entry, opened),
      );
    });
  }

  /** The volume where this process holds it open. */
  hosted(name: string): Volume | undefined {
    this.#find(name);
    const hosted = this.host?.get(name);
    return hosted === undefined ? undefined : requireVolume(name, hosted.volume);
  }

  /** For what reads the store beside a writer, or sees to its lock itself. */
  async withStore<Value>(name: string, act: (place: StorePlace) => Promise<Value>): Promise<Value> {
    const entry = await this.settled(name);
    const engine = await this.#context.parts.engine();
    return this.#withEnvironment(entry, ({ environment }) =>
      act({ engine, environment, volumeId: bytesOfId(entry.volumeId) }),
    );
  }

  /** For what takes the content away from under whoever uses it; `done` as in "it cannot be restored". */
  refuseOpen(name: string, done: string): void {
    const held = this.host?.namesOf(this.#find(name).volumeId).find((other) => !other.includes('@'));
    if (held !== undefined) throw this.#heldHere(held, `cannot be ${done}`);
  }

  /** As `refuseOpen`, also for exports of its snapshots. */
  refuseHeld(name: string, done: string): void {
    const [held] = this.host?.namesOf(this.#context.names.findAny(name).volumeId) ?? [];
    if (held !== undefined) throw this.#heldHere(held, `${held === name ? '' : `${name} `}cannot be ${done}`);
  }

  /** What only reads beside a writer, and would lose what it reads. */
  refuseSnapshotsHeld(name: string, done: string): void {
    const held = this.host?.namesOf(this.#find(name).volumeId).find((other) => other.includes('@'));
    if (held !== undefined) throw this.#heldHere(held, `${name} cannot be ${done}`);
  }

  /** The entry of a volume, with the store that it is in even where a move of it was interrupted. */
  async settled(name: string): Promise<VolumeEntry> {
    const entry = this.#find(name);
    if (entry.move === undefined || this.host?.get(name) !== undefined) return entry;
    return (await import('./settle-move.ts')).settleMove(this.#context, name, entry);
  }

  async publicInfo(name: string): Promise<InspectedVolume> {
    return this.withStore(name, ({ engine, environment, volumeId }) => engine.inspectVolume(environment, volumeId));
  }

  /** A hashed image has no keys. */
  async keySlots(name: string): Promise<readonly KeySlotInfo[]> {
    if (isHashedEntry(this.#context.names.find(name))) return [];
    return (this.hosted(name)?.info() ?? (await this.publicInfo(name))).keySlots;
  }

  async inspect(name: string, credential: Credential | undefined, unlock: boolean): Promise<VolumeDetails> {
    const found = this.#context.names.find(name);
    if (isHashedEntry(found))
      return (await import('./hashed-volumes.ts')).inspectHashedVolume(this.#context, name, found);
    const { names } = this.#context;
    const isOpen = this.host?.get(name) !== undefined;
    const info = await this.publicInfo(name);
    const lineage = lineageOf(names, info);
    if (!isOpen && !unlock) return { ...detailsOf(name, found, info, false), lineage };
    const look = async (volume: Volume, entry: VolumeEntry): Promise<VolumeDetails> => ({
      ...detailsOf(name, entry, volume.info(), isOpen),
      lineage,
      snapshots: volume.snapshots().map((snapshot) => answerOf(names, snapshot)),
      space: spaceOf(volume),
    });
    return this.use(name, credential, look, true);
  }

  async verify(
    request: OperationRequest<'verifyVolume'>,
    onProgress: OperationProgress | undefined,
  ): Promise<OperationResponse<'verifyVolume'>> {
    const { name, credential } = request;
    const entry = this.#context.names.find(name);
    if (isHashedEntry(entry)) {
      return (await import('./hashed-volumes.ts')).verifyHashedVolume(this.#context, name, entry, onProgress);
    }
    const hosted = this.host?.get(name);
    if (hosted !== undefined) return plain(await this.#verifyOpen(hosted, request.public, onProgress));
    return this.withStore(name, async ({ engine, environment, volumeId }) => {
      const receipt = await readableReceipt(() => engine.readReceipt(environment, volumeId));
      // Of an erased volume everything is public.
      const isPublic = request.public || receipt !== undefined;
      const report = await engine.verifyVolume(environment, {
        volumeId,
        ...(isPublic ? {} : { keySource: await this.keySource(name, credential) }),
        ...(onProgress === undefined ? {} : { onProgress }),
      });
      return { ...plain(report), ...(receipt === undefined ? {} : { receipt: receiptAnswer(receipt) }) };
    });
  }

  /** What is still in the spool is not yet named by a manifest: published first, then all that is published is checked. */
  async #verifyOpen(
    hosted: HostedVolume,
    isPublic: boolean,
    onProgress: OperationProgress | undefined,
  ): Promise<VerifyReport> {
    const { name, environment } = hosted;
    const volume = requireVolume(name, hosted.volume);
    const engine = await this.#context.parts.engine();
    if (!volume.readOnly) await volume.checkpoint();
    const report = await engine.verifyVolume(environment.environment, {
      volumeId: bytesOfId(volume.id),
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    return isPublic ? report : engine.verifyBlocks(volume, report, onProgress);
  }

  async keySource(name: string, credential: Credential | undefined): Promise<KeySource> {
    const { parts } = this.#context;
    return parts.keySource(credential ?? (await credentialOfEntry(parts, name, this.#find(name))));
  }

  /** A volume that has keys and states. */
  #find(name: string): VolumeEntry {
    const entry = this.#context.names.find(name);
    if (isHashedEntry(entry)) throw hashedRefusal(name);
    return entry;
  }

  #heldHere(held: string, cannot: string): CaissonError {
    const directory = this.#context.daemon?.mountedOn(held);
    const where = directory === undefined ? 'open in the daemon' : `mounted on ${directory}`;
    const [what, command] = directory === undefined ? ['Close', 'detach'] : ['Unmount', 'umount'];
    return new CaissonError('fenced', 'volume-busy', `${held} is ${where}: ${cannot}`, {
      remedy: `${what} it first with "caisson ${command} ${held}".`,
      details: { name: held },
    });
  }

  async #withEnvironment<Value>(
    entry: VolumeEntry,
    act: (environment: OpenEnvironment) => Promise<Value>,
  ): Promise<Value> {
    const { parts, log } = this.#context;
    const shared = this.host?.environments;
    const environment =
      shared?.has(entry.store) === true
        ? await shared.use(entry.store)
        : await parts.openEnvironment(entry.store, { create: false, log });
    return closing(
      () => environment.close(),
      () => act(environment),
    );
  }
}

/** What cannot be read is a finding of the verification, not its end. */
async function readableReceipt(read: () => Promise<EraseReceipt | undefined>): Promise<EraseReceipt | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof CaissonError && error.kind === 'integrity') return undefined;
    throw error;
  }
}

/** The same report in arrays that a schema takes. */
function plain(report: VerifyReport): OperationResponse<'verifyVolume'> {
  return { ...report, orphans: [...report.orphans], findings: [...report.findings] };
}
