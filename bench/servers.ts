/** Starts each server that is measured, on a fresh backing in a folder of its own, listening on a unix socket. */
import fs from 'node:fs';
import path from 'node:path';
import { makeLuks } from '../test/support/luks.ts';
import { CaissonHome } from './caisson-home.ts';
import type { ServerId } from './jobs.ts';
import { run, startServer, waitForSocket } from './processes.ts';
import type { RunningServer } from './processes.ts';

export interface Backing {
  readonly folder: string;
  readonly bytes: number;
}

/** What a job runs against: an NBD server, or a bare file. */
export interface Target {
  readonly pid: number | undefined;
  readonly uri: string | undefined;
  readonly file: string | undefined;
  stop(): Promise<void>;
}

type Start = (backing: Backing) => Promise<Target>;

const memoryServer = path.join(import.meta.dirname, 'memory-server.ts');
const memoryServerSpinMicroseconds = 50; // the default of `caisson serve`
const secret = 'benchmark';

const starts: Readonly<Record<ServerId, Start>> = {
  caisson: (backing) => startCaisson(backing, 'sealed'),
  'caisson-32k': (backing) => startCaisson(backing, 'sealed'),
  'caisson-none': (backing) => startCaisson(backing, 'none'),
  'caisson-node-crypto': (backing) => startCaisson(backing, 'sealed', 'sealer: node-crypto\n'),
  'protocol-alone': ({ folder, bytes }) => {
    const options = ['--disable-warning=ExperimentalWarning', memoryServer];
    const socket = socketOf(folder);
    const server = startServer(process.execPath, [
      ...options,
      socket,
      String(bytes),
      String(memoryServerSpinMicroseconds),
    ]);
    return listening(server, socket);
  },
  'nbdkit-memory': ({ folder, bytes }) => {
    const socket = socketOf(folder);
    return listening(startServer('nbdkit', ['-f', '-U', socket, 'memory', String(bytes)]), socket);
  },
  'nbdkit-luks': async (backing) => {
    const file = await createLuks(backing);
    const passphrase = path.join(backing.folder, 'passphrase');
    fs.writeFileSync(passphrase, secret);
    const socket = socketOf(backing.folder);
    const options = ['-f', '-U', socket, '--filter=luks', 'file', file, `passphrase=+${passphrase}`];
    return listening(startServer('nbdkit', options), socket);
  },
  'qemu-raw': (backing) => {
    const socket = socketOf(backing.folder);
    return listening(startServer('qemu-nbd', [...qemuOptions(socket), '-f', 'raw', createFile(backing)]), socket);
  },
  'qemu-luks': async (backing) => {
    const file = await createLuks(backing);
    const socket = socketOf(backing.folder);
    const image = `driver=luks,key-secret=secret,file.driver=file,file.filename=${file}`;
    const options = [...qemuOptions(socket), '--object', `secret,id=secret,data=${secret}`, '--image-opts', image];
    return listening(startServer('qemu-nbd', options), socket);
  },
  'raw-file': async (backing) => ({
    pid: undefined,
    uri: undefined,
    file: createFile(backing),
    stop: async () => undefined,
  }),
};

export function startTarget(id: ServerId, backing: Backing): Promise<Target> {
  return starts[id](backing);
}

async function startCaisson(backing: Backing, protection: 'sealed' | 'none', configuration = ''): Promise<Target> {
  const home = new CaissonHome(backing.folder, configuration);
  await home.create({ name: 'volume', bytes: backing.bytes, protection });
  const { server, uri } = await home.serve('volume');
  return { pid: server.pid, uri, file: undefined, stop: () => server.stop() };
}

async function listening(server: RunningServer, socket: string): Promise<Target> {
  await waitForSocket(server, socket);
  const uri = `nbd+unix:///?socket=${socket}`;
  await run('nbdinfo', ['--size', uri]);
  return { pid: server.pid, uri, file: undefined, stop: () => server.stop() };
}

function socketOf(folder: string): string {
  return path.join(folder, 'nbd.sock');
}

/** The page cache with write-back, as the other servers use the file; any number of connections. */
function qemuOptions(socket: string): string[] {
  return ['--persistent', '--shared=0', '--socket', socket, '--aio=threads', '--cache=writeback'];
}

function createFile({ folder, bytes }: Backing): string {
  const file = path.join(folder, 'raw');
  fs.closeSync(fs.openSync(file, 'w'));
  fs.truncateSync(file, bytes);
  return file;
}

/** A short key derivation keeps the start short. */
async function createLuks({ folder, bytes }: Backing): Promise<string> {
  const file = path.join(folder, 'luks');
  const options = ['create', '-q', '-f', 'luks', '--object', `secret,id=secret,data=${secret}`];
  await makeLuks([...options, '-o', 'key-secret=secret,iter-time=10', file, String(bytes)]);
  return file;
}
