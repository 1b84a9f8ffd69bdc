/**
 * The two sockets of a daemon for holders of capabilities: `PATH`, where a capability is shown, and `PATH.nbd`, where the part
 * that it grants is then served.
 */
import fs from 'node:fs';
import { listenForCapabilities } from '../admin/capability-socket.ts';
import type { AdminServer } from '../admin/listen.ts';
import { systemRandom } from '../crypto/random.ts';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { Folders } from '../lib/folders.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { CapabilityEpochs } from './capability-epochs.ts';
import { CapabilityExports } from './capability-exports.ts';
import type { Parts } from './parts.ts';
import { claimSocketPath } from './socket-path.ts';
import { withUndo } from './undo.ts';
import type { VolumeHost } from './volume-host.ts';

export interface PartsListenOptions {
  readonly parts: Parts;
  readonly folders: Folders;
  readonly host: VolumeHost;
  readonly log: VolumeLog;
  readonly socket: string;
}

export async function listenForParts(
  options: PartsListenOptions,
): Promise<{ server: AdminServer; exports: CapabilityExports }> {
  const { parts, folders, host, log, socket } = options;
  return withUndo(async (undo) => {
    // Everybody who reaches the folder may connect: without the name of an export there is nothing to be had.
    const listener = await parts.listenNbd({ kind: 'unix', path: `${socket}.nbd`, mode: 0o666 }, log);
    undo(() => listener.close());
    const epochs = new CapabilityEpochs(folders);
    const exports = new CapabilityExports({ host, epochs, listener, clock: systemClock, random: systemRandom, log });
    await claimSocketPath(socket);
    const answers = {
      challenge: () => exports.challenge(),
      open: (request: Parameters<CapabilityExports['open']>[0]) => exports.open(request),
    };
    const server = await listenForCapabilities(socket, answers, (error) => {
      // What is wrong with a request is for whoever sent it; only the rest is trouble here.
      const isTheirs = isCaissonError(error) && ['invalid', 'denied'].includes(error.kind);
      log(isTheirs ? 'info' : 'warn', 'a capability was not opened', { error });
    });
    const close = async (): Promise<void> => {
      await server.close();
      fs.rmSync(socket, { force: true });
      await exports.close();
    };
    return { server: { close }, exports };
  });
}
