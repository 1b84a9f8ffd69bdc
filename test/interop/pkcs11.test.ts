/** A real PKCS#11 module, SoftHSM, with a key that never leaves it: as a key source, and under a volume of the command. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { createPkcs11Source } from '../../src/keys/pkcs11.ts';
import type { HeldKeySource } from '../../src/keys/key-source.ts';
import { parseKeyUrl } from '../../src/keys/key-url.ts';
import { keySourceConformance } from '../conformance/key-source.ts';
import { Home } from '../support/caisson.ts';
import { context, keyRefusal, otherUse, use } from '../support/key-services.ts';
import { hasTools, requireTool, toolOutput } from '../support/tools.ts';

const tools = ['softhsm2-util', 'pkcs11-tool'];
const folder = mkdtempSync(path.join(os.tmpdir(), 'caisson-softhsm-'));
const pinFile = path.join(folder, 'pin');
const configuration = path.join(folder, 'softhsm2.conf');
const modulePath =
  [
    '/usr/lib/softhsm/libsofthsm2.so',
    '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
    '/usr/lib64/pkcs11/libsofthsm2.so',
  ].find((candidate) => existsSync(candidate)) ?? '/usr/lib/softhsm/libsofthsm2.so';
after(() => rmSync(folder, { recursive: true }));

/** The module reads the variable when it is loaded into this process, and so do the tools. */
async function makeToken(): Promise<void> {
  mkdirSync(path.join(folder, 'tokens'));
  writeFileSync(
    configuration,
    `directories.tokendir = ${folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  writeFileSync(pinFile, '1234\n');
  process.env['SOFTHSM2_CONF'] = configuration;
  await toolOutput('softhsm2-util', ['--init-token', '--free', '--label', 'hsm', '--pin', '1234', '--so-pin', '5678']);
  for (const [label, id] of [
    ['data', '01'],
    ['other', '02'],
    ['twice', '03'],
    ['twice', '04'],
  ] as const) {
    const kind = ['--keygen', '--key-type', 'AES:32', '--sensitive', '--usage-decrypt'];
    const login = ['--module', modulePath, '--token-label', 'hsm', '--login', '--pin', '1234'];
    await toolOutput('pkcs11-tool', [...login, ...kind, '--label', label, '--id', id]);
  }
}

function urlOf(key: string, pin = pinFile): string {
  return `pkcs11:token=hsm;${key}?module-path=${modulePath}&pin-source=file:${pin}`;
}

function source(key = 'object=data', pin = pinFile): HeldKeySource {
  return createPkcs11Source(parseKeyUrl(urlOf(key, pin)), context);
}

if (hasTools(...tools)) {
  await makeToken();
  keySourceConformance('pkcs11 on SoftHSM', {
    make: () => source(),
    makeOther: () => source('object=other'),
    bindsVolume: true,
  });
}

describe('SoftHSM', () => {
  test('binds the volume, finds keys by label and id, and asks for a clear name', async (t) => {
    if (!requireTool(t, ...tools)) return;
    const { parameters, key } = await source().enroll(use);
    assert.deepEqual(await source('id=%01').derive(parameters, use), key);
    await keyRefusal(source().derive(parameters, otherUse), 'key-wrong');
    await keyRefusal(source('object=other').derive(parameters, use), 'key-wrong');
    await keyRefusal(source('object=none').enroll(use), 'key-source-unavailable');
    await keyRefusal(source('object=twice').enroll(use), 'key-source-unavailable');
    assert.equal((await source('object=twice;id=%04').enroll(use)).key.length, 32);
  });

  test('refuses a wrong PIN once, and goes on with the right one', async (t) => {
    if (!requireTool(t, ...tools)) return;
    const wrong = path.join(folder, 'wrong');
    writeFileSync(wrong, '9999');
    assert.match(
      (await keyRefusal(source('object=data', wrong).enroll(use), 'key-source-unavailable')).message,
      /PIN is wrong/,
    );
    assert.match(
      (await keyRefusal(source('object=data', wrong).enroll(use), 'key-source-unavailable')).message,
      /refused before/,
    );
    assert.equal((await source().enroll(use)).key.length, 32);
  });

  test('is not any other library', async (t) => {
    if (!requireTool(t, ...tools)) return;
    const { sharedObjects } = process.report.getReport() as { readonly sharedObjects: readonly string[] };
    const library = sharedObjects.find((file) => /libc\.so/.test(file)) ?? '';
    const url = `pkcs11:object=data?module-path=${library}`;
    const refusal = await keyRefusal(
      createPkcs11Source(parseKeyUrl(url), context).enroll(use),
      'key-source-unavailable',
    );
    assert.match(refusal.remedy ?? '', /module-path/);
  });

  test('goes on through a hundred sessions', async (t) => {
    if (!requireTool(t, ...tools)) return;
    const { parameters, key } = await source().enroll(use);
    for (let round = 0; round < 100; round++) assert.deepEqual(await source().derive(parameters, use), key);
  });

  test('holds the key of a volume', async (t) => {
    if (!requireTool(t, ...tools)) return;
    const home = new Home(t);
    home.environment['SOFTHSM2_CONF'] = configuration;
    await home.json(['volume', 'create', 'data', '--size', '8M', '--store', home.store, '--key', urlOf('object=data')]);
    const { slots } = (await home.json(['key', 'ls', 'data'])) as unknown as { slots: { kind: string }[] };
    assert.deepEqual(
      slots.map(({ kind }) => kind),
      ['pkcs11'],
    );
    assert.notEqual((await home.json(['volume', 'inspect', 'data', '--unlock']))['sealed'], null);
    await home.json(['key', 'add', 'data', '--new-key', urlOf('object=other')]);
    await home.json(['key', 'rm', 'data', '0', '--key', urlOf('object=other')]);
    const wrong = await home.error(['volume', 'inspect', 'data', '--unlock']);
    assert.deepEqual([wrong.exit, wrong.code], [4, 'key-wrong']);
    await home.json(['volume', 'rm', 'data', '--yes']);
  });
});
