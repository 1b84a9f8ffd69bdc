import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attestationJwk, fakeUserData, hclReport, runtimeData, vtpmKey } from '../../../../test/support/fake-azure.ts';
import type { FakeHcl, RuntimeData } from '../../../../test/support/fake-azure.ts';
import { endorsementKey } from '../../../../test/support/fake-amd.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { parseHclReport } from './hcl-report.ts';

function refused(bytes: Uint8Array, check: string, what?: string): void {
  assert.throws(
    () => parseHclReport(bytes, 'snp'),
    (error) => {
      assert.ok(isCaissonError(error, 'evidence-invalid'), String(error));
      assert.equal(error.details['check'], check, error.message);
      return true;
    },
    what,
  );
}

const jsonOffset = 32 + 1184 + 20;
const patched = (offset: number, ...bytes: number[]): FakeHcl => ({ patches: [[offset, bytes]] });
const withData = (changes: RuntimeData): Uint8Array => hclReport({ json: runtimeData(changes) });

describe('report of the paravisor', () => {
  it('gives the hardware report, the runtime data and what they say', () => {
    const parsed = parseHclReport(hclReport(), 'snp');
    assert.equal(parsed.hardwareReport.length, 1184);
    assert.deepEqual(parsed.runtimeData, runtimeData());
    assert.equal(parsed.hash, 'sha256');
    assert.deepEqual(parsed.attestationKey.export({ format: 'jwk' }).n, attestationJwk()['n']);
    assert.deepEqual(parsed.machine, {
      isSecureBootOn: true,
      isTpmOn: true,
      isConsoleOn: false,
      id: 'FAKE-ID',
      userData: Uint8Array.from(Buffer.from(fakeUserData, 'hex')),
    });
  });

  it('lets the paravisor say nothing of the machine', () => {
    const { machine } = parseHclReport(withData({ 'vm-configuration': undefined, 'user-data': undefined }), 'snp');
    assert.deepEqual(Object.values(machine), Array(5).fill(undefined));
  });

  it('knows both versions and all three digests', () => {
    for (const version of [1, 2]) parseHclReport(hclReport(patched(4, version)), 'snp');
    for (const hash of ['sha256', 'sha384', 'sha512'] as const)
      assert.equal(parseHclReport(hclReport({ hash }), 'snp').hash, hash);
  });

  const forms: Readonly<Record<string, FakeHcl>> = {
    'another magic': patched(0, 0x68),
    'version 0': patched(4, 0),
    'version 3': patched(4, 3),
    'another request': patched(12, 1),
    'runtime data of another version': patched(1216 + 4, 2),
    'other hardware': { reportType: 4 },
    'an unknown digest': patched(1216 + 12, 4),
    'no digest': patched(1216 + 12, 0),
    'a size that does not fit the length': patched(1216, 1),
    'a length beyond the end': patched(1216, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0xeb, 0xff, 0, 0),
    'something after the runtime data': patched(2599, 1),
  };
  for (const [what, options] of Object.entries(forms))
    it(`refuses ${what}`, () => refused(hclReport(options), 'hcl-form'));

  it('refuses one that is cut off', () => {
    const whole = hclReport();
    for (const length of [0, 3, 32, 1215, jsonOffset - 1, jsonOffset + runtimeData().length - 1])
      refused(whole.subarray(0, length), 'hcl-form', `${length}`);
    parseHclReport(whole.subarray(0, jsonOffset + runtimeData().length), 'snp');
  });

  it('refuses runtime data that are no JSON object in UTF-8', () => {
    for (const text of ['', '{', '[]', 'null', '"x"', '{}x'])
      refused(hclReport({ json: new TextEncoder().encode(text) }), 'runtime-data', text);
    refused(hclReport({ json: Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d) }), 'runtime-data', 'not UTF-8');
  });

  it('wants exactly one attestation key', () => {
    const jwk = attestationJwk();
    for (const keys of [undefined, {}, [], [{ ...jwk, kid: 'HCLEkPub' }], [jwk, jwk], [jwk, 1], [null]])
      refused(withData({ keys }), 'runtime-data', JSON.stringify(keys));
  });

  it('wants it to be of RSA, and neither short nor long', () => {
    const { n, e, ...rest } = attestationJwk();
    const elliptic = { kid: 'HCLAkPub', ...endorsementKey().export({ format: 'jwk' }) };
    const keys = [
      elliptic,
      { ...rest, e },
      { ...rest, n },
      { ...rest, n: 1, e },
      { ...rest, n: '', e },
      attestationJwk(vtpmKey('short', 1024)),
    ];
    for (const key of keys) refused(withData({ keys: [key] }), 'runtime-data', JSON.stringify(key));
    refused(withData({ keys: [{ ...rest, e, n: Buffer.alloc(520, 0xff).toString('base64url') }] }), 'runtime-data');
  });

  it('wants it to have the exponent of TPMs', () => {
    for (const e of ['AQ', 'Aw', 'AQAD']) refused(withData({ keys: [{ ...attestationJwk(), e }] }), 'runtime-data', e);
  });

  it('refuses facts of the wrong type', () => {
    refused(withData({ 'vm-configuration': [] }), 'runtime-data');
    for (const [name, value] of [
      ['secure-boot', 1],
      ['tpm-enabled', 'true'],
      ['console-enabled', null],
      ['vmUniqueId', 7],
    ] as const)
      // prettier-ignore
      refused(withData({ 'vm-configuration': { [name]: value } }), 'runtime-data', name);
    for (const value of [1, 'AB', 'zz'.repeat(64), 'AB'.repeat(65)])
      refused(withData({ 'user-data': value }), 'runtime-data');
  });

  it('does not take members of the prototype for facts', () => {
    refused(hclReport({ json: new TextEncoder().encode('{"__proto__": {"keys": []}}') }), 'runtime-data');
  });
});
