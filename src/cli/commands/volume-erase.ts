/** `caisson volume erase NAME`: destroys the keys and hands out the receipt. */
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import type { CommandContext, RunCommand } from '../command.ts';
import { confirmByName } from '../confirm.ts';
import { textOption, unlockingKey } from '../keys.ts';
import { receiptRows } from '../receipt.ts';
import { table } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const details = await operations.inspectVolume({ name, unlock: false });
  const loss = `The keys of ${name} (${details.store}) will be destroyed: nobody will read what is in it again`;
  await confirmByName(name, options, loss, 'erased');
  const isErased = details.lineage?.state === 'erased';
  const credential = isErased ? undefined : await unlockingKey(operations, name, options);
  await withReceiptFile(textOption(options, 'receipt'), async (write) => {
    const receipt = await eraseWithProgress(context, name, (onProgress) =>
      operations.eraseVolume(
        {
          name,
          credential,
          keepObjects: options['keepObjects'] === true,
          acceptMissingAnchor: options['acceptMissingAnchor'] === true,
        },
        onProgress,
      ),
    );
    const { removedObjects, ...signed } = receipt;
    write({ format: 'caisson-erase-receipt', version: 1, ...signed });
    context.output.result(receipt, () => {
      const kept = options['keepObjects'] === true ? '; the sealed objects are still there' : '';
      return [
        `erased ${name}: its keys are destroyed, ${removedObjects} objects were removed${kept}`,
        table(receiptRows(receipt)),
        `anybody can check this: caisson volume verify ${name} --public`,
      ].join('\n');
    });
  });
};

type Progress = (done: number, total: number, unit: string) => void;

async function eraseWithProgress<Value>(
  { output }: CommandContext,
  name: string,
  erase: (onProgress: Progress) => Promise<Value>,
): Promise<Value> {
  const progress = await output.progress(`removing the objects of ${name}`);
  try {
    return await erase((done, total, unit) => progress.update(done, total, unit));
  } finally {
    progress.stop();
  }
}

/** Opened before anything is destroyed: a receipt that cannot be written is a reason not to begin. */
async function withReceiptFile(
  file: string | undefined,
  act: (write: (receipt: unknown) => void) => Promise<void>,
): Promise<void> {
  if (file === undefined) return act(() => undefined);
  const path = resolve(file);
  let descriptor;
  try {
    descriptor = openSync(path, 'wx', 0o644);
  } catch (error) {
    const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST';
    throw new CaissonError(
      'invalid',
      isThere ? 'object-exists' : 'argument-invalid',
      `the receipt cannot be written to ${path}: ${messageOf(error)}`,
      { remedy: 'Choose another file with --receipt. Nothing was erased.', details: { path }, cause: error },
    );
  }
  let isWritten = false;
  try {
    await act((receipt) => {
      try {
        writeSync(descriptor, `${JSON.stringify(receipt, null, 2)}\n`);
        fsyncSync(descriptor);
      } catch (error) {
        throw new CaissonError('io', 'store-io', `the receipt was not written to ${path}: ${messageOf(error)}`, {
          remedy: 'The keys are destroyed. Run the command again with another file: it gives the same receipt.',
          cause: error,
        });
      }
      isWritten = true;
    });
  } finally {
    closeSync(descriptor);
    if (!isWritten) rmSync(path, { force: true });
  }
}
