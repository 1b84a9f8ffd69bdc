/** How long anchors at brokers have been out of reach: what metrics and alerts look at, without loading any broker's code. */
import type { AnchorOutage } from '../anchor/broker-anchor.ts';

const sources: (() => AnchorOutage)[] = [];

export function onAnchorOutage(source: () => AnchorOutage): void {
  sources.push(source);
}

/** The worst of all, and what all together let go on. */
export function anchorOutage(): AnchorOutage {
  const outages = sources.map((source) => source());
  return {
    unreachableSeconds: Math.max(0, ...outages.map(({ unreachableSeconds }) => unreachableSeconds)),
    unanchoredVolumes: outages.reduce((sum, { unanchoredVolumes }) => sum + unanchoredVolumes, 0),
  };
}
