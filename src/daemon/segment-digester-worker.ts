/** The thread behind `segment-digester.ts`: reads a file in pieces of 1 MiB and answers its SHA-256. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import { parentPort } from 'node:worker_threads';
import { becomeIdleThread } from '../sys/idle-thread.ts';
import type { DigestAnswer, DigestRequest } from './digest-messages.ts';

const pieceBytes = 1024 * 1024;
const piece = new Uint8Array(pieceBytes);

lowerPriority();
parentPort?.on('message', (request: DigestRequest) => parentPort?.postMessage(answerTo(request)));

/** On Linux a priority belongs to a thread, and 0 means the calling one: only this worker steps back. */
function lowerPriority(): void {
  becomeIdleThread();
  try {
    os.setPriority(0, os.constants.priority.PRIORITY_LOW);
  } catch {
    // Where the system does not allow it the work is done at the usual priority.
  }
}

function answerTo({ id, path, length }: DigestRequest): DigestAnswer {
  try {
    return { id, digest: digestOf(path, length) };
  } catch (error) {
    const errno = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    return { id, errno, message: error instanceof Error ? error.message : String(error) };
  }
}

function digestOf(path: string, length: number): Uint8Array {
  const hash = createHash('sha256');
  const descriptor = fs.openSync(path, 'r');
  try {
    for (let position = 0; position < length;) {
      const count = fs.readSync(descriptor, piece, 0, Math.min(pieceBytes, length - position), position);
      if (count === 0) throw new Error(`the file ends at ${position} of ${length} bytes`);
      hash.update(piece.subarray(0, count));
      position += count;
    }
  } finally {
    fs.closeSync(descriptor);
  }
  return new Uint8Array(hash.digest());
}
