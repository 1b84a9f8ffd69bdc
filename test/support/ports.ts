/** Ports for servers that must be told theirs, and cannot take any free one by themselves. */
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';

const launchAttemptsMax = 3;

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Between finding free ports and listening on them somebody else may have taken one: then all of it again. */
export async function launchOnFreePorts<Server>(launch: () => Promise<Server>): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch();
    } catch (error) {
      if (attempt === launchAttemptsMax) throw error;
    }
  }
}
