/**
 * Where Caisson keeps its own files, by the XDG base directory rules. Pure: the environment and the
 * user id come in, so that tests and the command line agree without touching the disk.
 *
 * - configuration: `config.yaml`, `volumes.json` (names of volumes)
 * - state: `anchors/`, `mounts/`, `logs/`, `spools/`, `cache/`: what must outlive a restart and lie outside every store
 * - runtime: sockets and the daemon's lock; gone after a reboot
 */
import { CaissonError } from './errors.ts';

export interface Folders {
  readonly configurationFile: string;
  readonly volumesFile: string;
  readonly state: string;
  readonly anchors: string;
  readonly mounts: string;
  readonly logs: string;
  /** What remote stores keep here until it is published: `store/open-store.ts`. */
  readonly spools: string;
  /** Ciphertext that was fetched before; safe to lose. */
  readonly cache: string;
  readonly runtime: string;
  readonly adminSocket: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** sun_path holds 108 bytes with its terminator. */
export const socketPathBytesMax = 107;

export function resolveFolders(environment: Environment, userId: number): Folders {
  const configurationFile =
    absolute('CAISSON_CONFIG', environment) ?? `${base('XDG_CONFIG_HOME', '.config', environment)}/caisson/config.yaml`;
  const state =
    absolute('CAISSON_STATE', environment) ?? `${base('XDG_STATE_HOME', '.local/state', environment)}/caisson`;
  const runtime = absolute('CAISSON_RUNTIME', environment) ?? runtimeFolder(environment, userId, state);
  return {
    configurationFile,
    volumesFile: `${configurationFile.replace(/\/[^/]*$/, '')}/volumes.json`,
    state,
    anchors: `${state}/anchors`,
    mounts: `${state}/mounts`,
    logs: `${state}/logs`,
    spools: `${state}/spools`,
    cache: `${state}/cache`,
    runtime,
    adminSocket: `${runtime}/admin.sock`,
  };
}

function runtimeFolder(environment: Environment, userId: number, state: string): string {
  const xdg = environment['XDG_RUNTIME_DIR'];
  if (xdg !== undefined && xdg.startsWith('/')) return `${xdg}/caisson`;
  // A user without a session has no runtime folder; the state folder is theirs alone, /tmp is not.
  return userId === 0 ? '/run/caisson' : `${state}/run`;
}

function absolute(name: string, environment: Environment): string | undefined {
  const path = environment[name];
  if (path === undefined || path === '') return undefined;
  if (!path.startsWith('/')) {
    throw new CaissonError(
      'invalid',
      'configuration-invalid',
      `${name} must be an absolute path, not ${JSON.stringify(path)}`,
      {
        remedy: `Set ${name} to a path that begins with "/".`,
      },
    );
  }
  return path.length > 1 ? path.replace(/\/+$/, '') : path;
}

/** XDG: a relative path in one of its variables is to be ignored. */
function base(name: string, fallback: string, environment: Environment): string {
  const path = environment[name];
  if (path !== undefined && path.startsWith('/')) return path.replace(/\/+$/, '');
  const home = environment['HOME'];
  if (home === undefined || !home.startsWith('/')) {
    throw new CaissonError(
      'invalid',
      'configuration-invalid',
      'HOME is not set, so there is no place for the configuration',
      {
        remedy: 'Set HOME, or set CAISSON_CONFIG, CAISSON_STATE and CAISSON_RUNTIME to absolute paths.',
      },
    );
  }
  return `${home.replace(/\/+$/, '')}/${fallback}`;
}
