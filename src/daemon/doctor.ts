/**
 * `caisson doctor`: looks at everything a volume needs on this machine and says what to do about
 * what is missing. `broken` is something without which volumes cannot be used at all; `warning` is
 * something that costs speed or one way of doing things.
 */
import { constants, accessSync, existsSync, readFileSync, statSync } from 'node:fs';
import type { OperationResponse } from '../admin/operations.ts';
import { messageOf, CaissonError, isCaissonError } from '../lib/errors.ts';
import { blockDeviceFacts } from '../sys/block-device-facts.ts';
import { describeDevice } from './device-report.ts';
import type { OperationsContext } from './operations-context.ts';

type Report = OperationResponse<'doctor'>;
type Check = Report['checks'][number];

const nodeWanted = [26, 10] as const;
/** One descriptor for each open segment, each client and each spool file. */
const openFilesWanted = 1024;

/** `store`: one that no name leads to (yet), to be looked at, too. */
export async function examine(context: OperationsContext, store?: string): Promise<Report> {
  const checks: Check[] = [
    checkNode(),
    await checkSealer(context),
    ...checkFolders(context),
    ...checkKernel(),
    ...checkTools(),
    ...checkLimits(),
    ...(await checkStores(context)),
    ...(await checkDevices(context, store)),
    ...(await checkAttestation()),
    await checkDaemon(context),
  ];
  return { sound: checks.every(({ result }) => result !== 'broken'), checks };
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isNew = major > nodeWanted[0] || (major === nodeWanted[0] && minor >= nodeWanted[1]);
  if (isNew) return good('node', `Node.js ${process.versions.node}, OpenSSL ${process.versions.openssl}`);
  return broken(
    'node',
    `Node.js ${process.versions.node} is too old`,
    `Install Node.js ${nodeWanted.join('.')} or newer.`,
  );
}

async function checkSealer({ parts }: OperationsContext): Promise<Check> {
  const { name, reason } = await parts.sealer();
  if (name === 'openssl-ffi') return good('sealer', `${name}: ${reason}`);
  return warning(
    'sealer',
    `${name}: ${reason}`,
    'Sealing works, at a fraction of the speed; see docs/dependencies.md on node:ffi.',
  );
}

function checkFolders({ folders }: OperationsContext): Check[] {
  const places: [string, string][] = [
    ['configuration folder', folders.volumesFile.replace(/\/[^/]*$/, '')],
    ['state folder', folders.state],
    ['runtime folder', folders.runtime],
  ];
  return places.map(([name, folder]) => {
    const found = nearestExisting(folder);
    try {
      accessSync(found, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (error) {
      return broken(
        name,
        `${folder}: ${messageOf(error)}`,
        `Make ${found} writable for this user, or choose another folder.`,
      );
    }
    if (found === folder && (statSync(folder).mode & 0o022) !== 0) {
      return broken(name, `${folder} can be changed by other users`, `Run: chmod 700 ${folder}`);
    }
    return good(name, found === folder ? folder : `${folder} (made when first needed)`);
  });
}

function nearestExisting(folder: string): string {
  let place = folder;
  while (place !== '/' && !existsSync(place)) place = place.replace(/\/[^/]*$/, '') || '/';
  return place;
}

function checkKernel(): Check[] {
  const isRoot = process.getuid?.() === 0;
  return [
    facility(
      'kernel nbd',
      existsSync('/sys/module/nbd') || existsSync('/dev/nbd0'),
      'not loaded',
      'Load it with "modprobe nbd"; mounts use FUSE and a loop device until then.',
    ),
    facility(
      'fuse',
      existsSync('/dev/fuse'),
      '/dev/fuse is missing',
      'Load the fuse module; "caisson mount" needs it where nbd is missing.',
    ),
    facility(
      'loop devices',
      existsSync('/dev/loop-control'),
      '/dev/loop-control is missing',
      'Load the loop module; "caisson mount" needs it where nbd is missing.',
    ),
    facility('root', isRoot, 'not root', 'Mounting needs root; serving NBD does not.'),
  ];
}

function checkTools(): Check[] {
  const wanted: readonly [string, string][] = [
    ['mount', 'util-linux'],
    ['losetup', 'util-linux'],
    ['blkid', 'util-linux'],
    ['nbd-client', 'nbd-client'],
    ['mkfs.ext4', 'e2fsprogs'],
    ['mkfs.xfs', 'xfsprogs'],
    ['mkfs.btrfs', 'btrfs-progs'],
  ];
  return wanted.map(([tool, packageName]) => {
    const path = findTool(tool);
    if (path !== undefined) return good(tool, path);
    return warning(tool, 'not installed', `Install the package ${packageName} where "caisson mount" should use it.`);
  });
}

function findTool(tool: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => `${folder}/${tool}`)
    .find((path) => existsSync(path));
}

function checkLimits(): Check[] {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(readText('/proc/self/limits'))?.[1] ?? 'unknown';
  const isLow = soft !== 'unlimited' && soft !== 'unknown' && Number(soft) < openFilesWanted;
  const core = /^Max core file size\s+(\d+|unlimited)/m.exec(readText('/proc/self/limits'))?.[1] ?? 'unknown';
  const hasSwap = readText('/proc/swaps').trim().split('\n').length > 1;
  return [
    isLow
      ? warning(
          'open files',
          `the limit is ${soft}`,
          `Raise it to ${openFilesWanted} or more: "ulimit -n ${openFilesWanted}".`,
        )
      : good('open files', soft),
    core === '0'
      ? good('core dumps', 'off')
      : warning('core dumps', 'allowed: a crash could write keys to disk', 'Start the daemon with "ulimit -c 0".'),
    hasSwap
      ? warning('swap', 'on: keys in memory can reach the disk', 'Turn it off, or put it on an encrypted device.')
      : good('swap', 'off'),
  ];
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

async function checkStores({ parts, names }: OperationsContext): Promise<Check[]> {
  const stores = new Map<string, string[]>();
  try {
    for (const [name, { store }] of names.list()) stores.set(store, [...(stores.get(store) ?? []), name]);
  } catch (error) {
    return [broken('volumes', messageOf(error), remedyOf(error))];
  }
  const checks: Check[] = [];
  for (const [store, volumes] of stores) {
    const label = `store ${store}`;
    try {
      const opened = await parts.openEnvironment(store, { create: false });
      await opened.close();
      checks.push(good(label, `reachable; ${volumes.join(', ')}`));
    } catch (error) {
      if (isCaissonError(error, 'store-open-elsewhere')) checks.push(good(label, `in use; ${volumes.join(', ')}`));
      else checks.push(broken(label, `${messageOf(error)}; needed by ${volumes.join(', ')}`, remedyOf(error)));
    }
  }
  return checks;
}

/** What lies below each block store: that a name leads to, or that was asked for. */
async function checkDevices({ names }: OperationsContext, store: string | undefined): Promise<Check[]> {
  const { parseStoreUrl } = await import('../store/open-store.ts');
  const paths = new Set<string>();
  const urls = store === undefined ? [] : [store];
  try {
    for (const [, entry] of names.list()) urls.push(entry.store);
  } catch {
    // The check of the stores says so.
  }
  for (const url of urls) {
    const { scheme, location } = parseStoreUrl(url);
    if (scheme === 'block') paths.add(location);
  }
  return [...paths].flatMap((path) =>
    existsSync(path)
      ? describeDevice(path, blockDeviceFacts(path))
      : [broken(`device ${path}`, 'does not exist', 'Check the path, and whether the device is attached.')],
  );
}

/** What this machine could prove to a broker, and whether its TPM can be used. A machine without any of it lacks nothing. */
async function checkAttestation(): Promise<Check[]> {
  const { surveySources } = await import('../attester/detect-source.ts');
  return (await surveySources()).map(({ name, message, isBroken }) => {
    const label = `attestation: ${name}`;
    return isBroken ? warning(label, message, 'See docs/tpm.md; volumes work without it.') : good(label, message);
  });
}

async function checkDaemon({ folders }: OperationsContext): Promise<Check> {
  const { isDaemonRunning } = await import('../admin/client.ts');
  try {
    const isRunning = await isDaemonRunning(folders.adminSocket);
    return good('daemon', isRunning ? `answers at ${folders.adminSocket}` : 'none is running');
  } catch (error) {
    return broken('daemon', messageOf(error), remedyOf(error));
  }
}

function remedyOf(error: unknown): string {
  return (error instanceof CaissonError ? error.remedy : undefined) ?? 'Repair what the message names.';
}

function facility(name: string, isThere: boolean, message: string, remedy: string): Check {
  return isThere ? good(name, 'available') : warning(name, message, remedy);
}

function good(name: string, message: string): Check {
  return { name, result: 'good', message, remedy: null };
}

function warning(name: string, message: string, remedy: string): Check {
  return { name, result: 'warning', message, remedy };
}

function broken(name: string, message: string, remedy: string): Check {
  return { name, result: 'broken', message, remedy };
}
