/** The part of `/metrics` that is about stores on other machines and the read cache in front of them. */
import { Counter, Gauge, type Registry } from '@prometheus-io/client';
import { latencyMilliseconds, requestOutcomes, storeOperations } from '../store/store-counts.ts';
import type { OperationCounts, ReadCacheCounts, StoreCounts, StoreTraffic } from '../store/store-counts.ts';
import { requestsOf } from './store-summaries.ts';

type Labels = Readonly<Record<string, string>>;
type Read<Source> = (source: Source) => number;

const traffic: readonly (readonly [name: string, help: string, read: Read<StoreTraffic>])[] = [
  ['retries', 'Requests that were made once more', ({ retries }) => retries],
  ['sent_bytes', 'Bytes of bodies sent, also in vain', ({ sentBytes }) => sentBytes],
  ['received_bytes', 'Bytes of bodies received, also of answers cut off', ({ receivedBytes }) => receivedBytes],
];

const cacheCounters: readonly (readonly [name: string, help: string, read: Read<ReadCacheCounts>])[] = [
  ['hits', 'Reads of a piece that the cache answered', ({ hits }) => hits],
  ['misses', 'Reads of a piece that waited for the store', ({ misses }) => misses],
  ['evictions', 'Pieces that made room for others', ({ evictions }) => evictions],
];

const cacheGauges: readonly (readonly [name: string, help: string, read: Read<ReadCacheCounts>])[] = [
  ['held_bytes', 'Disk that pieces in the cache take', ({ heldBytes }) => heldBytes],
  ['bytes_max', 'The most that they may take; 0 before the first such store is opened', ({ bytesMax }) => bytesMax],
];

export function registerStoreMetrics(registry: Registry, counts: StoreCounts): void {
  const requests: Counter<'store' | 'operation' | 'outcome'> = new Counter({
    name: 'caisson_store_requests_total',
    help: 'Requests to a store on another machine that ended, by how they ended',
    labelNames: ['store', 'operation', 'outcome'] as const,
    registers: [registry],
    collect() {
      requests.reset();
      for (const { store, operation, counted } of operationsOf(counts))
        for (const outcome of requestOutcomes) requests.inc({ store, operation, outcome }, counted.outcomes[outcome]);
    },
  });
  for (const [name, help, read] of traffic) {
    const counter: Counter<'store'> = new Counter({
      name: `caisson_store_${name}_total`,
      help,
      labelNames: ['store'] as const,
      registers: [registry],
      collect() {
        counter.reset();
        for (const [store, each] of counts.traffic()) counter.inc({ store }, read(each));
      },
    });
  }
  registerLatencies(registry, counts);
  for (const [name, help, read] of cacheCounters) {
    const counter: Counter = new Counter({
      name: `caisson_read_cache_${name}_total`,
      help,
      registers: [registry],
      collect() {
        counter.reset();
        counter.inc(read(counts.readCache));
      },
    });
  }
  for (const [name, help, read] of cacheGauges) {
    const gauge: Gauge = new Gauge({
      name: `caisson_read_cache_${name}`,
      help,
      registers: [registry],
      collect: () => gauge.set(read(counts.readCache)),
    });
  }
}

/** The library's own histogram counts while requests are made; this one shows what was counted already. */
function registerLatencies(registry: Registry, counts: StoreCounts): void {
  const name = 'caisson_store_request_seconds';
  const help = 'How long requests took, to the last byte of the answer';
  const get = async (): Promise<object> => ({
    ...{ name, help, type: 'histogram', aggregator: 'sum' },
    values: operationsOf(counts).flatMap(({ store, operation, counted }) =>
      linesOf(name, { store, operation }, counted),
    ),
  });
  registry.registerMetric({ name, get } as unknown as Counter);
}

function linesOf(name: string, labels: Labels, { latencies, milliseconds }: OperationCounts): object[] {
  let count = 0;
  const buckets = latencies.map((inBucket, index) => {
    count += inBucket;
    const bound = latencyMilliseconds[index];
    const le = bound === undefined ? '+Inf' : String(bound / 1000);
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: milliseconds / 1000 },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

/** Of every store; an operation that was never asked for is left out. */
function operationsOf(
  counts: StoreCounts,
): { readonly store: string; readonly operation: string; readonly counted: OperationCounts }[] {
  return [...counts.traffic()].flatMap(([store, { operations }]) =>
    storeOperations
      .map((operation) => ({ store, operation, counted: operations[operation] }))
      .filter(({ counted }) => requestsOf(counted.outcomes) > 0),
  );
}
