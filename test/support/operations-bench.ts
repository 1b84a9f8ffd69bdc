/** The daemon's operations over fake parts, as a command runs them and as the daemon does. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { Operations } from '../../src/admin/operations.ts';
import type { Credential } from '../../src/admin/schema.ts';
import { DaemonControl } from '../../src/daemon/daemon-control.ts';
import { createOperations } from '../../src/daemon/operations.ts';
import { VolumeHost } from '../../src/daemon/volume-host.ts';
import { VolumeNames } from '../../src/daemon/volume-names.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { resolveFolders } from '../../src/lib/folders.ts';
import { FakeParts } from './fake-parts.ts';

export const right: Credential = { kind: 'passphrase', secret: new TextEncoder().encode('right') };
export const wrong: Credential = { kind: 'passphrase', secret: new TextEncoder().encode('wrong') };

export interface OperationsBench {
  readonly parts: FakeParts;
  readonly names: VolumeNames;
  /** As a command runs them, and as the daemon does. */
  readonly local: Operations;
  readonly daemon: Operations;
  readonly host: VolumeHost;
  readonly stops: () => number;
}

export function startOperations(context: TestContext, background = false): OperationsBench {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-operations-'));
  context.after(() => fs.rmSync(home, { recursive: true }));
  const folders = resolveFolders({ HOME: home, XDG_RUNTIME_DIR: home }, 0);
  const parts = new FakeParts();
  const names = new VolumeNames(folders.volumesFile, async (_file, change) => change());
  const log = (): void => undefined;
  const host = new VolumeHost(parts, log);
  let stops = 0;
  const control = new DaemonControl({
    parts,
    names,
    host,
    folders,
    log,
    version: '1',
    background,
    requestStop: () => (stops += 1),
  });
  return {
    parts,
    names,
    local: createOperations({ parts, names, folders, log, daemon: undefined }),
    daemon: createOperations({ parts, names, folders, log, daemon: control }),
    host,
    stops: () => stops,
  };
}

export const dataVolume = {
  name: 'data',
  size: 8192,
  store: 'dir:/srv',
  protection: 'sealed' as const,
  durability: 'local' as const,
  credential: right,
};

export function refuses(code: Parameters<typeof isCaissonError>[1]): (error: unknown) => boolean {
  return (error) => isCaissonError(error, code) || assert.fail(`not ${code}: ${String(error)}`);
}

export async function createdVolume(operations: Operations): Promise<void> {
  await operations.createVolume(dataVolume);
}
