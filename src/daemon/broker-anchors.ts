/** The anchors of this process that are kept by brokers, for the volumes and for the metrics. */
import { BrokerAnchor } from '../anchor/broker-anchor.ts';
import type { AnchorOutage } from '../anchor/broker-anchor.ts';
import { systemRandom } from '../crypto/random.ts';
import { holdBrokerAccess } from '../keys/broker-url.ts';
import type { KeyUrl } from '../keys/key-url.ts';
import { patientClock } from '../lib/clock.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { onAnchorOutage } from './anchor-outages.ts';

/** One for each place, for as long as the process lives: its session serves whichever volume comes next. */
const anchors = new Map<string, BrokerAnchor>();

export function openBrokerAnchor(url: KeyUrl, log: VolumeLog | undefined): BrokerAnchor {
  const known = anchors.get(url.text);
  if (known !== undefined) return known;
  const { access } = holdBrokerAccess(url, { clock: patientClock, random: systemRandom, environment: process.env });
  const anchor: BrokerAnchor = new BrokerAnchor({
    ...{ access, clock: patientClock },
    onOutage: (message, details) => log?.('warn', message, { ...details, broker: url.body }),
  });
  anchors.set(url.text, anchor);
  onAnchorOutage((): AnchorOutage => anchor.outage);
  return anchor;
}
