/** Changed advertisements of a Tang server: an exchange key comes only out of what the pinned key signed. */
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { exchangeKeyOf, pointFromBytes, pointFromJwk, thumbprintOf } from '../../src/keys/tang-keys.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

type Fields = Record<string, unknown>;

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const signer = keyFrom(random);
  const exchange = keyFrom(random).jwk;
  const keys = [
    { ...signer.jwk, alg: 'ES512', key_ops: ['verify'] },
    { ...exchange, alg: 'ECMR', key_ops: ['deriveKey'] },
  ];
  const payload = Buffer.from(JSON.stringify({ keys })).toString('base64url');
  const head = Buffer.from('{"alg":"ES512"}').toString('base64url');
  const options = { key: signer.key, dsaEncoding: 'ieee-p1363' as const };
  const signature = sign('sha512', Buffer.from(`${head}.${payload}`), options).toString('base64url');
  const whole = { payload, protected: head, signature };
  const thumbprint = thumbprintOf(signer.jwk);
  const expected = pointFromJwk(exchange);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    try {
      const found = exchangeKeyOf(mutated(whole, random), thumbprint);
      assert.ok(expected?.equals(found), `${where}: another key was taken`);
    } catch (error) {
      assert.ok(error instanceof CaissonError && error.code === 'key-source-unavailable', `${where}: ${String(error)}`);
    }
    pointFromBytes(random.bytes(random.below(140)));
  }
}

function keyFrom(random: SeededBytes): { key: ReturnType<typeof createPrivateKey>; jwk: Fields } {
  // A P-521 key in SEC1 form, whose scalar is below the order because its first bytes are zero.
  const scalar = Buffer.concat([Buffer.alloc(2), Buffer.from(random.bytes(64))]);
  const body = Buffer.concat([
    Buffer.from('02010104 42'.replace(' ', ''), 'hex'),
    scalar,
    Buffer.from('a00706052b81040023', 'hex'),
  ]);
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from([0x30, body.length]), body]),
    format: 'der',
    type: 'sec1',
  });
  const { kty, crv, x, y } = createPublicKey(key).export({ format: 'jwk' });
  return { key, jwk: { kty, crv, x, y } };
}

function mutated(whole: Fields, random: SeededBytes): Fields {
  const fields = Object.keys(whole);
  const name = fields[random.below(fields.length)]!;
  const text = String(whole[name]);
  const place = random.below(text.length);
  const kind = random.below(6);
  if (kind === 0) return { ...whole, [name]: [null, 7, {}, [], ''][random.below(5)] };
  if (kind === 1) return { ...whole, signatures: [whole, null, 5] };
  if (kind === 2) return { ...whole, [name]: text.slice(0, place) };
  const letters = 'ABCDEFabcdef0189-_={}"';
  const letter = letters[random.below(letters.length)]!;
  return { ...whole, [name]: `${text.slice(0, place)}${letter}${text.slice(place + 1)}` };
}
