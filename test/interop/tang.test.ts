/** A real Tang server: the exchange, rotation, and a volume of the command that opens only where the server is reached. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { createTangSource } from '../../src/keys/tang.ts';
import type { HeldKeySource } from '../../src/keys/key-source.ts';
import { parseKeyUrl } from '../../src/keys/key-url.ts';
import { keySourceConformance } from '../conformance/key-source.ts';
import { Home } from '../support/caisson.ts';
import { context, keyRefusal, otherUse, use } from '../support/key-services.ts';
import { Tangd, tangdProgram } from '../support/tangd.ts';
import { hasTools, requireFile, requireTool } from '../support/tools.ts';

const base = mkdtempSync(path.join(os.tmpdir(), 'caisson-tang-'));
const isHere = hasTools('jose') && existsSync(tangdProgram);
const servers: Tangd[] = [];
after(() => {
  for (const server of servers) server.stop();
  rmSync(base, { recursive: true });
});

async function startTangd(name: string): Promise<Tangd> {
  const folder = path.join(base, name);
  mkdirSync(folder);
  const server = await new Tangd(folder).start();
  servers.push(server);
  return server;
}

const source = (url: string): HeldKeySource => createTangSource(parseKeyUrl(url), context);

if (isHere) {
  const [first, second] = [await (await startTangd('first')).url, await (await startTangd('second')).url];
  keySourceConformance('tang on tangd', {
    make: () => source(first),
    makeOther: () => source(second),
    bindsVolume: true,
  });
}

describe('tangd', () => {
  test('old slots open while their keys are hidden, and no longer when they are gone', async (t) => {
    if (!requireFile(t, tangdProgram) || !requireTool(t, 'jose')) return;
    const server = await startTangd('rotating');
    const url = await server.url;
    const { parameters, key } = await source(url).enroll(use);
    await keyRefusal(source(url).derive(parameters, otherUse), 'key-wrong');
    await server.rotate();
    assert.deepEqual(await source(url).derive(parameters, use), key);
    const refusal = await keyRefusal(source(url).enroll(use), 'key-source-unavailable');
    assert.match(refusal.remedy ?? '', /thumbprint/);
    const renewed = await source(await server.url).enroll(use);
    for (const name of readdirSync(server.folder).filter((file) => file.startsWith('.')))
      rmSync(path.join(server.folder, name));
    await keyRefusal(source(url).derive(parameters, use), 'key-wrong');
    assert.deepEqual(await source(url).derive(renewed.parameters, use), renewed.key);
  });

  test('a volume opens where the server is reached, and nowhere else', async (t) => {
    if (!requireFile(t, tangdProgram) || !requireTool(t, 'jose')) return;
    const server = await startTangd('volume');
    const home = new Home(t);
    await home.json(['volume', 'create', 'data', '--size', '8M', '--store', home.store, '--key', await server.url]);
    assert.notEqual((await home.json(['volume', 'inspect', 'data', '--unlock']))['sealed'], null);
    server.stop();
    const away = await home.error(['volume', 'inspect', 'data', '--unlock']);
    assert.deepEqual([away.exit, away.code, away.kind], [4, 'key-source-unavailable', 'transient']);
  });
});
