/**
 * Runs a program in a mount namespace of its own from which some mounts are taken away, for programs
 * that look into every mount they find: one whose server has died or does not answer would fail them,
 * or hang them, although it is none of their business. Nobody else sees the mounts go.
 *
 * Invariant: the shell here gets one fixed text; mount points, the program and its parameters are
 * arguments of it, which it never reads as commands.
 */
import { toolMissing } from './run-tool.ts';
import type { ToolRunner } from './run-tool.ts';

/** A mount that is gone already, or cannot be detached, is left to what the program says of it. */
const script = 'while [ "$1" != -- ]; do umount -i -c -l "$1" || :; shift; done; shift; exec "$@"';
/** What the shell ends with when the program is not there. */
const notFoundStatus = 127;

/** As `run`, without `mountPoints`, of which those that lie on top come first. */
export function withoutMounts(mountPoints: readonly string[], run: ToolRunner): ToolRunner {
  if (mountPoints.length === 0) return run;
  return async (name, parameters, options) => {
    const shell = ['sh', '-c', script, 'sh', ...mountPoints, '--', name, ...parameters];
    const result = await run('unshare', ['--mount', '--propagation', 'private', '--', ...shell], options);
    if (result.status === notFoundStatus) throw toolMissing(name);
    return result;
  };
}
