/**
 * A directory as an EROFS image, made by mkfs.erofs with everything set that depends on the machine, so
 * that the same tree gives the same image (spec/hashed-format.md, "Making an image of a directory").
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { erofsMilliseconds } from '../lib/limits.ts';
import { runTool } from './run-tool.ts';
import type { ToolRunner } from './run-tool.ts';

const program = 'mkfs.erofs';
const fixedOptions = ['--quiet', '-x-1', '-T0', '-U00000000-0000-0000-0000-000000000000', '--all-root'];
/** Newer versions take the page size of the machine unless told otherwise; older ones know only this one. */
const blockSizeOption = '-b4096';

/** Gives `use` an image file: one made of the directory for as long as `use` runs, or `from` itself. */
export async function withImageOf<Value>(
  from: string,
  clock: Clock,
  signal: AbortSignal | undefined,
  use: (imagePath: string) => Promise<Value>,
): Promise<Value> {
  const isDirectory = await stat(from).then(
    (found) => found.isDirectory(),
    () => false, // opening it as a file says what is wrong
  );
  if (!isDirectory) return use(from);
  const folder = await mkdtemp(path.join(tmpdir(), 'caisson-image-'));
  try {
    const imagePath = path.join(folder, 'image.erofs');
    try {
      await makeErofsImage(from, imagePath, clock);
    } finally {
      signal?.throwIfAborted(); // an interruption ends mkfs.erofs too
    }
    return await use(imagePath);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Writes the image of `directory` to the new file `imagePath`. */
export async function makeErofsImage(
  directory: string,
  imagePath: string,
  clock: Clock,
  run: ToolRunner = runTool,
): Promise<void> {
  const help = await run(program, ['--help'], { clock });
  const hasBlockSize = /^\s*-b/m.test(`${help.output}\n${help.errorText.replaceAll('; ', '\n')}`);
  const options = [...fixedOptions, ...(hasBlockSize ? [blockSizeOption] : [])];
  const result = await run(program, [...options, imagePath, directory], { clock, milliseconds: erofsMilliseconds });
  if (result.status === 0) return;
  throw new CaissonError('io', 'tool-failed', `${program} failed with status ${result.status}: ${result.errorText}`, {
    remedy: `Check that all of ${directory} can be read and that ${imagePath} has room (set TMPDIR to another folder).`,
    details: { tool: program, status: result.status },
  });
}
