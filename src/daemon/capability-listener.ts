/**
 * The two sockets of a daemon for holders of capabilities: `PATH`, where a capability is shown, and `PATH.nbd`, where the part
 * that it grants is then served.
 */
import fs from 'node:fs';
import { listenForCapabilities } from '../admin/capability-socket.ts';
import type { CapabilityAnswers } from '../admin/capability-socket.ts';
import type { AdminServer } from '../admin/listen.ts';
import { systemRandom } from '../crypto/random.ts';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { Folders } from '../lib/folders.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { openEpochs } from './broker-epochs.ts';
import { CapabilityActs } from './capability-acts.ts';
import type { CapabilityActsOptions } from './capability-acts.ts';
import { CapabilityExports } from './capability-exports.ts';
import type { DaemonControl } from './daemon-control.ts';
import type { SnapshotHost } from './held-snapshots.ts';
import type { Parts } from './parts.ts';
import { claimSocketPath } from './socket-path.ts';
import { withUndo } from './undo.ts';
import type { VolumeNames } from './volume-names.ts';

export interface PartsListenOptions {
  readonly parts: Parts;
  readonly folders: Folders;
  readonly names: VolumeNames;
  readonly control: DaemonControl;
  readonly operations: CapabilityActsOptions['operations'];
  readonly log: VolumeLog;
  readonly socket: string;
}

export async function listenForParts(
  options: PartsListenOptions,
): Promise<{ server: AdminServer; exports: CapabilityExports }> {
  const { parts, folders, names, control, operations, log, socket } = options;
  const { host } = control;
  return withUndo(async (undo) => {
    // Everybody who reaches the folder may connect: without the name of an export there is nothing to be had.
    const listener = await parts.listenNbd({ kind: 'unix', path: `${socket}.nbd`, mode: 0o666 }, log);
    undo(() => listener.close());
    const epochs = openEpochs(folders, names);
    const exports = new CapabilityExports({
      ...{ host, epochs, listener, log },
      network: () => host.tcp,
      snapshots: snapshotsOf(control),
      clock: systemClock,
      random: systemRandom,
    });
    const { gate } = exports;
    const acts = new CapabilityActs({ gate, operations, log });
    await claimSocketPath(socket);
    const answers: CapabilityAnswers = {
      challenge: () => gate.challenge(),
      open: (request) => exports.open(request),
      'open-snapshot': (request) => exports.openSnapshot(request),
      serve: (request) => exports.serve(request),
      snapshots: (request) => acts.snapshots(request),
      'snapshot-create': (request) => acts.createSnapshot(request),
      'snapshot-remove': (request) => acts.removeSnapshot(request),
      resize: (request) => acts.resize(request),
    };
    const server = await listenForCapabilities(socket, answers, (error) => {
      // What is wrong with a request is for whoever sent it; only the rest is trouble here.
      const isTheirs = isCaissonError(error) && ['invalid', 'denied'].includes(error.kind);
      log(isTheirs ? 'info' : 'warn', 'a capability was refused', { error });
    });
    const close = async (): Promise<void> => {
      await server.close();
      fs.rmSync(socket, { force: true });
      await exports.close();
    };
    return { server: { close }, exports };
  });
}

function snapshotsOf(control: DaemonControl): SnapshotHost {
  return {
    get: (name) => control.host.get(name),
    attach: (name) => control.attach({ name, readOnly: true }, 'capability'),
    detach: (name) => control.detach(name),
  };
}
