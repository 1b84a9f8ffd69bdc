/**
 * Real S3 servers on this machine, each in a temporary folder and on free ports: Ceph's radosgw (a monitor
 * and one object store in memory under it) and versitygw (built once by the Go client and kept). Every process is
 * ours, in the foreground, and dies with this one.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { emptyPayloadHash, signRequest } from '../../src/aws/sigv4.ts';
import { freePort, launchOnFreePorts } from './ports.ts';
import { requireTool, toolOutput } from './tools.ts';

export const serverKeys = { AWS_ACCESS_KEY_ID: 'AKCAISSON', AWS_SECRET_ACCESS_KEY: 'SKCAISSON' } as const;
const versitygwVersion = 'v1.7.0';
const readyMillisecondsMax = 90_000;

export interface S3Server {
  readonly name: string;
  /** `http://127.0.0.1:port`. */
  readonly endpoint: string;
  /** What a store in a bucket of this server is called. */
  url(bucket: string, prefix?: string): string;
  makeBucket(bucket: string): Promise<void>;
  /** Stops answering as if the machine were switched off, and comes back. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

export const serverTools = {
  radosgw: ['radosgw', 'radosgw-admin', 'ceph', 'ceph-mon', 'ceph-osd', 'ceph-authtool', 'monmaptool', 'setpriv'],
  versitygw: ['go', 'setpriv'],
} as const;

/** For a test with a server of its own; undefined after it was marked as skipped. */
export async function startRadosgw(t: TestContext): Promise<S3Server | undefined> {
  return requireTool(t, ...serverTools.radosgw) ? launchRadosgw() : undefined;
}

/** All objects lie in memory, `bytesMax` together; its own files below `parent`. */
export async function launchRadosgw(bytesMax = 2 ** 30, parent = os.tmpdir()): Promise<S3Server> {
  return launchOnFreePorts(() => launchRadosgwOnce(bytesMax, parent));
}

async function launchRadosgwOnce(bytesMax: number, parent: string): Promise<S3Server> {
  const folder = fs.mkdtempSync(path.join(parent, 'caisson-radosgw-'));
  const processes = new Processes(folder);
  const [monitorPort, port] = [await freePort(), await freePort()];
  const configuration = path.join(folder, 'ceph.conf');
  const clusterId = randomUUID();
  for (const name of ['mon', 'osd', 'log', 'run', 'rgw']) fs.mkdirSync(path.join(folder, name));
  fs.writeFileSync(configuration, cephConfiguration(folder, { clusterId, monitorPort, port, bytesMax }));
  const keyring = path.join(folder, 'keyring');
  const ceph = async (name: string, ...parameters: string[]): Promise<string> =>
    toolOutput(name, parameters, {
      timeoutMilliseconds: readyMillisecondsMax,
      environment: { CEPH_CONF: configuration },
    });
  try {
    const map = path.join(folder, 'monmap');
    await ceph('monmaptool', '--create', '--addv', 'a', `[v1:127.0.0.1:${monitorPort}]`, '--fsid', clusterId, map);
    await ceph('ceph-authtool', '--create-keyring', keyring, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *');
    const everything = ['mon', 'osd', 'mgr', 'mds'].flatMap((part) => ['--cap', part, 'allow *']);
    await ceph('ceph-authtool', keyring, '--gen-key', '-n', 'client.admin', ...everything);
    await ceph('ceph-mon', '-c', configuration, '--mkfs', '-i', 'a', '--monmap', map, '--keyring', keyring);
    processes.start('ceph-mon', ['-c', configuration, '-f', '-i', 'a']);
    await ceph('ceph-osd', '-c', configuration, '-i', '0', '--mkfs');
    const osdId = fs.readFileSync(path.join(folder, 'osd', 'fsid'), 'utf8').trim();
    await ceph('ceph', '-c', configuration, '-k', keyring, 'osd', 'new', osdId);
    // Here and not by the OSD itself: its first command may be on its way before it has the monitor's map, and it is
    // refused for that ("wrong fsid").
    const place = ['osd', 'crush', 'add', 'osd.0', '1.0', 'root=default', 'host=one'];
    await ceph('ceph', '-c', configuration, '-k', keyring, ...place);
    processes.start('ceph-osd', ['-c', configuration, '-f', '-i', '0']);
    const gateway = processes.start('radosgw', ['-c', configuration, '-f', '-k', keyring, '-n', 'client.rgw']);
    await untilAnswering(port, processes);
    const user = ['user', 'create', '--uid=caisson', '--display-name=caisson'];
    const keys = [`--access-key=${serverKeys.AWS_ACCESS_KEY_ID}`, `--secret-key=${serverKeys.AWS_SECRET_ACCESS_KEY}`];
    await ceph('radosgw-admin', '-c', configuration, '-k', keyring, '-n', 'client.rgw', ...user, ...keys);
    return serverAt('radosgw', port, gateway, processes);
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

/** Objects are files below `parent`. */
export async function launchVersitygw(parent = os.tmpdir()): Promise<S3Server> {
  const program = await buildVersitygw();
  return launchOnFreePorts(() => launchVersitygwOnce(program, parent));
}

async function launchVersitygwOnce(program: string, parent: string): Promise<S3Server> {
  const folder = fs.mkdtempSync(path.join(parent, 'caisson-versitygw-'));
  const processes = new Processes(folder);
  const port = await freePort();
  for (const name of ['iam', 'data']) fs.mkdirSync(path.join(folder, name));
  const parameters = ['--port', `127.0.0.1:${port}`, '--iam-dir', path.join(folder, 'iam'), '--quiet'];
  try {
    const gateway = processes.start(program, [...parameters, 'posix', path.join(folder, 'data')], {
      ROOT_ACCESS_KEY: serverKeys.AWS_ACCESS_KEY_ID,
      ROOT_SECRET_KEY: serverKeys.AWS_SECRET_ACCESS_KEY,
    });
    await untilAnswering(port, processes);
    return serverAt('versitygw', port, gateway, processes);
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

/** By the ordinary Go client, which checks the module against its checksum; kept for the next run. */
async function buildVersitygw(): Promise<string> {
  const folder = path.join(os.tmpdir(), `caisson-versitygw-${versitygwVersion}`);
  const program = path.join(folder, 'versitygw');
  if (!fs.existsSync(program)) {
    const building = `${folder}.${process.pid}`;
    await toolOutput('go', ['install', `github.com/versity/versitygw/cmd/versitygw@${versitygwVersion}`], {
      timeoutMilliseconds: 600_000,
      environment: { GOBIN: building },
    });
    fs.mkdirSync(folder, { recursive: true });
    fs.renameSync(path.join(building, 'versitygw'), program);
    fs.rmSync(building, { recursive: true, force: true });
  }
  return program;
}

class Processes {
  readonly #folder: string;
  readonly #children: { readonly name: string; readonly child: ChildProcess; readonly ended: Promise<unknown> }[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  start(
    program: string,
    parameters: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): ChildProcess {
    const name = path.basename(program);
    const output = fs.openSync(path.join(this.#folder, `${name}.out`), 'w');
    // The kernel ends it when this process ends, however that happens.
    const child = spawn('setpriv', ['--pdeathsig', 'SIGKILL', program, ...parameters], {
      stdio: ['ignore', output, output],
      env: { ...process.env, ...environment },
    });
    fs.closeSync(output);
    const ended = new Promise((resolve) => child.once('close', resolve));
    this.#children.push({ name, child, ended });
    return child;
  }

  /** Fails with what a program said when it ended by itself. */
  check(): void {
    for (const { name, child } of this.#children) {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      assert.ok(!hasEnded, `${name} ended: ${fs.readFileSync(path.join(this.#folder, `${name}.out`), 'utf8')}`);
    }
  }

  async stop(): Promise<void> {
    for (const { child, ended } of this.#children.toReversed()) {
      child.kill('SIGCONT');
      child.kill('SIGKILL');
      await ended;
    }
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

function serverAt(name: string, port: number, gateway: ChildProcess, processes: Processes): S3Server {
  const endpoint = `http://127.0.0.1:${port}`;
  return {
    name,
    endpoint,
    url: (bucket, prefix = '') => `s3://${bucket}/${prefix}?endpoint=${endpoint}`,
    makeBucket: async (bucket) => {
      const headers = { host: `127.0.0.1:${port}` };
      const query: never[] = [];
      const request = { method: 'PUT', path: `/${bucket}`, query, headers, payloadHash: emptyPayloadHash };
      const { host, ...signed } = signRequest(
        { ...request, region: 'us-east-1', service: 's3', time: Date.now() },
        { accessKeyId: serverKeys.AWS_ACCESS_KEY_ID, secretAccessKey: serverKeys.AWS_SECRET_ACCESS_KEY },
      );
      assert.equal(host, headers.host);
      const answer = await fetch(`${endpoint}/${bucket}`, { method: 'PUT', headers: signed });
      assert.equal(answer.status, 200, await answer.text());
    },
    pause: () => void gateway.kill('SIGSTOP'),
    resume: () => void gateway.kill('SIGCONT'),
    stop: () => processes.stop(),
  };
}

async function untilAnswering(port: number, processes: Processes): Promise<void> {
  const deadline = performance.now() + readyMillisecondsMax;
  for (;;) {
    processes.check();
    const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    await answer?.arrayBuffer();
    if (answer !== undefined && answer.status < 500) return;
    assert.ok(performance.now() < deadline, 'the server did not answer in time');
    await sleep(200);
  }
}

interface CephOptions {
  readonly clusterId: string;
  readonly monitorPort: number;
  readonly port: number;
  readonly bytesMax: number;
}

function cephConfiguration(folder: string, { clusterId, monitorPort, port, bytesMax }: CephOptions): string {
  return `[global]
fsid = ${clusterId}
mon host = v1:127.0.0.1:${monitorPort}
mon initial members = a
public network = 127.0.0.0/8
ms bind ipv4 = true
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
log file = ${folder}/log/$name.log
admin socket = ${folder}/run/$name.asok
pid file = ${folder}/run/$name.pid
mon data = ${folder}/mon
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = ${bytesMax}
osd memory target = 939524096
mon data avail warn = 1
mon data avail crit = 1
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:${port}
rgw data = ${folder}/rgw
rgw thread pool size = 32
rgw dns name = localhost
`;
}
