/** Ports of this machine for programs that must be told theirs. Whoever binds one later than it was found must be ready to try another. */
import net from 'node:net';

/** A port whose successor is free, too: swtpm has its control channel there. */
export async function freePortPair(): Promise<number> {
  for (;;) {
    const first = await listen(0);
    const { port } = first.address() as net.AddressInfo;
    const second = await listen(port + 1).catch(() => undefined);
    await Promise.all([first, second].map((server) => new Promise((resolve) => server?.close(resolve) ?? resolve(0))));
    if (second !== undefined) return port;
  }
}

export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function listen(port: number): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
