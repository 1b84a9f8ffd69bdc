/** Work on many things, several at one time. */

/**
 * Runs `work` on every item, at most `atOnceMax` at one time, begun in order. The first failure keeps further ones
 * from being begun and is thrown; nothing is under way any more when it resolves or throws.
 */
export async function forEachParallel<Item>(
  items: Iterable<Item>,
  atOnceMax: number,
  work: (item: Item) => Promise<unknown>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let failure: { readonly error: unknown } | undefined;
  async function worker(): Promise<void> {
    while (failure === undefined) {
      const next = iterator.next();
      if (next.done === true) return;
      try {
        await work(next.value);
      } catch (error) {
        failure ??= { error };
      }
    }
  }
  await Promise.all(Array.from({ length: atOnceMax }, worker));
  if (failure !== undefined) throw failure.error;
}
