/**
 * The clock of one simulated process. Time does not flow: short waits (a lock that is held elsewhere)
 * pass as soon as the disk is idle; long ones (the timer of a checkpoint) only when the simulation sleeps.
 */
import type { Clock } from '../../src/lib/clock.ts';
import { VirtualClock } from './clock.ts';
import type { SimulatedMachine } from './simulated-file-system.ts';

const shortMillisecondsMax = 10;

export class SimulationClock implements Clock {
  readonly #machine: SimulatedMachine;
  readonly #virtual = new VirtualClock();

  constructor(machine: SimulatedMachine) {
    this.#machine = machine;
  }

  monotonic(): number {
    return this.#virtual.monotonic();
  }

  wall(): number {
    return this.#virtual.wall();
  }

  after(milliseconds: number, callback: () => void): () => void {
    const cancel = this.#virtual.after(milliseconds, callback);
    if (milliseconds <= shortMillisecondsMax) void this.#passWhenIdle(milliseconds);
    return cancel;
  }

  turn(): Promise<void> {
    return nextTurn();
  }

  /** Lets time pass; what falls due runs. */
  sleep(milliseconds: number): void {
    this.#virtual.advance(milliseconds);
  }

  async #passWhenIdle(milliseconds: number): Promise<void> {
    const due = this.#virtual.monotonic() + milliseconds;
    do await nextTurn();
    while (this.#machine.isBusy);
    this.#virtual.advance(Math.max(0, due - this.#virtual.monotonic()));
  }
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
