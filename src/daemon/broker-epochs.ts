/** Which broker keeps the capability epoch of a volume, and asking it (spec/broker-http.md, "Sessions"). */
import type { AccessHold } from '../broker-client/shared-accesses.ts';
import { systemRandom } from '../crypto/random.ts';
import { patientClock, systemClock } from '../lib/clock.ts';
import type { Folders } from '../lib/folders.ts';
import { parseKeyUrl } from '../keys/key-url.ts';
import { CapabilityEpochs } from './capability-epochs.ts';
import { JoinedEpochs } from './joined-epochs.ts';
import type { AskBroker } from './joined-epochs.ts';
import type { VolumeNames } from './volume-names.ts';

/** One for each place, for as long as the process lives: a session serves until it ends, not for one question. */
const holds = new Map<string, AccessHold>();

export function openEpochs(folders: Folders, names: Pick<VolumeNames, 'list'>): JoinedEpochs {
  /** A volume that loses its name while it is open keeps its broker. */
  const urls = new Map<string, string>();
  const brokerOf = (volumeId: string): AskBroker | undefined => {
    const entry = [...names.list().values()].find((one) => one.volumeId === volumeId);
    const url = entry === undefined ? urls.get(volumeId) : brokerUrlOf(entry);
    if (url === undefined) return undefined;
    urls.set(volumeId, url);
    return (id, atLeast) => ask(url, id, atLeast);
  };
  return new JoinedEpochs({ files: new CapabilityEpochs(folders), brokerOf, clock: systemClock });
}

/** That of the anchor, which belongs to one key for good, before that of the key. */
export function brokerUrlOf(entry: {
  readonly anchor?: string;
  readonly key: { readonly url?: string | undefined };
}): string | undefined {
  return [entry.anchor, entry.key.url].find((url) => url?.startsWith('broker:'));
}

async function ask(url: string, volumeId: string, atLeast: number): Promise<number> {
  const [{ holdBrokerAccess }, { workloadOperations }] = await Promise.all([
    import('../keys/broker-url.ts'),
    import('../wire/broker-schema.ts'),
  ]);
  const context = { clock: patientClock, random: systemRandom, environment: process.env };
  const hold = holds.get(url) ?? holdBrokerAccess(parseKeyUrl(url), context);
  holds.set(url, hold);
  const { path, answer } = workloadOperations.capabilityEpoch;
  return (await hold.access.ask(path, { volumeId, atLeast }, answer, true)).epoch;
}
