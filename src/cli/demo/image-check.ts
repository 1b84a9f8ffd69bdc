/** fsck.ext4 on an image: it only looks (-n), at everything (-f). */
import { CaissonError } from '../../lib/errors.ts';
import { runProgram } from './caisson.ts';

export async function checkImage(fsck: string, image: string, folder: string): Promise<void> {
  const { code, stdout, stderr } = await runProgram(fsck, ['-fn', image], folder);
  if (code === 0) return;
  const [line = ''] = `${stdout}\n${stderr}`.split('\n').filter((text) => /error|invalid|wrong|differ|fix/i.test(text));
  throw new CaissonError('bug', 'check-failed', `fsck.ext4 found damage (exit code ${code}): ${line}`, {
    remedy: 'This is a defect. Run again with --keep and report it with the folder.',
  });
}
