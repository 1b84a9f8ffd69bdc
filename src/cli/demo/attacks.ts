/** What an attacker with the store in hand does: changes a byte, puts an old copy back. Both are put right again. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { VerifyAnswer } from '../../admin/schema.ts';
import { CaissonError } from '../../lib/errors.ts';
import { ExitCode, exitCodeOf } from '../exit-code.ts';
import { errorOf } from './caisson.ts';
import type { CaissonCommand } from './caisson.ts';
import type { DemoReport } from './report.ts';
import { filesBelow } from './search.ts';

/** Asserts what the demo claims; a claim that does not hold is a defect, and says so. */
export function check(holds: boolean, message: string): asserts holds {
  if (holds) return;
  throw new CaissonError('bug', 'check-failed', message, {
    remedy: 'This is a defect. Run again with "caisson demo --keep" and report what it prints, with its folder.',
  });
}

/** Flips one bit of one byte in the middle of the largest segment. `isReal` false: only says so. */
export async function flipByte(
  caisson: CaissonCommand,
  store: string,
  isReal: boolean,
): Promise<NonNullable<DemoReport['flip']>> {
  const segment = await largestSegment(store);
  const object = path.basename(segment);
  const flip = async (): Promise<void> => {
    if (isReal) await flipMiddle(segment);
  };
  await flip();
  try {
    const open = await verify(caisson, true);
    const sealed = await verify(caisson, false);
    for (const { code, answer } of [open, sealed]) {
      check(code === ExitCode.tampered, `one byte of segment ${object} was changed, and verify ended with ${code}`);
      check(
        answer.findings.some((finding) => finding.object.includes(object)),
        `one byte of segment ${object} was changed, and verify names something else`,
      );
    }
    const codes = ({ answer }: Verified): string[] => [...new Set(answer.findings.map((finding) => finding.code))];
    return { object, publicCodes: codes(open), keyCodes: codes(sealed), exitCode: sealed.code };
  } finally {
    await flip();
  }
}

/** Puts `oldCopy` in the place of the store while `attempt` tries to open it. */
export async function rollBack(
  caisson: CaissonCommand,
  store: string,
  oldCopy: string,
  attempt: () => Promise<void>,
): Promise<NonNullable<DemoReport['rollback']>> {
  const newest = `${store}-newest`;
  await fs.rename(store, newest);
  await fs.rename(oldCopy, store);
  try {
    const refusal = await refusalOf(attempt);
    check(refusal !== undefined, 'an old copy of the store was put back, and the volume opened');
    check(refusal.code === 'rolled-back', `an old copy of the store was refused, but as ${refusal.code}`);
    const { code, answer } = await verify(caisson, false);
    check(
      code === ExitCode.rolledBack && answer.freshness === 'rolled-back',
      `an old copy of the store was put back, and verify calls it ${answer.freshness}`,
    );
    return { openCode: refusal.code, openExitCode: exitCodeOf(refusal), freshness: answer.freshness };
  } finally {
    await fs.rename(store, oldCopy);
    await fs.rename(newest, store);
  }
}

/** After an attack was undone. */
export async function checkSound(caisson: CaissonCommand): Promise<void> {
  const { code, answer } = await verify(caisson, false);
  check(
    code === 0 && answer.findings.length === 0 && answer.freshness === 'current',
    `the store is as it was, and verify ended with ${code} (${answer.freshness}, ${answer.findings.length} findings)`,
  );
}

interface Verified {
  readonly code: number;
  readonly answer: VerifyAnswer;
}

async function verify(caisson: CaissonCommand, isPublic: boolean): Promise<Verified> {
  const args = ['volume', 'verify', 'sealed', ...(isPublic ? ['--public'] : [])];
  const outcome = await caisson.run(args);
  if (outcome.code === null || outcome.stdout === '') throw errorOf(args, outcome);
  return { code: outcome.code, answer: JSON.parse(outcome.stdout) as VerifyAnswer };
}

async function refusalOf(attempt: () => Promise<void>): Promise<CaissonError | undefined> {
  try {
    await attempt();
    return undefined;
  } catch (error) {
    if (error instanceof CaissonError) return error;
    throw error;
  }
}

async function largestSegment(store: string): Promise<string> {
  let largest = { file: '', size: -1 };
  for (const file of await filesBelow(store)) {
    if (!file.includes('/segments/')) continue;
    const { size } = await fs.stat(file);
    if (size > largest.size) largest = { file, size };
  }
  check(largest.size > 0, 'the store holds no segment');
  return largest.file;
}

async function flipMiddle(file: string): Promise<void> {
  // Segments are read-only on purpose; whoever owns the disk is not stopped by that.
  const { mode, size } = await fs.stat(file);
  await fs.chmod(file, 0o600);
  const handle = await fs.open(file, 'r+');
  try {
    const byte = Buffer.alloc(1);
    const offset = Math.floor(size / 2);
    await handle.read(byte, 0, 1, offset);
    byte.writeUInt8(byte.readUInt8(0) ^ 1, 0);
    await handle.write(byte, 0, 1, offset);
  } finally {
    await handle.close();
    await fs.chmod(file, mode & 0o777);
  }
}
