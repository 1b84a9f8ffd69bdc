/**
 * The text of `/metrics`. The counters live in the engine, where counting costs nothing; they are
 * read when somebody asks, by `collect()`, and never kept twice.
 */
import { Counter, Gauge, Registry } from '@prometheus-io/client';
import type { StoreCounts } from '../store/store-counts.ts';
import type { HousekeepingStats, VolumeStats } from '../volume/volume-types.ts';
import { anchorOutage } from './anchor-outages.ts';
import { isHashed, stateOf } from './served-volume.ts';
import { registerStoreMetrics } from './store-metrics.ts';
import type { HostedVolume, VolumeHost } from './volume-host.ts';

interface Described<Source> {
  readonly name: string;
  readonly help: string;
  readonly read: (source: Source) => number;
}

const counters: readonly Described<VolumeStats>[] = [
  { name: 'reads', help: 'Read requests served', read: (stats) => stats.reads },
  { name: 'writes', help: 'Write requests served', read: (stats) => stats.writes },
  { name: 'flushes', help: 'Flush requests served', read: (stats) => stats.flushes },
  { name: 'trims', help: 'Trim requests served', read: (stats) => stats.trims },
  { name: 'read_bytes', help: 'Bytes that clients read', read: (stats) => stats.bytesRead },
  { name: 'written_bytes', help: 'Bytes that clients wrote', read: (stats) => stats.bytesWritten },
  {
    name: 'sealed_bytes',
    help: 'Bytes written to the spool, headers and tags included',
    read: (stats) => stats.bytesSealed,
  },
  { name: 'syncs', help: 'Syncs of the spool to its medium', read: (stats) => stats.syncs },
  { name: 'checkpoints', help: 'Manifests published', read: (stats) => stats.checkpoints },
  { name: 'anchor_advances', help: 'Times the anchor moved forward', read: (stats) => stats.anchorAdvances },
  {
    name: 'map_leaves_loaded',
    help: 'Leaves of the block map read back from the store',
    read: (stats) => stats.mapLeavesLoaded,
  },
];

/** Of volumes that clean themselves; a hashed image has nothing to clean. */
const spaces: readonly Described<HousekeepingStats>[] = [
  { name: 'live_bytes', help: 'Data that the newest state holds', read: (space) => space.liveBytes },
  { name: 'dead_bytes', help: 'Garbage that cleaning can give back', read: (space) => space.deadBytes },
  { name: 'pinned_bytes', help: 'Kept for snapshots and clones alone', read: (space) => space.pinnedBytes },
  { name: 'cleaned_bytes', help: 'Segments that cleaning gave up', read: (space) => space.cleanedBytes },
  { name: 'copied_bytes', help: 'Data that cleaning sealed anew', read: (space) => space.copiedBytes },
  { name: 'cleaned_segments', help: 'Segments that cleaning gave up', read: (space) => space.segmentsCleaned },
  {
    name: 'rekey_left_bytes',
    help: 'Still sealed under an older key than it should be',
    read: (space) => space.rekey?.bytesLeft ?? 0,
  },
];

const gauges: readonly Described<HostedVolume>[] = [
  { name: 'size_bytes', help: 'Size of the volume', read: ({ volume }) => volume.size },
  {
    name: 'spool_bytes',
    help: 'Written and not yet named by a manifest',
    read: ({ volume }) => stateOf(volume).spoolBytes,
  },
  {
    name: 'map_resident_bytes',
    help: 'Memory that the block map takes',
    read: ({ volume }) => stateOf(volume).stats.mapBytesResident,
  },
  {
    name: 'unanchored_records',
    help: 'Records that the anchor does not yet cover',
    read: ({ volume }) => stateOf(volume).stats.unanchoredRecords,
  },
  { name: 'epoch', help: 'Writer epoch of the open volume', read: ({ volume }) => stateOf(volume).epoch },
  {
    name: 'latched',
    help: '1 once a sync failed and the volume takes no more writes',
    read: ({ volume }) => (stateOf(volume).latched === undefined ? 0 : 1),
  },
];

export function createMetrics(host: VolumeHost, storeCounts: StoreCounts): () => Promise<string> {
  const registry = new Registry();
  const labelNames = ['volume'] as const;
  for (const { name, help, read } of counters) {
    const counter: Counter<'volume'> = new Counter({
      name: `caisson_volume_${name}_total`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        counter.reset();
        for (const { name: volume, volume: opened } of host.list())
          counter.inc({ volume }, read(stateOf(opened).stats));
      },
    });
  }
  for (const { name, help, read } of gauges) {
    const gauge: Gauge<'volume'> = new Gauge({
      name: `caisson_volume_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        gauge.reset();
        for (const hosted of host.list()) gauge.set({ volume: hosted.name }, read(hosted));
      },
    });
  }
  for (const { name, help, read } of spaces) {
    const gauge: Gauge<'volume'> = new Gauge({
      name: `caisson_volume_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        gauge.reset();
        for (const { name: label, volume } of host.list())
          if (!isHashed(volume)) gauge.set({ volume: label }, read(volume.housekeeping()));
      },
    });
  }
  registerStoreMetrics(registry, storeCounts);
  const resident: Gauge = new Gauge({
    name: 'caisson_process_resident_bytes',
    help: 'Resident memory of the daemon',
    registers: [registry],
    collect: () => resident.set(process.memoryUsage.rss()),
  });
  const volumes: Gauge = new Gauge({
    name: 'caisson_volumes_open',
    help: 'Volumes that the daemon holds open',
    registers: [registry],
    collect: () => volumes.set(host.list().length),
  });
  const unreachable: Gauge = new Gauge({
    name: 'caisson_anchor_unreachable_seconds',
    help: 'Since no broker that keeps an anchor has answered; 0 while all do',
    registers: [registry],
    collect: () => unreachable.set(anchorOutage().unreachableSeconds),
  });
  const unanchored: Gauge = new Gauge({
    name: 'caisson_anchor_unanchored_volumes',
    help: 'Volumes that go on by their policy while no broker holds their newest state',
    registers: [registry],
    collect: () => unanchored.set(anchorOutage().unanchoredVolumes),
  });
  return () => registry.metrics();
}
