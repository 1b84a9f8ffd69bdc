/**
 * Steps that are undone in reverse when a later one fails. The first failure is the one that leaves;
 * a failure while undoing does not hide it.
 */
export type Undo = (step: () => Promise<void>) => void;

export async function withUndo<Value>(build: (undo: Undo) => Promise<Value>): Promise<Value> {
  const steps: (() => Promise<void>)[] = [];
  try {
    return await build((step) => steps.push(step));
  } catch (error) {
    for (const step of steps.toReversed()) await step().catch(() => undefined);
    throw error;
  }
}
