/** `caisson volume adopt NAME --store URL`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { keyFromOptions, textOption } from '../keys.ts';
import { absoluteStore } from '../new-volume.ts';
import { askSecret, isInteractive } from '../terminal.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const volumeId = textOption(options, 'id');
  const root = textOption(options, 'root');
  const anchor = textOption(options, 'anchor');
  const acceptMissingAnchor = options['acceptMissingAnchor'] === true;
  const given = await keyFromOptions(options);
  let credential = given?.credential;
  if (acceptMissingAnchor && credential === undefined && isInteractive()) {
    credential = { kind: 'passphrase', secret: await askSecret(`Passphrase of ${name}: `) };
  }
  const { operations } = await context.local();
  const adopted = await operations.adoptVolume({
    name,
    store: absoluteStore(textOption(options, 'store') ?? ''),
    credential,
    acceptMissingAnchor,
    ...(anchor === undefined ? {} : { anchor }),
    ...(volumeId === undefined ? {} : { volumeId: volumeId.toLowerCase() }),
    ...(given === undefined ? {} : { key: given.hint }),
    ...(root === undefined ? {} : { root: root.toLowerCase() }),
  });
  context.output.result(adopted, () =>
    root === undefined
      ? `${name} is volume ${adopted.public.volumeId} in ${adopted.store}`
      : `${name} is the hashed volume ${adopted.hashed?.root ?? root} in ${adopted.store}`,
  );
};
