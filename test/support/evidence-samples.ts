/**
 * Genuine and public samples of evidence. They lie outside the repository: in the folder CAISSON_EVIDENCE,
 * else in `shared/evidence` beside it. A test that needs one says loudly that it is not there, and is left
 * out: also in CI, since nobody who clones the repository has them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';

const folder = resolve(process.env['CAISSON_EVIDENCE'] ?? join(import.meta.dirname, '../../../shared/evidence'));

/** False, and the test is skipped, where the samples are not on this machine. */
export function requireSamples(t: TestContext): boolean {
  if (existsSync(join(folder, 'SHA256SUMS'))) return true;
  const message = 'no samples of evidence here; set CAISSON_EVIDENCE to their folder';
  t.diagnostic(`SKIPPED, ${message}`);
  t.skip(message);
  return false;
}

export function sample(path: string): Uint8Array {
  return Uint8Array.from(readFileSync(join(folder, path)));
}

export function sampleText(path: string): string {
  return readFileSync(join(folder, path), 'utf8');
}
