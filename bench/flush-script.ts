/**
 * Jobs with a FLUSH every so many writes, written out request by request for fio to replay. With fio's own `fsync=N` and
 * a queue, fio 3.33 goes on sending FLUSH until the first one is answered: 16,430 of them for 20,480 writes at `fsync=32`,
 * depth 32, and another number for each server. Here each server gets the same writes and one FLUSH after every N of
 * them, at the same places.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { FioJob } from './jobs.ts';
import { jobBytesMax } from './jobs.ts';

export interface FlushScripts {
  /** One file for each connection. */
  readonly files: readonly string[];
  remove(): void;
}

export interface FlushScriptOptions {
  readonly seed: number;
  readonly volumeBytes: number;
}

/** At depth 1 fio's own option does what it says. */
export function isScripted(job: FioJob): boolean {
  return job.flushEvery > 0 && job.depth > 1;
}

export function writeScripts(job: FioJob, options: FlushScriptOptions): FlushScripts {
  const parent = fs.existsSync('/dev/shm') ? '/dev/shm' : (process.env['TMPDIR'] ?? '/tmp');
  const folder = fs.mkdtempSync(path.join(parent, 'caisson-flush-'));
  const files = Array.from({ length: job.connections }, (_, connection) => {
    const file = path.join(folder, `${connection}.iolog`);
    fs.writeFileSync(file, flushScript(job, options, connection));
    return file;
  });
  return { files, remove: () => fs.rmSync(folder, { recursive: true, force: true }) };
}

/** In the form of fio's iolog, version 2. */
export function flushScript(job: FioJob, { seed, volumeBytes }: FlushScriptOptions, connection: number): string {
  const blocks = Math.floor(volumeBytes / job.blockBytes);
  const count = Math.floor(jobBytesMax(job) / job.connections / job.blockBytes);
  const isRandom = job.rw === 'randwrite';
  const random = randomBelow(seed * 64 + connection + 1);
  const start = Math.floor((blocks / job.connections) * connection);
  const lines = ['fio version 2 iolog', 'volume add', 'volume open'];
  for (let index = 0; index < count; index++) {
    const block = isRandom ? random(blocks) : (start + index) % blocks;
    lines.push(`volume write ${block * job.blockBytes} ${job.blockBytes}`);
    if ((index + 1) % job.flushEvery === 0) lines.push('volume sync 0 0');
  }
  lines.push('volume close', '');
  return lines.join('\n');
}

/** xorshift32: the same offsets for the same seed, and nothing more is asked of it. */
function randomBelow(seed: number): (bound: number) => number {
  let state = (Math.imul(seed, 0x9e37_79b1) | 1) >>> 0;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return Math.floor((state / 0x1_0000_0000) * bound);
  };
}
