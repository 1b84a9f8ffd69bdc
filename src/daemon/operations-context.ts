/** What the operations work with, in the daemon and in a command's own process. */
import type { Folders } from '../lib/folders.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import type { DaemonControl } from './daemon-control.ts';
import type { Parts } from './parts.ts';
import type { VolumeNames } from './volume-names.ts';

export interface OperationsContext {
  readonly parts: Parts;
  readonly names: VolumeNames;
  readonly folders: Folders;
  readonly log: VolumeLog;
  /** Present in the daemon only. */
  readonly daemon: DaemonControl | undefined;
}
