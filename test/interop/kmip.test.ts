/** A real KMIP server, PyKMIP: each slot a key of its own, and what the server says when it is asked wrongly. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import type { HeldKeySource } from '../../src/keys/key-source.ts';
import { parseKeyUrl } from '../../src/keys/key-url.ts';
import { createKmipSource } from '../../src/keys/kmip.ts';
import { keySourceConformance } from '../conformance/key-source.ts';
import { Home } from '../support/caisson.ts';
import { context, keyRefusal, otherUse, use } from '../support/key-services.ts';
import { hasPykmip, Pykmip } from '../support/pykmip.ts';
import { makeTlsFiles } from '../support/tls-files.ts';
import { requirement } from '../support/tools.ts';

const base = mkdtempSync(path.join(os.tmpdir(), 'caisson-kmip-real-'));
const files = makeTlsFiles(base);
const isHere = hasPykmip();
const server = isHere ? await new Pykmip(path.join(base, 'first'), files).start() : undefined;
const other = isHere ? await new Pykmip(path.join(base, 'second'), files).start() : undefined;
after(async () => {
  await server?.stop();
  await other?.stop();
  rmSync(base, { recursive: true });
});

function urlOf(
  pair: { readonly certificate: string; readonly key: string } = files.client,
  port = server?.port ?? 1,
): string {
  return `kmip:127.0.0.1:${port}?cert-file=${pair.certificate}&key-file=${pair.key}&ca-file=${files.authority}`;
}

const source = (url = urlOf()): HeldKeySource => createKmipSource(parseKeyUrl(url), context);

if (isHere) {
  keySourceConformance('kmip on PyKMIP', {
    make: () => source(),
    makeOther: () => source(urlOf(files.client, other?.port)),
    bindsVolume: true,
  });
}

describe('PyKMIP', () => {
  test('keeps a key for each slot, and says so when it has none or does not know who asks', async (t) => {
    if (!requirement(t, isHere, 'python3-pykmip')) return;
    const { parameters, key } = await source().enroll(use);
    assert.deepEqual(await source().derive(parameters, use), key);
    await keyRefusal(source(urlOf(files.stranger)).derive(parameters, use), 'key-source-unavailable');
    const unknown = Uint8Array.from([...parameters.subarray(0, 33), ...Buffer.from('4711')]);
    await keyRefusal(source().derive(unknown, use), 'key-wrong');
    assert.notDeepEqual(await source().derive(parameters, otherUse), key);
  });

  test('holds the key of a volume', async (t) => {
    if (!requirement(t, isHere, 'python3-pykmip')) return;
    const home = new Home(t);
    await home.json(['volume', 'create', 'data', '--size', '8M', '--store', home.store, '--key', urlOf()]);
    assert.notEqual((await home.json(['volume', 'inspect', 'data', '--unlock']))['sealed'], null);
    const elsewhere = await home.error([
      'volume',
      'inspect',
      'data',
      '--unlock',
      '--key',
      urlOf(files.client, other?.port),
    ]);
    assert.deepEqual([elsewhere.exit, elsewhere.code], [4, 'key-wrong']);
  });
});
