/** LUKS files made by qemu-img. */
import { runTool } from './tools.ts';

const attemptsMax = 20;
/** qemu-img measures its key derivation in processor time, which a coarse clock gives as none now and then. */
const isClockTooCoarse = /Unable to get accurate CPU usage/;

/** Runs qemu-img, which makes a LUKS file by these parameters, as often as the clock's coarseness asks for. */
export async function makeLuks(parameters: readonly string[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { status, stdout, stderr } = await runTool('qemu-img', parameters, { timeoutMilliseconds: 120_000 });
    if (status === 0) return;
    if (attempt === attemptsMax || !isClockTooCoarse.test(stderr))
      throw new Error(`qemu-img ended with ${status} in attempt ${attempt}: ${stderr}${stdout}`);
  }
}
