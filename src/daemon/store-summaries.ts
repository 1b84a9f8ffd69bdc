/** Stores on other machines and the read cache in front of them, as `status` shows them in short. */
import type { DaemonStatus } from '../admin/schema.ts';
import { requestOutcomes, storeOperations } from '../store/store-counts.ts';
import type { OperationCounts, StoreCounts } from '../store/store-counts.ts';

export function storeSummaries(counts: StoreCounts): Pick<DaemonStatus, 'stores' | 'readCache'> {
  const stores = [...counts.traffic()].map(([store, each]) => {
    const operations = storeOperations.map((operation) => each.operations[operation].outcomes);
    const { retries, sentBytes, receivedBytes } = each;
    return {
      store,
      requests: operations.reduce((sum, outcomes) => sum + requestsOf(outcomes), 0),
      throttled: operations.reduce((sum, { throttled }) => sum + throttled, 0),
      failed: operations.reduce((sum, { failed, unanswered }) => sum + failed + unanswered, 0),
      ...{ retries, sentBytes, receivedBytes },
    };
  });
  const { hits, misses, evictions, heldBytes, bytesMax } = counts.readCache;
  return { stores, readCache: bytesMax === 0 ? null : { hits, misses, evictions, heldBytes, bytesMax } };
}

export function requestsOf(outcomes: OperationCounts['outcomes']): number {
  return requestOutcomes.reduce((sum, outcome) => sum + outcomes[outcome], 0);
}
