/** What to clean next: a choice among segments by their live share. Pure; the numbers it starts from are hints. */
import {
  cleaningBusyPercent,
  cleaningIdlePercent,
  cleaningShareMax,
  cleaningUrgentPercent,
  smallSegmentBytesMax,
  smallSegmentsMin,
} from '../lib/limits.ts';

export interface SegmentFacts {
  readonly index: number;
  readonly bytes: number;
  /** What its live blocks would take in a new segment. */
  readonly liveBytes: number;
}

export interface CleaningSituation {
  /** Published segments that cleaning may empty. */
  readonly segments: readonly SegmentFacts[];
  /** Written and not yet published: cleaning can reach it only after a checkpoint. */
  readonly unpublished: { readonly bytes: number; readonly liveBytes: number };
  readonly isIdle: boolean;
  readonly slackBytes: number;
  readonly segmentBytesMax: number;
  /** At most so much is sealed anew before the emptied segments go. */
  readonly batchBytesMax: number;
  /** Garbage beyond the urgent that writers may make before they wait. */
  readonly burstBytesMax: number;
}

export interface CleaningPlan {
  /** Segments to empty, those with the least in them first. */
  readonly segments: readonly SegmentFacts[];
  /** What was written should be published first: it holds the garbage. */
  readonly publish: boolean;
  /** So much garbage that cleaning comes before all else … */
  readonly isUrgent: boolean;
  /** … and so much that writers must wait for it. */
  readonly isBehind: boolean;
}

export function planCleaning(situation: CleaningSituation): CleaningPlan {
  const { segments, unpublished, slackBytes } = situation;
  const percent = situation.isIdle ? cleaningIdlePercent : cleaningBusyPercent;
  const bytes = sum(segments, (segment) => segment.bytes);
  const liveBytes = sum(segments, (segment) => segment.liveBytes);
  const excess = bytes - (liveBytes * percent) / 100 - slackBytes;
  const totalBytes = bytes + unpublished.bytes;
  const totalLive = liveBytes + unpublished.liveBytes;
  const urgentBytes = totalBytes - (totalLive * cleaningUrgentPercent) / 100 - slackBytes;
  const urgency = { isUrgent: urgentBytes > 0, isBehind: urgentBytes > situation.burstBytesMax };
  if (excess > 0) {
    const chosen = chooseSparse(situation, excess);
    if (chosen.length > 0) return { segments: chosen, publish: false, ...urgency };
  }
  const garbage = unpublished.bytes - unpublished.liveBytes;
  if (totalBytes > (totalLive * percent) / 100 + slackBytes && garbage > slackBytes / 2)
    return { segments: [], publish: true, ...urgency };
  return { segments: chooseSmall(situation), publish: false, isUrgent: false, isBehind: false };
}

/** What a segment costs besides its blocks, at most: one less than that is lost by cleaning. */
const segmentCostBytes = 1024;

/** Every segment with something to gain. */
export function planAll(segments: readonly SegmentFacts[]): readonly SegmentFacts[] {
  return byShare(segments).filter(
    ({ bytes, liveBytes }) => liveBytes < bytes * cleaningShareMax && bytes - liveBytes > segmentCostBytes,
  );
}

/** The first so many that a batch may hold, at least one. */
export function firstBatch(segments: readonly SegmentFacts[], batchBytesMax: number): SegmentFacts[] {
  const batch: SegmentFacts[] = [];
  let copied = 0;
  for (const segment of byShare(segments)) {
    if (batch.length > 0 && copied + segment.liveBytes > batchBytesMax) break;
    batch.push(segment);
    copied += segment.liveBytes;
  }
  return batch;
}

/** Lowest live share first, until so much garbage is gone as is too much. */
function chooseSparse({ segments, batchBytesMax }: CleaningSituation, excess: number): SegmentFacts[] {
  const chosen: SegmentFacts[] = [];
  let freed = 0;
  let copied = 0;
  for (const segment of planAll(segments)) {
    if (freed >= excess || (chosen.length > 0 && copied + segment.liveBytes > batchBytesMax)) break;
    chosen.push(segment);
    freed += segment.bytes - segment.liveBytes;
    copied += segment.liveBytes;
  }
  return chosen;
}

/** Many small segments cost a lookup, a handle and a request each: enough of them become one. */
function chooseSmall({ segments, segmentBytesMax, batchBytesMax }: CleaningSituation): SegmentFacts[] {
  const limit = Math.min(smallSegmentBytesMax, segmentBytesMax / 4);
  const small = segments.filter((segment) => segment.bytes < limit);
  if (small.length < smallSegmentsMin || sum(small, (segment) => segment.bytes) < limit * 2) return [];
  return firstBatch(small, batchBytesMax);
}

function byShare(segments: readonly SegmentFacts[]): SegmentFacts[] {
  return [...segments].sort(
    (left, right) => left.liveBytes / left.bytes - right.liveBytes / right.bytes || left.index - right.index,
  );
}

function sum(segments: readonly SegmentFacts[], of: (segment: SegmentFacts) => number): number {
  let total = 0;
  for (const segment of segments) total += of(segment);
  return total;
}
