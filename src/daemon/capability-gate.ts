/**
 * Lets holders of capabilities in: whoever gets past it holds a token that holds here and now, and meant what is about
 * to be done (spec/capability-format.md, sections 5 and 6).
 *
 * Invariants: nothing is asked of a broker, and no challenge is used up, for whoever cannot prove to be the holder; the
 * epoch is looked at last, as new as it can be had.
 */
import type { CapabilityRequest, CapabilityResponse } from '../admin/capability-socket.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import type { Random } from '../lib/random.ts';
import type { Volume } from '../volume/volume-types.ts';
import { actStatement } from '../wire/capability-act.ts';
import type { CapabilityAct } from '../wire/capability-act.ts';
import { capabilityFromText } from '../wire/capability-format.ts';
import type { CapabilityRight } from '../wire/capability-format.ts';
import { checkEpoch, checkTime, inspectCapability, requireRight, verifyCapability } from '../wire/capability.ts';
import type { VerifiedCapability } from '../wire/capability.ts';
import { CapabilityChallenges } from './capability-challenges.ts';
import { isHashed } from './served-volume.ts';
import type { HostedVolume, VolumeHost } from './volume-host.ts';

/** The capability epochs of volumes, as new as `refresh` made them. */
export interface EpochView {
  /** Throws where it is not known. */
  of(volumeId: string): number;
  refresh(volumeId: string): Promise<void>;
}

export interface CapabilityGateOptions {
  readonly host: Pick<VolumeHost, 'served'>;
  readonly epochs: EpochView;
  readonly clock: Clock;
  readonly random: Random;
}

export interface Admitted {
  readonly capability: VerifiedCapability;
  /** To whom the volume itself granted; whoever got it from there counts as that one. */
  readonly firstHolder: string;
}

/** What is asked for, where it is not just the part. */
export interface Meant {
  readonly act: CapabilityAct;
  readonly argument?: string;
  readonly rights: readonly CapabilityRight[];
}

export class CapabilityGate {
  readonly #options: CapabilityGateOptions;
  readonly #challenges: CapabilityChallenges;

  constructor(options: CapabilityGateOptions) {
    this.#options = options;
    this.#challenges = new CapabilityChallenges(options.clock, options.random);
  }

  challenge(): CapabilityResponse<'challenge'> {
    return { challenge: toHex(this.#challenges.give()) };
  }

  async admit(shown: CapabilityRequest<'open'>, meant?: Meant): Promise<Admitted> {
    const token = capabilityFromText(shown.token);
    const challenge = bytesOf(shown.challenge);
    this.#challenges.check(challenge);
    const signed = meant === undefined ? challenge : actStatement(meant.act, meant.argument ?? '', challenge);
    const proof = { challenge: signed, signature: bytesOf(shown.signature) };
    const { volumeId, grants, epoch } = inspectCapability(token);
    const now = this.#options.clock.wall();
    // Its own epoch for now: the volume's is looked at below.
    const capability = verifyCapability(token, { volumeId, now, epoch, proof });
    this.#challenges.use(challenge);
    await this.#options.epochs.refresh(toHex(volumeId));
    this.mustHold(capability);
    for (const right of meant?.rights ?? []) requireRight(capability, right);
    return { capability, firstHolder: toHex(grants[0].holder) };
  }

  /** Throws where it holds no longer, or nobody can say. */
  mustHold(capability: VerifiedCapability): void {
    const { clock, epochs } = this.#options;
    checkTime(capability, clock.wall());
    checkEpoch(capability, epochs.of(toHex(capability.volumeId)));
  }

  /** The volume itself, where it is open here. */
  served({ volumeId }: VerifiedCapability): { readonly hosted: HostedVolume; readonly volume: Volume } {
    const hosted = this.#options.host.served(toHex(volumeId));
    if (hosted === undefined || isHashed(hosted.volume)) throw notServed();
    return { hosted, volume: hosted.volume };
  }
}

function bytesOf(hex: string): Uint8Array {
  return fromHex(hex, hex.length / 2) ?? new Uint8Array();
}

function notServed(): CaissonError {
  return new CaissonError('transient', 'volume-missing', 'the volume of this capability is not served here', {
    remedy: 'Ask whoever runs the daemon to serve it.',
  });
}
