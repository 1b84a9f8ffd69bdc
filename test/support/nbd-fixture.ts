/** A server on a socket of its own in a fresh folder, ended with the test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import {
  createNbdServer,
  type NbdEvent,
  type NbdServer,
  type NbdServerOptions,
  type TlsMode,
} from '../../src/export/nbd/nbd.ts';
import { MemoryDevice, type MemoryDeviceOptions } from './memory-device.ts';
import { NbdClient } from './nbd-client.ts';

export interface NbdFixture {
  readonly server: NbdServer;
  readonly device: MemoryDevice;
  readonly folder: string;
  readonly path: string;
  readonly events: NbdEvent[];
  connect(): Promise<NbdClient>;
}

export interface NbdFixtureOptions extends Omit<NbdServerOptions, 'log'> {
  readonly size?: number;
  readonly device?: MemoryDeviceOptions;
  readonly readOnly?: boolean;
  readonly resizable?: boolean;
  readonly listenTls?: TlsMode;
}

export const mebibyte = 1024 * 1024;

/** One export, under the names '' and 'disk', in memory. */
export async function serveMemory(t: TestContext, options: NbdFixtureOptions = {}): Promise<NbdFixture> {
  const { size = 8 * mebibyte, device: deviceOptions, readOnly, resizable, listenTls, ...serverOptions } = options;
  const folder = mkdtempSync(join(tmpdir(), 'caisson-nbd-'));
  const path = join(folder, 'nbd.sock');
  const device = new MemoryDevice(size, deviceOptions);
  const events: NbdEvent[] = [];
  const chosen = {
    device,
    description: 'a disk in memory',
    ...(readOnly === undefined ? {} : { readOnly }),
    ...(resizable === undefined ? {} : { resizable }),
  };
  const server = createNbdServer({
    exports: { disk: chosen },
    defaultExport: 'disk',
    ...serverOptions,
    log: (event) => events.push(event),
  });
  await server.listen({ path, ...(listenTls === undefined ? {} : { tls: listenTls }) });
  const clients: NbdClient[] = [];
  t.after(async () => {
    for (const client of clients) client.destroy();
    for (const operation of device.held) device.release(operation);
    await server.close({ graceMilliseconds: 200 });
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    server,
    device,
    folder,
    path,
    events,
    connect: async () => {
      const client = await NbdClient.connect({ path });
      clients.push(client);
      return client;
    },
  };
}

/** Waits until `condition` holds; the runner's timeout is the bound. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}
