/**
 * What a daemon serves to holders of capabilities (spec/capability-format.md, section 6): the parts of its open volumes, each
 * under a name that only its holder is told, on an NBD socket of their own.
 *
 * Invariants:
 * - A part is served only after its token and the proof of its holder were verified, and from a `BoundedDevice` alone.
 * - It ends when the token ends, when the volume's epoch rises and before the volume is closed; from then on every
 *   request fails, also on connections that are open.
 * - However many tokens one first holder makes by narrowing, parts for others remain.
 */
import type { CapabilityRequest, CapabilityResponse } from '../admin/capability-socket.ts';
import { BoundedDevice } from '../export/bounded-device.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import * as limits from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { capabilityFromText } from '../wire/capability-format.ts';
import { describeGrant, inspectCapability, verifyCapability } from '../wire/capability.ts';
import type { VerifiedCapability } from '../wire/capability.ts';
import { CapabilityChallenges } from './capability-challenges.ts';
import type { CapabilityEpochs } from './capability-epochs.ts';
import type { NbdListener } from './parts.ts';
import { isHashed } from './served-volume.ts';
import type { HostedVolume, VolumeHost } from './volume-host.ts';

export interface CapabilityExportsOptions {
  readonly host: Pick<VolumeHost, 'served' | 'beforeClosing'>;
  readonly epochs: Pick<CapabilityEpochs, 'of'>;
  readonly listener: Pick<NbdListener, 'add' | 'remove' | 'close'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: VolumeLog;
}

interface ServedPart {
  readonly name: string;
  readonly device: BoundedDevice;
  readonly capability: VerifiedCapability;
  readonly hosted: HostedVolume;
  /** To whom the volume itself granted; whoever got it from there counts as that one. */
  readonly firstHolder: string;
}

export class CapabilityExports {
  readonly #options: CapabilityExportsOptions;
  readonly #challenges: CapabilityChallenges;
  /** By the id of the token: who shows it again gets the same. */
  readonly #parts = new Map<string, ServedPart>();
  #cancelCheck: () => void = () => undefined;
  readonly #stopWatching: () => void;

  constructor(options: CapabilityExportsOptions) {
    this.#options = options;
    this.#challenges = new CapabilityChallenges(options.clock, options.random);
    this.#stopWatching = options.host.beforeClosing((hosted) =>
      this.#endAll(
        (part) => part.hosted === hosted || part.hosted.volume === hosted.volume,
        () => closed(),
      ),
    );
  }

  challenge(): CapabilityResponse<'challenge'> {
    return { challenge: toHex(this.#challenges.give()) };
  }

  open({ token: text, challenge, signature }: CapabilityRequest<'open'>): CapabilityResponse<'open'> {
    const token = capabilityFromText(text);
    const proof = { challenge: bytesOf(challenge), signature: bytesOf(signature) };
    this.#challenges.check(proof.challenge);
    const { volumeId, grants } = inspectCapability(token);
    const { clock, epochs, host } = this.#options;
    const epoch = epochs.of(toHex(volumeId));
    const capability = verifyCapability(token, { volumeId, now: clock.wall(), epoch, proof });
    this.#challenges.use(proof.challenge);
    const id = toHex(capability.id);
    const firstHolder = toHex(grants[0].holder);
    const hosted = host.served(toHex(volumeId));
    if (hosted === undefined || isHashed(hosted.volume)) throw notServed();
    const part = this.#parts.get(id) ?? this.#serve(id, capability, hosted, firstHolder);
    const { rights, expiresAt } = capability;
    return { export: part.name, size: part.device.size, rights: [...rights], expiresAt };
  }

  /** Ends what holds no longer; the number of them. */
  check(): number {
    const { clock, epochs } = this.#options;
    const now = clock.wall();
    const ending = [...this.#parts].flatMap(([id, part]) => {
      const reason = endOf(part.capability, now, epochs);
      return reason === undefined ? [] : [{ id, part, reason }];
    });
    for (const { id, part, reason } of ending) {
      this.#end(id, part, reason).catch((error: unknown) => this.#options.log('warn', 'a part did not end', { error }));
    }
    this.#scheduleCheck();
    return ending.length;
  }

  async close(): Promise<void> {
    this.#stopWatching();
    await this.#endAll(() => true, closed);
    this.#cancelCheck();
    await this.#options.listener.close();
  }

  #serve(id: string, capability: VerifiedCapability, hosted: HostedVolume, firstHolder: string): ServedPart {
    const { base, length, rights } = capability;
    if (base >= hosted.volume.size) throw beyondVolume(base, hosted.volume.size);
    const ofHolder = [...this.#parts.values()].filter((part) => part.firstHolder === firstHolder).length;
    if (this.#parts.size >= limits.capabilityExportsMax || ofHolder >= limits.capabilityExportsPerHolderMax)
      throw new CaissonError('full', 'limit-exceeded', 'too many parts of volumes are served', {
        remedy: 'Wait until one of them expires.',
        details: { served: this.#parts.size, servedOfHolder: ofHolder },
      });
    const device = new BoundedDevice(hosted.volume, {
      base,
      length,
      mayRead: rights.has('read'),
      mayWrite: rights.has('write'),
      mayTrim: rights.has('trim'),
      mayResize: false,
    });
    const name = toHex(this.#options.random.bytes(16));
    this.#options.listener.add(name, device, { isHidden: true });
    const part = { name, device, capability, hosted, firstHolder };
    this.#parts.set(id, part);
    // The name of the export is what only the holder knows, so it is not logged.
    this.#options.log('info', 'part opened', { volume: hosted.name, capability: id, grant: describeGrant(capability) });
    this.#scheduleCheck();
    return part;
  }

  async #endAll(chosen: (part: ServedPart) => boolean, reason: () => CaissonError): Promise<void> {
    const ending = [...this.#parts].filter(([, part]) => chosen(part));
    await Promise.all(ending.map(([id, part]) => this.#end(id, part, reason())));
  }

  async #end(id: string, part: ServedPart, reason: CaissonError): Promise<void> {
    part.device.end(reason);
    this.#parts.delete(id);
    this.#options.log('info', 'part ended', { volume: part.hosted.name, capability: id, reason: reason.message });
    await this.#options.listener.remove(part.name);
  }

  /** A clock of the system may be set: however far the next end is, it is looked at now and then. */
  #scheduleCheck(): void {
    this.#cancelCheck();
    if (this.#parts.size === 0) return;
    const { clock } = this.#options;
    const now = clock.wall();
    const ends = [...this.#parts.values()].map(({ capability }) => capability.expiresAt - now);
    const wait = Math.max(0, Math.min(limits.capabilityCheckMilliseconds, ...ends));
    this.#cancelCheck = clock.after(wait, () => this.check());
  }
}

/** Why it holds no longer, if so; where the epoch cannot be read nothing holds. */
function endOf(
  { expiresAt, volumeId, epoch }: VerifiedCapability,
  now: number,
  epochs: Pick<CapabilityEpochs, 'of'>,
): CaissonError | undefined {
  if (now >= expiresAt) return new CaissonError('denied', 'capability-refused', 'the capability has expired');
  try {
    if (epochs.of(toHex(volumeId)) === epoch) return undefined;
  } catch (cause) {
    return new CaissonError('denied', 'capability-refused', 'whether the capability was revoked is not known', {
      cause,
    });
  }
  return new CaissonError('denied', 'capability-refused', 'the capability was revoked');
}

function bytesOf(hex: string): Uint8Array {
  return fromHex(hex, hex.length / 2) ?? new Uint8Array();
}

function closed(): CaissonError {
  return new CaissonError('closed', 'volume-closed', 'the volume is being closed');
}

function notServed(): CaissonError {
  return new CaissonError('transient', 'volume-missing', 'the volume of this capability is not served here', {
    remedy: 'Ask whoever runs the daemon to serve it.',
  });
}

function beyondVolume(base: number, size: number): CaissonError {
  return new CaissonError('denied', 'capability-refused', 'the volume ends before the part begins', {
    remedy: 'Ask whoever gave the capability for another part.',
    details: { base, size },
  });
}
