/** The machine: what it is, how busy it is, and how much room it has. Everything from /proc, so Linux alone. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const repositoryRoot = path.join(import.meta.dirname, '..');
/** USER_HZ of every Linux that Node runs on. */
const ticksPerSecond = 100;

export interface MachineReport {
  readonly date: string;
  readonly commit: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  readonly peers: Readonly<Record<string, string>>;
}

export function describeMachine(): MachineReport {
  return {
    date: new Date().toISOString(),
    commit: firstLine('git', ['-C', repositoryRoot, 'describe', '--always', '--dirty', '--exclude', '*']),
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    peers: {
      fio: firstLine('fio', ['--version']),
      nbdkit: firstLine('nbdkit', ['--version']),
      'qemu-nbd': firstLine('qemu-nbd', ['--version']),
      nbdcopy: firstLine('nbdcopy', ['--version']),
    },
  };
}

function firstLine(program: string, parameters: readonly string[]): string {
  try {
    return (
      execFileSync(program, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0] ?? ''
    );
  } catch {
    return 'unknown';
  }
}

/** Programs of `names` that are not on the PATH. */
export function missingPrograms(names: readonly string[]): string[] {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  return names.filter((name) => !folders.some((folder) => fs.existsSync(path.join(folder, name))));
}

/** Processor time in seconds: of everything, and of one process (0 when it is gone). */
export interface CpuTimes {
  readonly all: number;
  readonly server: number;
  /** This process and every child that it has waited for, which is how fio's time gets here. */
  readonly clients: number;
}

export function cpuTimes(serverPid: number | undefined): CpuTimes {
  const all = /^cpu +(.*)$/m.exec(fs.readFileSync('/proc/stat', 'utf8'))?.[1]?.split(' ').map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , interrupt = 0, softInterrupt = 0, stolen = 0] = all;
  const own = processFields('self');
  return {
    all: (user + nice + system + interrupt + softInterrupt + stolen) / ticksPerSecond,
    server: serverPid === undefined ? 0 : sum(processFields(serverPid).slice(11, 13)) / ticksPerSecond,
    clients: sum(own.slice(11, 15)) / ticksPerSecond,
  };
}

/** The fields of /proc/PID/stat from the third on; the second, the name, may hold blanks. */
function processFields(pid: number | 'self'): number[] {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text
      .substring(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
  } catch {
    return [];
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

export function residentBytes(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kibibytes ?? NaN) * 1024;
}

/** Bytes that may still be written below `folder`; what lies in RAM is also bound by free memory. */
export function freeBytes(folder: string): number {
  const { bavail, bsize, type } = fs.statfsSync(folder);
  const tmpfsMagic = 0x01021994;
  const free = bavail * bsize;
  if (type !== tmpfsMagic) return free;
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(fs.readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return Math.min(free, Number(available ?? 0) * 1024);
}
