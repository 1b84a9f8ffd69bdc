/**
 * The write load under which the daemon is killed: small records, each one acknowledged as durable
 * before the next, beside large writes that nobody waits for. What was acknowledged is what must be
 * there afterwards.
 */
import { createHash } from 'node:crypto';
import { CaissonError } from '../../lib/errors.ts';
import {
  demoBulkWritesMax,
  demoLoadMilliseconds,
  demoLoadMillisecondsMax,
  demoLoadRecordsMin,
  demoPollMilliseconds,
  demoRecordsMax,
} from '../../lib/limits.ts';
import { blockBytes } from '../../lib/sizes.ts';
import { sleep } from './caisson.ts';
import type { OpenedVolume } from './way.ts';

const bulkBytes = 1024 * 1024;

export interface LoadReport {
  readonly acknowledgedRecords: number;
  readonly bulkWrites: number;
}

/** Writes, has `kill` end the daemon in the middle of it, and tells what had been acknowledged. */
export async function loadUntilKilled(
  volume: OpenedVolume,
  kill: () => Promise<void>,
  signal: AbortSignal,
): Promise<LoadReport> {
  const state = { records: 0, bulkWrites: 0, isOver: false };
  const writers = Promise.allSettled([writeRecords(volume, state), writeBulk(volume, state)]);
  const start = performance.now();
  const elapsed = (): number => performance.now() - start;
  try {
    while (elapsed() < demoLoadMilliseconds || state.records < demoLoadRecordsMin) {
      signal.throwIfAborted();
      if (state.isOver) break;
      if (elapsed() > demoLoadMillisecondsMax) throw tooSlow(state.records);
      await sleep(demoPollMilliseconds);
    }
    if (state.isOver && state.records < demoRecordsMax) await failEarly(writers);
    await kill();
  } finally {
    state.isOver = true;
    await writers;
  }
  return { acknowledgedRecords: state.records, bulkWrites: state.bulkWrites };
}

/** How many acknowledged records are not there, byte for byte. */
export async function countLostRecords(volume: OpenedVolume, count: number): Promise<number> {
  let lost = 0;
  for (let index = 0; index < count; index++) {
    const found = await volume.readRecord(index, blockBytes).catch(() => new Uint8Array());
    if (Buffer.compare(found, recordOf(index)) !== 0) lost += 1;
  }
  return lost;
}

interface LoadState {
  records: number;
  bulkWrites: number;
  isOver: boolean;
}

async function writeRecords(volume: OpenedVolume, state: LoadState): Promise<void> {
  try {
    while (!state.isOver && state.records < demoRecordsMax) {
      await volume.putRecord(state.records, recordOf(state.records));
      state.records += 1;
    }
  } finally {
    state.isOver = true;
  }
}

async function writeBulk(volume: OpenedVolume, state: LoadState): Promise<void> {
  const bytes = Buffer.alloc(bulkBytes, recordOf(0));
  while (!state.isOver && state.bulkWrites < demoBulkWritesMax) {
    await volume.putBulk(state.bulkWrites, bytes);
    state.bulkWrites += 1;
    await sleep(demoPollMilliseconds);
  }
}

/** Every block differs, so that a record in the place of another is seen. */
function recordOf(index: number): Buffer {
  return Buffer.alloc(blockBytes, createHash('sha256').update(`record ${index}`).digest());
}

/** The load ended although nobody had killed anything: what stopped it is the failure. */
async function failEarly(writers: Promise<PromiseSettledResult<void>[]>): Promise<never> {
  const failed = (await writers).find((result) => result.status === 'rejected');
  throw failed?.reason ?? new CaissonError('bug', 'assertion-failed', 'the write load ended by itself');
}

function tooSlow(records: number): CaissonError {
  return new CaissonError(
    'transient',
    'timeout',
    `only ${records} writes were acknowledged in ${demoLoadMillisecondsMax / 1000} s`,
    { remedy: 'The disk is very slow or very busy: try "caisson demo --folder DIRECTORY" on another one.' },
  );
}
