/**
 * How an operation reaches a volume: where this process holds it open, or in its store.
 *
 * Invariant: a volume that the host holds is used where it is, with no key asked; any other is opened under its
 * writer lock for the one operation and closed again, whatever happens.
 */
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { Credential, VolumeDetails } from '../admin/schema.ts';
import type { KeySource } from '../keys/key-source.ts';
import type { KeySlotInfo, PublicVolumeInfo, VerifyReport, Volume } from '../volume/volume-types.ts';
import { credentialOfEntry } from './credentials.ts';
import { isHashedEntry } from './hashed-entry.ts';
import type { OperationsContext } from './operations-context.ts';
import type { OpenEnvironment } from './parts.ts';
import { hashedRefusal, requireVolume } from './served-volume.ts';
import { bytesOfId, closing, detailsOf } from './volume-details.ts';
import type { HostedVolume, VolumeHost } from './volume-host.ts';
import type { VolumeEntry } from './volume-names.ts';

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
    act: (volume: Volume, entry: VolumeEntry) => Promise<Value>,
    readOnly = false,
  ): Promise<Value> {
    const entry = this.#context.names.find(name);
    if (isHashedEntry(entry)) throw hashedRefusal(name);
    const hosted = this.host?.get(name);
    if (hosted !== undefined) return act(requireVolume(name, hosted.volume), entry);
    const { parts } = this.#context;
    const keySource = await this.#keySource(name, entry, credential);
    return this.#withEnvironment(entry, async ({ environment }) => {
      const engine = await parts.engine();
      const volume = await engine.openVolume(environment, { volumeId: bytesOfId(entry.volumeId), keySource, readOnly });
      return closing(
        () => volume.close(),
        () => act(volume, entry),
      );
    });
  }

  async publicInfo(name: string): Promise<PublicVolumeInfo> {
    const entry = this.#context.names.find(name);
    const hosted = this.host?.get(name);
    if (hosted !== undefined) return requireVolume(name, hosted.volume).info();
    const engine = await this.#context.parts.engine();
    return this.#withEnvironment(entry, ({ environment }) =>
      engine.inspectVolume(environment, bytesOfId(entry.volumeId)),
    );
  }

  /** A hashed image has no keys. */
  async keySlots(name: string): Promise<readonly KeySlotInfo[]> {
    const entry = this.#context.names.find(name);
    return isHashedEntry(entry) ? [] : (await this.publicInfo(name)).keySlots;
  }

  async inspect(name: string, credential: Credential | undefined, unlock: boolean): Promise<VolumeDetails> {
    const found = this.#context.names.find(name);
    if (isHashedEntry(found)) return (await import('./hashed-volumes.ts')).inspectHashedVolume(this.#context, name, found);
    const isOpen = this.host?.get(name) !== undefined;
    if (isOpen || unlock) {
      return this.use(name, credential, async (volume, entry) => detailsOf(name, entry, volume.info(), isOpen), true);
    }
    return detailsOf(name, found, await this.publicInfo(name), false);
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
    const engine = await this.#context.parts.engine();
    const keySource = request.public ? undefined : await this.#keySource(name, entry, credential);
    return this.#withEnvironment(entry, async ({ environment }) =>
      plain(
        await engine.verifyVolume(environment, {
          volumeId: bytesOfId(entry.volumeId),
          ...(keySource === undefined ? {} : { keySource }),
          ...(onProgress === undefined ? {} : { onProgress }),
        }),
      ),
    );
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

  async #keySource(name: string, entry: VolumeEntry, credential: Credential | undefined): Promise<KeySource> {
    const { parts } = this.#context;
    return parts.keySource(credential ?? (await credentialOfEntry(parts, name, entry)));
  }

  async #withEnvironment<Value>(
    entry: VolumeEntry,
    act: (environment: OpenEnvironment) => Promise<Value>,
  ): Promise<Value> {
    const environment = await this.#context.parts.openEnvironment(entry.store, {
      create: false,
      log: this.#context.log,
    });
    return closing(
      () => environment.close(),
      () => act(environment),
    );
  }
}

/** The same report in arrays that a schema takes. */
function plain(report: VerifyReport): OperationResponse<'verifyVolume'> {
  return { ...report, orphans: [...report.orphans], findings: [...report.findings] };
}
