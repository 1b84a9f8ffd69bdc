/** Asking before something is lost: whoever cannot be asked must say `--yes`. */
import { CaissonError } from '../lib/errors.ts';
import type { CommandOptions } from './command.ts';
import { askLine, isInteractive } from './terminal.ts';

/** `loss` is a sentence without its full stop; `done` ends "data is … only with --yes". */
export async function confirmByName(name: string, options: CommandOptions, loss: string, done: string): Promise<void> {
  if (options['yes'] === true) return;
  if (!isInteractive()) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      `${name} is ${done} only with --yes where nobody can be asked`,
      {
        remedy: 'Repeat the command with --yes.',
      },
    );
  }
  const answer = await askLine(`${loss}. Type the name of the volume to go on: `);
  if (answer !== name) throw new CaissonError('closed', 'cancelled', `${name} was not ${done}`);
}
