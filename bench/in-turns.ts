/** Work of which so much is under way at one time, and what it takes. */
export const atOnce = 64;

export async function prepared<Value>(count: number, make: () => Promise<Value>): Promise<Value[]> {
  const made: Value[] = [];
  for (let index = 0; index < count; index++) made.push(await make());
  return made;
}

export async function inTurns<Value>(
  values: readonly Value[],
  work: (value: Value) => Promise<unknown>,
): Promise<void> {
  const left = values.values();
  const worker = async (): Promise<void> => {
    for (const value of left) await work(value);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

export interface Timed {
  readonly seconds: number;
  /** Of all threads of this process. */
  readonly processorSeconds: number;
}

export async function timed(work: () => Promise<unknown>): Promise<Timed> {
  const begun = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { seconds: (performance.now() - begun) / 1000, processorSeconds: (user + system) / 1e6 };
}

/** On a machine with other work the rate says little, and this much more. */
export function processorNote({ processorSeconds }: Timed, count: number): string {
  return `${((processorSeconds / count) * 1000).toFixed(2)} ms of processor time each`;
}
