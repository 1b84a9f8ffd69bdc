/** The frozen keystores of test/vectors/keystore: each right but for the one fault its file names. */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { decodeKeystore, encodeKeystore } from '../../src/keys/keystore-format.ts';
import { openKeySource } from '../../src/keys/open-key-source.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { context, keyRefusal } from '../support/key-services.ts';

interface Vector {
  readonly comment: string;
  readonly expect: string;
  readonly keyFile: string;
  readonly volumeId?: string;
  readonly name?: string;
  readonly secret?: string;
  readonly keystore: string;
}

const folder = new URL('../vectors/keystore/', import.meta.url);
const scratch = mkdtempSync(path.join(os.tmpdir(), 'caisson-keystore-vectors-'));
after(() => rmSync(scratch, { recursive: true }));

for (const file of readdirSync(folder).filter((entry) => entry.endsWith('.json'))) {
  const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Vector;
  const encoded = Buffer.from(vector.keystore, 'hex');

  test(`keystore vector ${file}: ${vector.comment}`, async () => {
    const store = path.join(scratch, `${file}.keystore`);
    const key = path.join(scratch, `${file}.key`);
    writeFileSync(store, encoded);
    writeFileSync(key, Buffer.from(vector.keyFile, 'hex'));
    const source = await openKeySource(`keystore:${store}?name=${vector.name ?? 'data'}&unlock=file:${key}`, context);
    const use = { volumeId: Buffer.from(vector.volumeId ?? '00'.repeat(16), 'hex') };
    const parameters = Buffer.concat([Buffer.of(1), Buffer.alloc(32, 5), Buffer.of(1, 0, 0, 0)]);
    if (vector.expect === 'opens') {
      const derived = await source.derive(parameters, use);
      const information = Buffer.concat([Buffer.from('caisson v1 keystore key\0'), use.volumeId]);
      const salt = parameters.subarray(1, 33);
      const expected = hkdfSync('sha256', Buffer.from(vector.secret ?? '', 'hex'), salt, information, 32);
      assert.equal(Buffer.from(derived).toString('hex'), Buffer.from(expected).toString('hex'));
      assert.equal(Buffer.compare(encodeKeystore(decodeKeystore(encoded)), encoded), 0);
      return;
    }
    const refusal = await keyRefusal(source.derive(parameters, use), 'key-source-unavailable');
    assert.ok(refusal.cause instanceof CaissonError);
    assert.equal(refusal.cause.code, vector.expect);
  });
}
