import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from './errors.ts';
import { resolveFolders } from './folders.ts';

test('the defaults follow the XDG rules', () => {
  const folders = resolveFolders({ HOME: '/home/ada', XDG_RUNTIME_DIR: '/run/user/1000' }, 1000);
  assert.equal(folders.configurationFile, '/home/ada/.config/caisson/config.yaml');
  assert.equal(folders.volumesFile, '/home/ada/.config/caisson/volumes.json');
  assert.equal(folders.anchors, '/home/ada/.local/state/caisson/anchors');
  assert.equal(folders.adminSocket, '/run/user/1000/caisson/admin.sock');
});

test('root without a session uses /run, another user its own state folder', () => {
  assert.equal(resolveFolders({ HOME: '/root' }, 0).runtime, '/run/caisson');
  assert.equal(resolveFolders({ HOME: '/home/ada' }, 1000).runtime, '/home/ada/.local/state/caisson/run');
});

test('the variables of Caisson win, and relative XDG paths do not count', () => {
  const folders = resolveFolders(
    {
      CAISSON_CONFIG: '/etc/caisson.yaml',
      CAISSON_STATE: '/var/lib/caisson/',
      CAISSON_RUNTIME: '/run/c',
      HOME: '/h',
      XDG_STATE_HOME: 'x',
    },
    0,
  );
  assert.equal(folders.configurationFile, '/etc/caisson.yaml');
  assert.equal(folders.volumesFile, '/etc/volumes.json');
  assert.equal(folders.mounts, '/var/lib/caisson/mounts');
  assert.equal(folders.runtime, '/run/c');
  assert.equal(resolveFolders({ HOME: '/h', XDG_STATE_HOME: 'x' }, 0).state, '/h/.local/state/caisson');
});

test('a relative path of our own, and no home at all, are refused', () => {
  const isInvalid = (error: unknown): boolean => isCaissonError(error, 'configuration-invalid');
  assert.throws(() => resolveFolders({ HOME: '/h', CAISSON_STATE: 'here' }, 0), isInvalid);
  assert.throws(() => resolveFolders({}, 0), isInvalid);
});
