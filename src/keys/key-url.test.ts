import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CaissonError } from '../lib/errors.ts';
import { parseKeyUrl, requiredOption } from './key-url.ts';

describe('the URL of a key source', () => {
  test('is split into kind, body and options', () => {
    const url = parseKeyUrl(
      'vault:https://vault.example:8200/transit/data?token-file=/run/token%201&namespace=team%2Fa',
    );
    assert.equal(url.kind, 'vault');
    assert.equal(url.body, 'https://vault.example:8200/transit/data');
    assert.deepEqual(
      [...url.options],
      [
        ['token-file', '/run/token 1'],
        ['namespace', 'team/a'],
      ],
    );
    assert.equal(requiredOption(url, 'namespace'), 'team/a');
    assert.equal(parseKeyUrl('tpm:').body, '');
  });

  test('keeps the schemes apart that begin alike', () => {
    assert.equal(parseKeyUrl('aws-kms:alias/data').kind, 'aws-kms');
    refused('aws:alias/data', /no known kind/);
    refused('vaults:https://x', /no known kind/);
  });

  test('is refused by name', () => {
    refused('', /no known kind/);
    refused('VAULT:https://x', /no known kind/);
    refused(`tang:${'x'.repeat(2048)}`, /longer than 2048/);
    refused('tang:http://a b', /space/);
    refused('tang:http://ü', /space or a character/);
    refused('tang:http://x#top', /fragment/);
    refused('tang:http://x?thumbprint=a?b', /two question marks/);
    refused('tang:http://x?thumbprint=a&thumbprint=b', /given twice/);
    refused('tang:http://x?thumbprint', /empty/);
    refused('tang:http://x?', /no option ""/);
    refused('tang:http://x?thumbprint=%ff', /not percent-encoded UTF-8/);
    refused('tang:http://x?thumbprint=%0a', /control character/);
    refused('vault:https://x/transit/key?token-file=token', /relative/);
  });

  test('an unknown option is refused with the list of known ones', () => {
    assert.throws(
      () => parseKeyUrl('tang:http://x?thumb=a'),
      (error) => error instanceof CaissonError && /thumbprint, ca-file/.test(error.remedy ?? ''),
    );
    refused('tang:http://x?toString=a', /no option "toString"/);
  });

  test('holds no secret, and the refusal does not repeat one', () => {
    for (const text of [
      'vault:https://x/transit/key?token=hvs.supersecret',
      'pkcs11:token=a?pin-value=supersecret',
      'vault:https://user:supersecret@x/transit/key',
    ]) {
      assert.throws(
        () => parseKeyUrl(text),
        (error) =>
          error instanceof CaissonError &&
          error.code === 'argument-invalid' &&
          !/supersecret/.test(error.message) &&
          /into a file/.test(error.remedy ?? ''),
      );
    }
  });

  test('a missing option is named', () => {
    assert.throws(() => requiredOption(parseKeyUrl('tang:http://x'), 'thumbprint'), /thumbprint is missing/);
  });
});

function refused(text: string, message: RegExp): void {
  assert.throws(
    () => parseKeyUrl(text),
    (error) => error instanceof CaissonError && error.code === 'argument-invalid' && message.test(error.message),
  );
}
