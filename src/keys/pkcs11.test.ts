import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { FakeToken, tokenInfo } from '../../test/support/fake-token.ts';
import { context, keyRefusal, otherUse, use } from '../../test/support/key-services.ts';
import { Pkcs11Result, TokenFlag } from '../sys/pkcs11.ts';
import type { HeldKeySource } from './key-source.ts';
import { parseKeyUrl } from './key-url.ts';
import { createPkcs11Source } from './pkcs11.ts';
import { parsePkcs11Uri } from './pkcs11-uri.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-pkcs11-'));
const pinFile = path.join(folder, 'pin');
after(() => fs.rmSync(folder, { recursive: true }));

let token = freshToken();
let modules = 0;

function freshToken(): FakeToken {
  const fresh = new FakeToken();
  fresh.keys = [
    { label: 'data', id: 1, key: Buffer.alloc(32, 1) },
    { label: 'other', id: 2, key: Buffer.alloc(32, 2) },
  ];
  return fresh;
}

/** A module path of its own for each test: what a process remembers of a refused PIN belongs to one. */
function source(uri = 'token=hsm;object=data', options = `&pin-source=file:${pinFile}`): HeldKeySource {
  const url = parseKeyUrl(`pkcs11:${uri}?module-path=/lib/fake-${modules}.so${options}`);
  return createPkcs11Source(url, context, () => token);
}

beforeEach(() => {
  token = freshToken();
  modules++;
  fs.writeFileSync(pinFile, '1234\n');
});

keySourceConformance('pkcs11', {
  make: () => source(),
  makeOther: () => source('token=hsm;object=other'),
  bindsVolume: true,
});

describe('pkcs11', () => {
  test('the volume is bound by the token itself', async () => {
    const { parameters } = await source().enroll(use);
    const refusal = await keyRefusal(source().derive(parameters, otherUse), 'key-wrong');
    assert.match(refusal.message, /C_Decrypt/);
  });

  test('a wrong PIN is tried once, and again only when the file has changed', async () => {
    fs.writeFileSync(pinFile, '9999\n');
    const first = await keyRefusal(source().enroll(use), 'key-source-unavailable');
    assert.equal(first.kind, 'denied');
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
    assert.equal(token.logins, 1);
    assert.doesNotMatch(`${first.message} ${first.remedy}`, /9999/);
    fs.writeFileSync(pinFile, '1234\n');
    assert.equal((await source().enroll(use)).key.length, 32);
  });

  test('a token that is locked or near it is not tried at all', async () => {
    for (const flag of [TokenFlag.userPinFinalTry, TokenFlag.userPinLocked]) {
      token.infos = [tokenInfo('hsm', 1n, TokenFlag.loginRequired | flag)];
      await keyRefusal(source().enroll(use), 'key-source-unavailable');
    }
    assert.equal(token.logins, 0);
  });

  test('a PIN that is missing, empty or unreadable is named before the token is asked', async () => {
    assert.match(
      (await keyRefusal(source('token=hsm;object=data', '').enroll(use), 'key-source-unavailable')).remedy ?? '',
      /pin-source/,
    );
    fs.writeFileSync(pinFile, '');
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
    fs.rmSync(pinFile);
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
    assert.equal(token.logins, 0);
    token.infos = [tokenInfo('hsm', 1n, 0)];
    assert.equal((await source('token=hsm;object=data', '').enroll(use)).key.length, 32);
  });

  test('exactly one token and one key must fit', async () => {
    const absent = await keyRefusal(source('token=none;object=data').enroll(use), 'key-source-unavailable');
    assert.match(absent.remedy ?? '', /present are: hsm/);
    token.infos = [tokenInfo('hsm', 1n), tokenInfo('hsm', 2n)];
    await keyRefusal(source().enroll(use), 'key-source-unavailable');
    assert.equal((await source('token=hsm;serial=serial-2;object=data').enroll(use)).key.length, 32);
    assert.equal((await source('slot-id=1;object=data').enroll(use)).key.length, 32);
    await keyRefusal(source('token=hsm;slot-id=1;object=none').enroll(use), 'key-source-unavailable');
    token.keys.push({ label: 'data', id: 9, key: randomBytes(32) });
    await keyRefusal(source('slot-id=1;object=data').enroll(use), 'key-source-unavailable');
    assert.equal((await source('slot-id=1;object=data;id=%09').enroll(use)).key.length, 32);
  });

  test('a rotated key opens no old slot', async () => {
    const { parameters } = await source().enroll(use);
    token.keys = [{ label: 'data', id: 1, key: Buffer.alloc(32, 3) }];
    await keyRefusal(source().derive(parameters, use), 'key-wrong');
  });

  test('what the module returns is named', async () => {
    const { parameters } = await source().enroll(use);
    const cases: [string, number, string, string][] = [
      ['C_GetSlotList', 0x30, 'key-source-unavailable', 'transient'],
      ['C_OpenSession', 0xe1, 'key-source-unavailable', 'transient'],
      ['C_Login', Pkcs11Result.pinLocked, 'key-source-unavailable', 'denied'],
      ['C_Login', Pkcs11Result.pinExpired, 'key-source-unavailable', 'denied'],
      ['C_Decrypt', 0x32, 'key-source-unavailable', 'transient'],
      ['C_Decrypt', Pkcs11Result.mechanismInvalid, 'key-source-unavailable', 'denied'],
      ['C_Decrypt', Pkcs11Result.keyFunctionNotPermitted, 'key-source-unavailable', 'denied'],
      ['C_Decrypt', 0x06, 'key-wrong', 'denied'],
    ];
    for (const [call, result, code, kind] of cases) {
      token.failures.clear();
      token.failures.set(call, result);
      const refusal = await keyRefusal(source().derive(parameters, use), code);
      assert.equal(refusal.kind, kind, call);
    }
  });

  test('a module that is none is named', async () => {
    const url = parseKeyUrl('pkcs11:token=hsm;object=data?module-path=/does/not/exist.so');
    const refusal = await keyRefusal(createPkcs11Source(url, context).enroll(use), 'key-source-unavailable');
    assert.match(refusal.remedy ?? '', /module-path/);
  });
});

describe('pkcs11 URIs', () => {
  const rest = '?module-path=/m';
  const parse = (text: string): ReturnType<typeof parsePkcs11Uri> => parsePkcs11Uri(parseKeyUrl(`pkcs11:${text}`));

  test('are read as RFC 7512 says', () => {
    const uri = parse(
      `token=my%20hsm;manufacturer=A;model=B;serial=C;slot-id=7;object=d;id=%01%ffz;type=secret-key${rest}&pin-source=file:///p`,
    );
    assert.deepEqual(uri.token, { label: 'my hsm', manufacturer: 'A', model: 'B', serial: 'C' });
    assert.deepEqual([uri.slot, uri.object, uri.pinFile, uri.modulePath], [7, 'd', '/p', '/m']);
    assert.deepEqual(uri.id, Uint8Array.of(1, 255, 0x7a));
    assert.equal(parse(`object=d${rest}&pin-source=/p`).pinFile, '/p');
  });

  test('are refused where they are not clear', () => {
    for (const text of [
      'token=a;object=b',
      `token=a${rest}`,
      rest,
      `object=b;object=c${rest}`,
      `object=${rest}`,
      `objekt=b${rest}`,
      `object=b;${rest}`,
      `object=b;slot-id=x${rest}`,
      `object=b;type=private${rest}`,
      `id=%1${rest}`,
      `object=%ff${rest}`,
      `object=b${rest}&pin-source=pin`,
      `object=b${rest}&mechanism=aes-cbc`,
      `object=b;pin-value=1234${rest}`,
    ])
      assert.throws(() => parse(text), { code: 'argument-invalid' }, text);
  });
});
