/** URLs of key sources made of likely and unlikely pieces: each parses to what it says, or is refused by name without a secret. */
import assert from 'node:assert/strict';
import { parseKeyUrl } from '../../src/keys/key-url.ts';
import { parsePkcs11Uri } from '../../src/keys/pkcs11-uri.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const pieces = [
  ...[
    'vault:',
    'pkcs11:',
    'tang:',
    'kmip:',
    'aws-kms:',
    'tpm:',
    'broker:',
    'kbs:',
    'file:',
    'https://',
    'host',
    ':8200',
  ],
  ...['/', '//', '?', '&', '=', ';', '%', '%2F', '%ff', '%00', '#', '@', ' ', '\n', 'ü', '..', '[::1]', 'alias/a', 'x'],
  ...[
    'token=',
    'object=',
    'id=',
    '%01',
    'slot-id=',
    'type=secret-key',
    'module-path=/m',
    'pin-source=file:/p',
    'pin-value=9',
  ],
  ...['thumbprint=', 'token-file=', 'region=eu-central-1', 'ca-file=/c', 'password=hunter2', 'toString=', '__proto__='],
];

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const text = written(random);
    const where = `seed ${seed} iteration ${iteration}: ${JSON.stringify(text)}`;
    try {
      const url = parseKeyUrl(text);
      assert.ok(text.startsWith(`${url.kind}:${url.body}`), where);
      const pairs = [...url.options].map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
      const again = parseKeyUrl(`${url.kind}:${url.body}${pairs.length === 0 ? '' : `?${pairs.join('&')}`}`);
      assert.deepEqual([again.body, again.options], [url.body, url.options], where);
      if (url.kind === 'pkcs11') parsePkcs11Uri(url);
    } catch (error) {
      assert.ok(error instanceof CaissonError && error.code === 'argument-invalid', `${where}: ${String(error)}`);
      assert.doesNotMatch(`${error.message} ${error.remedy}`, /hunter2/, where);
    }
  }
}

function written(random: SeededBytes): string {
  const likely = random.below(2) === 0 ? 'pkcs11:token=a;object=b?module-path=/m' : '';
  const count = random.below(8);
  const rest = Array.from({ length: count }, () => pieces[random.below(pieces.length)]!);
  return likely + rest.join('');
}
