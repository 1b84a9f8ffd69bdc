/**
 * What the FUSE export needs of the kernel: whole requests in, whole replies out, without waiting.
 * `sys/fuse-device.ts` is the real one; tests and the fuzz target put their own kernel here.
 */
import type { Region } from '../../lib/region.ts';

/** What `receive` says when the mount is gone for good. */
export const channelEnded = -1;

export interface FuseChannel {
  /** The length of the request now in `target`, 0 when none is waiting, `channelEnded` at the end. */
  receive(target: Region): number;
  /** One reply. False: nobody waits for it any more. */
  send(source: Region, length: number): boolean;
  /** Calls `listener` whenever requests may be waiting; it then receives until there are none. */
  onReady(listener: () => void): void;
  /** Calls back once, after other work of the event loop had its turn. */
  soon(callback: () => void): void;
}

/** How the export tells what it saw; messages hold no secrets. */
export type FuseLog = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  details: Readonly<Record<string, unknown>>,
) => void;
