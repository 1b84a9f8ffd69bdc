import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CaissonError } from '../lib/errors.ts';
import { createAdminClient } from './client.ts';

test('a daemon that dies in the middle of its answer is told with what to do', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'caisson-client-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'admin.sock');
  const server = http.createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write('{"progress":{"done":1,"total":2}}\n', () => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.after(() => server.close());
  await assert.rejects(createAdminClient(socketPath).listVolumes({}), (error) => {
    assert.ok(error instanceof CaissonError);
    assert.equal(error.code, 'daemon-unreachable');
    assert.match(error.remedy ?? '', /repeat the command/);
    return true;
  });
});
