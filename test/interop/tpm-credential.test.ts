/**
 * Credentials that we make, opened by a software TPM through tpm2-tools; and keys, quotes and certified counters that it
 * makes, read and verified by us: RSA and ECC endorsement keys, attestation keys of each scheme.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { attestationKeyParent, checkAttestationKey } from '../../src/broker/attest/tpm/attestation-key.ts';
import { activationKeys } from '../../src/broker/attest/tpm/activation.ts';
import { makeCredential } from '../../src/broker/attest/tpm/credential.ts';
import { parseQuote, verifyNvCertify, verifyQuote } from '../../src/broker/attest/tpm/quote.ts';
import { parseAttest } from '../../src/wire/tpm/attest.ts';
import { TpmWriter } from '../../src/wire/tpm/codec.ts';
import { parsePublic, publicKeyOf } from '../../src/wire/tpm/public-area.ts';
import { hasTools } from '../support/tools.ts';
import { hasSwtpm, requireSwtpm, startSwtpm } from '../support/swtpm.ts';
import type { SoftwareTpm } from '../support/swtpm.ts';

const tools = ['tpm2_createek', 'tpm2_createak', 'tpm2_activatecredential'] as const;

test('a software TPM and tpm2-tools are installed', (t) => void requireSwtpm(t, ...tools));

const keys = [
  ['rsa', 'ecc', 'ecdsa', 'sha256'],
  ['ecc', 'ecc', 'ecdsa', 'sha384'],
  ['ecc', 'rsa', 'rsassa', 'sha256'],
  ['rsa', 'rsa', 'rsapss', 'sha256'],
] as const;

describe('keys of a software TPM', { skip: !hasSwtpm() || !hasTools(...tools) }, () => {
  let tpm: SoftwareTpm;
  before(async () => {
    tpm = await startSwtpm();
    await tpm.tool('tpm2_startup', '-c');
  });
  after(() => tpm.stop());

  const file = (name: string): string => path.join(tpm.folder, name);
  const read = (name: string): Uint8Array => Uint8Array.from(fs.readFileSync(file(name)));
  /** There is no resource manager: whatever a command leaves loaded is in the way of the next. */
  const tool = async (name: string, ...parameters: string[]): Promise<void> => {
    await tpm.tool(name, ...parameters);
    await tpm.tool('tpm2_flushcontext', '-t');
  };

  for (const [ekKind, akKind, scheme, hash] of keys)
    test(`endorsement key ${ekKind}, attestation key ${scheme} with ${hash}`, async () => {
      await tool('tpm2_createek', '-Q', '-G', ekKind, '-c', file('ek'), '-u', file('ek.pub'));
      const kind = ['-G', akKind, '-s', scheme, '-g', hash];
      await tool('tpm2_createak', '-Q', '-C', file('ek'), ...kind, '-c', file('ak'), '-u', file('ak.pub'));
      const area = parsePublic(read('ak.pub'));
      const activation = activationKeys({ akPublic: read('ak.pub'), ekPublic: read('ek.pub') });

      const secret = new Uint8Array(randomBytes(32));
      const credential = makeCredential(activation.endorsementKey, activation.akName, secret);
      // The file of tpm2-tools: a magic and a version before the two structures.
      const blob = new TpmWriter().u32(0xbadc_c0de).u32(1).bytes(credential.blob).bytes(credential.secret).finish();
      fs.writeFileSync(file('credential'), blob);
      await tpm.tool('tpm2_startauthsession', '--policy-session', '-S', file('session'));
      await tpm.tool('tpm2_policysecret', '-Q', '-S', file('session'), '-c', 'e');
      const session = ['-P', `session:${file('session')}`];
      const parameters = ['-Q', '-c', file('ak'), '-C', file('ek'), '-i', file('credential'), '-o', file('opened')];
      await tool('tpm2_activatecredential', ...parameters, ...session);
      await tpm.tool('tpm2_flushcontext', file('session'));
      assert.deepEqual(read('opened'), secret);

      const nonce = 'a1'.repeat(32);
      const signed = ['-m', file('message'), '-s', file('signature')];
      await tool(
        'tpm2_quote',
        '-Q',
        '-c',
        file('ak'),
        '-l',
        'sha256:0,7',
        '-q',
        nonce,
        '-g',
        hash,
        '--scheme',
        scheme,
        ...signed,
      );
      const parts = { quote: read('message'), signature: read('signature'), pcrs: new Uint8Array(64) };
      const parsed = parseQuote(parts);
      verifyQuote(parsed, parts, publicKeyOf(area));
      checkAttestationKey(area, parsed.signature);
      const parent = attestationKeyParent(area, parsed.attest.qualifiedSigner, activation.endorsementKey);
      assert.equal(parent, 'endorsement-key');
      assert.equal(Buffer.from(parsed.attest.extraData).toString('hex'), nonce);
    });

  test('a counter that the TPM certifies', async () => {
    await tool('tpm2_createek', '-Q', '-G', 'ecc', '-c', file('ek'), '-u', file('ek.pub'));
    await tool('tpm2_createak', '-Q', '-C', file('ek'), '-G', 'ecc', '-c', file('ak'), '-u', file('ak.pub'));
    const index = '0x01800042';
    await tool('tpm2_nvdefine', '-Q', index, '-C', 'o', '-a', 'ownerread|ownerwrite|authread|authwrite|nt=counter');
    await tool('tpm2_nvincrement', '-Q', index, '-C', 'o');
    const certify = async (): Promise<{ attest: Uint8Array; signature: Uint8Array }> => {
      const signed = ['--attestation', file('message'), '-o', file('signature')];
      await tool('tpm2_nvcertify', '-C', file('ak'), '-c', 'o', '-q', 'b2b2', '--size', '8', ...signed, index);
      return { attest: read('message'), signature: read('signature') };
    };
    const first = await certify();
    const { attested } = parseAttest(first.attest);
    assert.equal(attested.type, 'nv-certify');
    if (attested.type !== 'nv-certify') return;
    const key = publicKeyOf(parsePublic(read('ak.pub')));
    const expected = { key, nonce: Uint8Array.of(0xb2, 0xb2), indexName: attested.indexName };
    const earlier = verifyNvCertify(first, expected).value;
    await tool('tpm2_nvincrement', '-Q', index, '-C', 'o');
    assert.equal(verifyNvCertify(await certify(), expected).value, earlier + 1n);
  });
});
