/** Our answers of the KBS protocol and another implementation of JWE: each opens what the other sealed (spec/kbs.md, "Answers"). */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { FlattenedEncrypt, flattenedDecrypt } from 'jose';
import { systemRandom } from '../../src/crypto/random.ts';
import { openJwe, sealJwe } from '../../src/wire/kbs/jwe.ts';
import type { Jwe, TeePublicKey } from '../../src/wire/kbs/jwe.ts';

const secret = new TextEncoder().encode('thirty-two bytes of a volume key');

const pairs: readonly (readonly [name: string, alg: TeePublicKey['alg'], privateKey: KeyObject])[] = [
  ['P-256', 'ECDH-ES+A256KW', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey],
  ['P-521', 'ECDH-ES+A256KW', generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
  ['RSA', 'RSA-OAEP-256', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
];

for (const [name, alg, privateKey] of pairs) {
  const publicKey = createPublicKey(privateKey);

  test(`jose opens what we sealed to a key on ${name}, and nothing that was changed`, async () => {
    const jwk = { ...publicKey.export({ format: 'jwk' }), alg } as TeePublicKey;
    for (let round = 0; round < 5; round++) {
      const jwe = sealJwe(secret, jwk, systemRandom);
      const { plaintext, protectedHeader } = await flattenedDecrypt({ ...jwe }, privateKey);
      assert.deepEqual(Buffer.from(plaintext), Buffer.from(secret));
      assert.deepEqual([protectedHeader?.alg, protectedHeader?.enc], [alg, 'A256GCM']);
      await assert.rejects(flattenedDecrypt({ ...jwe, tag: Buffer.alloc(16).toString('base64url') }, privateKey));
    }
  });

  test(`we open what jose sealed to a key on ${name}`, async () => {
    for (let round = 0; round < 5; round++) {
      const jwe = await new FlattenedEncrypt(secret).setProtectedHeader({ alg, enc: 'A256GCM' }).encrypt(publicKey);
      assert.deepEqual(Buffer.from(openJwe(jwe as unknown as Jwe, privateKey)), Buffer.from(secret));
    }
  });
}
