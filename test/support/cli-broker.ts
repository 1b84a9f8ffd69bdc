/** `caisson broker run` as a process of its own, with a state folder in the home of a test. */
import type { ChildProcess } from 'node:child_process';
import type { Home } from './caisson.ts';

export interface CliBroker {
  readonly url: string;
  readonly authorityFile: string;
  readonly identity: string;
  readonly child: ChildProcess;
  readonly stderr: () => string;
  /** `caisson broker <command> …` as root administrator; it must succeed. */
  admin(command: string, ...args: string[]): Promise<Record<string, unknown>>;
  /** Its exit code after SIGTERM. */
  stop(): Promise<number | null>;
}

const readyMillisecondsMax = 60_000;

/** `lines` are added to its configuration; a broker that ran in this home before goes on where it was. */
export async function startCliBroker(home: Home, lines: readonly string[] = [], port = 0): Promise<CliBroker> {
  const state = home.path('broker');
  const configuration = home.write(
    'broker.yaml',
    [`listen: 127.0.0.1:${port}`, `state: ${state}`, ...lines, ''].join('\n'),
  );
  const child = home.spawn(['-o', 'json', 'broker', 'run', '--config', configuration]);
  let [stdout, stderr] = ['', ''];
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const ready = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no broker: ${stderr}`)), readyMillisecondsMax);
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      stdout += piece;
      if (!stdout.includes('\n')) return;
      clearTimeout(timer);
      resolve(stdout);
    });
    void ended.then((code) => {
      clearTimeout(timer);
      reject(new Error(`the broker ended with ${code}: ${stderr}`));
    });
  });
  const { url, authorityFile, brokerId } = JSON.parse(ready) as Record<string, string>;
  const reach = ['--broker', url ?? '', '--ca-file', authorityFile ?? '', '--token-file', `${state}/admin.token`];
  return {
    ...{ url: url ?? '', authorityFile: authorityFile ?? '', identity: brokerId ?? '', child, stderr: () => stderr },
    admin: (command, ...args) => home.json(['broker', command, ...args, ...reach]),
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}
