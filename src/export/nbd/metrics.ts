/** What one NBD server counts. Plain numbers that the hot path adds to and a reader looks at. */
import { commandNames } from './request-format.ts';

const unknownIndex = commandNames.length - 1;

export class NbdMetrics {
  connectionsOpen = 0;
  connectionsTotal = 0;
  /** Turned away by the limit of connections. */
  connectionsRefused = 0;
  /** Ended by us: garbage, a broken rule, a timeout. */
  connectionsFailed = 0;
  tlsHandshakes = 0;
  tlsFailures = 0;
  bytesRead = 0;
  bytesWritten = 0;
  /** By command, in the order of `commandNames`. */
  readonly requests: Float64Array = new Float64Array(commandNames.length);
  readonly errors: Float64Array = new Float64Array(commandNames.length);
  /** How often a connection waited: for the device, for a slow reader, for reply buffers. */
  readonly waits: { pressure: number; inFlight: number; unsent: number; buffers: number } = {
    pressure: 0,
    inFlight: 0,
    unsent: 0,
    buffers: 0,
  };

  countRequest(command: number): void {
    const index = command < unknownIndex ? command : unknownIndex;
    this.requests[index] = this.requests[index]! + 1;
  }

  countError(command: number): void {
    const index = command < unknownIndex ? command : unknownIndex;
    this.errors[index] = this.errors[index]! + 1;
  }
}
