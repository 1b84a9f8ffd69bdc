/**
 * A process that mounts a memory device and then waits to be killed, for crash tests:
 * `node mount-child.ts <directory> <state folder> <stop>`. Prints `mounted` and a line of JSON, or
 * `stopped` when it kills itself around the program call number `stop` (`2-` before, `2+` after).
 */
import { mountVolume } from '../../src/daemon/mounts/mounts.ts';
import { systemMountEnvironment } from '../../src/daemon/mounts/mount-environment.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { writeSync } from 'node:fs';
import { MemoryDevice } from './memory-device.ts';

const [directory = '', stateFolder = '', stop = ''] = process.argv.slice(2);
const system = systemMountEnvironment(systemClock, () => undefined);
let calls = 0;

function dieAt(moment: string): void {
  if (moment !== stop) return;
  writeSync(1, 'stopped\n');
  process.kill(process.pid, 'SIGKILL');
}

const device = new MemoryDevice(64 * 1024 * 1024);
device.recordsCalls = false;
const keepAlive = setInterval(() => undefined, 60_000);
const mounted = await mountVolume(
  { name: 'crash', device, directory, stateFolder, makeFileSystem: 'ext4' },
  {
    ...system,
    async run(name, parameters, options) {
      calls += 1;
      const call = calls;
      dieAt(`${call}-`);
      const result = await system.run(name, parameters, options);
      dieAt(`${call}+`);
      return result;
    },
  },
);
writeSync(1, `mounted ${JSON.stringify({ ...mounted, calls })}\n`);
keepAlive.ref();
