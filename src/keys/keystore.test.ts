import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { context, keyRefusal, use } from '../../test/support/key-services.ts';
import { systemRandom } from '../crypto/random.ts';
import { createKeyFileSource } from './key-file.ts';
import type { HeldKeySource } from './key-source.ts';
import { parseKeyUrl } from './key-url.ts';
import { createKeystore, createKeystoreSource } from './keystore.ts';
import { noneSource } from './none.ts';
import { openKeySource } from './open-key-source.ts';
import { createPassphraseSource } from './passphrase.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-keystore-'));
after(() => fs.rmSync(folder, { recursive: true }));
const file = (name: string): string => path.join(folder, name);

const keyContent = (first: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, index) => index + first);
const keyFile = (first: number): HeldKeySource =>
  createKeyFileSource({ content: keyContent(first), random: systemRandom });
const passphrase = createPassphraseSource({
  passphrase: new TextEncoder().encode('correct horse'),
  random: systemRandom,
  cost: { memoryKibibytes: 64 * 1024, passes: 3, parallelism: 1 },
});
for (const first of [1, 2]) fs.writeFileSync(file(`key-${first}`), keyContent(first));
fs.writeFileSync(file('passphrase'), 'correct horse\n');
fs.writeFileSync(file('wrong'), 'incorrect horse\n');
await createKeystore(file('store'), [keyFile(1), passphrase], systemRandom);

function source(options: string, store = file('store')): HeldKeySource {
  return createKeystoreSource(parseKeyUrl(`keystore:${store}?${options}`), context, openKeySource);
}
const unlock = `unlock=${encodeURIComponent(`file:${file('key-1')}`)}`;

keySourceConformance('keystore', {
  make: () => source(`name=data&${unlock}`),
  makeOther: () => source(`name=other&${unlock}`),
  bindsVolume: true,
});

describe('keystore', () => {
  test('whatever opens it gives the same keys', async () => {
    const { parameters, key } = await source(unlock).enroll(use);
    assert.deepEqual(await source(`passphrase-file=${file('passphrase')}`).derive(parameters, use), key);
  });

  test('is readable by its owner alone, and never over a file that is there', async () => {
    assert.equal(fs.statSync(file('store')).mode & 0o777, 0o600);
    const before = fs.readFileSync(file('store'));
    await keyRefusal(createKeystore(file('store'), [keyFile(1)], systemRandom), 'store-io');
    assert.deepEqual(fs.readFileSync(file('store')), before);
    await keyRefusal(createKeystore(file('open'), [noneSource], systemRandom), 'argument-invalid');
    await keyRefusal(createKeystore(file('open'), [keyFile(1), noneSource], systemRandom), 'argument-invalid');
    await keyRefusal(createKeystore(file('open'), [], systemRandom), 'argument-invalid');
    assert.equal(fs.existsSync(file('open')), false);
  });

  test('the wrong key, another keystore, a damaged or missing one end the attempt by name', async () => {
    const { parameters } = await source(unlock).enroll(use);
    await createKeystore(file('second'), [keyFile(1)], systemRandom);
    fs.writeFileSync(file('damaged'), fs.readFileSync(file('store')).fill(1, 60, 70));
    fs.writeFileSync(file('long'), new Uint8Array(200_000));
    const wrong = [
      source(`unlock=file:${file('key-2')}`),
      source(`passphrase-file=${file('wrong')}`),
      source(unlock, file('damaged')),
      source(unlock, file('long')),
      source(unlock, file('none')),
      source(`unlock=file:${file('none')}`),
      source(`unlock=tang:http://127.0.0.1:1?thumbprint=${'a'.repeat(43)}`.replaceAll('?', '%3F')),
    ];
    for (const one of wrong) await keyRefusal(one.derive(parameters, use), 'key-source-unavailable');
    const expected = await source(unlock).derive(parameters, use);
    assert.notDeepEqual(await source(unlock, file('second')).derive(parameters, use), expected);
  });

  test('a key epoch that it never had opens nothing', async () => {
    const { parameters } = await source(unlock).enroll(use);
    const later = Uint8Array.from(parameters).fill(9, 33);
    await keyRefusal(source(unlock).derive(later, use), 'key-wrong');
  });

  test('URLs that cannot work are refused before anything is read', () => {
    for (const options of [
      'name=a',
      `${unlock}&passphrase-file=/p`,
      `${unlock}&name=${'a'.repeat(65)}`,
      `${unlock}&name=a/b`,
      'unlock=keystore:/a',
    ])
      assert.throws(() => source(options), { code: 'argument-invalid' }, options);
    assert.throws(() => createKeystoreSource(parseKeyUrl(`keystore:keys?${unlock}`), context, openKeySource), {
      code: 'argument-invalid',
    });
  });
});
