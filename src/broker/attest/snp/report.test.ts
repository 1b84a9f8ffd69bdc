import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { snpReport, fakeReportData } from '../../../../test/support/fake-amd.ts';
import type { FakeReport } from '../../../../test/support/fake-amd.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { productOfCpu, productOfName, tcbVersion } from './products.ts';
import { parseSnpReport } from './report.ts';

function refusal(check: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isCaissonError(error, 'evidence-invalid'), String(error));
    assert.equal(error.kind, 'invalid');
    assert.equal(error.details['check'], check);
    return true;
  };
}

function report(offset: number, bytes: readonly number[], options: FakeReport = {}): Uint8Array {
  return snpReport({ ...options, patches: [[offset, bytes]] });
}

describe('SNP report', () => {
  it('reads every field from its place', () => {
    const parsed = parseSnpReport(snpReport({ version: 5, product: 'turin' }));
    assert.equal(parsed.version, 5);
    assert.equal(parsed.guestSvn, 7);
    assert.equal(parsed.policy, 0x3_0137n);
    assert.equal(parsed.platformInfo, 0x25n);
    assert.equal(parsed.vmpl, 0);
    assert.equal(parsed.product, 'turin');
    assert.deepEqual(parsed.reportData, fakeReportData);
    assert.deepEqual(parsed.familyId, new Uint8Array(16).fill(0x11));
    assert.deepEqual(parsed.imageId, new Uint8Array(16).fill(0x22));
    assert.deepEqual(parsed.measurement, new Uint8Array(48).fill(0x33));
    assert.deepEqual(parsed.hostData, new Uint8Array(32).fill(0x44));
    assert.deepEqual(parsed.idKeyDigest, new Uint8Array(48).fill(0x55));
    assert.deepEqual(parsed.reportId, new Uint8Array(32).fill(0x66));
    assert.deepEqual(parsed.reportIdMa, new Uint8Array(32).fill(0xff));
    assert.deepEqual(parsed.firmware, { current: '1.55.29', committed: '1.54.28' });
    assert.deepEqual([...(parsed.mitigations?.launch ?? [])], [5, 0, 0, 0, 0, 0, 0, 0x80]);
    assert.deepEqual([...(parsed.mitigations?.current ?? [])], [7, 0, 0, 0, 0, 0, 0, 0x81]);
    assert.equal(parsed.signed.length, 0x2a0);
  });

  it('tells TCB versions apart', () => {
    const parsed = parseSnpReport(
      snpReport({
        patches: [
          [0x38, [1, 0, 0, 0, 0, 0, 0, 1]],
          [0x180, [2, 0, 0, 0, 0, 0, 0, 2]],
          [0x1e0, [3, 0, 0, 0, 0, 0, 0, 3]],
          [0x1f0, [4, 0, 0, 0, 0, 0, 0, 4]],
        ],
      }),
    );
    assert.deepEqual(
      Object.entries(parsed.tcb).map(([name, bytes]) => [name, bytes[0]]),
      [
        ['reported', 2],
        ['committed', 3],
        ['current', 1],
        ['launch', 4],
      ],
    );
  });

  it('names no CPU and no mitigations in versions that have none', () => {
    assert.equal(parseSnpReport(snpReport({ version: 2 })).product, undefined);
    assert.equal(parseSnpReport(snpReport({ version: 3 })).mitigations, undefined);
  });

  it('refuses every other length', () => {
    const whole = snpReport();
    for (const length of [0, 1, 0x2a0, 1183])
      assert.throws(() => parseSnpReport(whole.subarray(0, length)), refusal('report-length'), `${length}`);
    assert.throws(() => parseSnpReport(new Uint8Array([...whole, 0])), refusal('report-length'));
  });

  it('refuses versions that it does not know', () => {
    for (const version of [0, 1, 6, 255]) {
      const bytes = snpReport({ patches: [[0, [version]]] });
      assert.throws(() => parseSnpReport(bytes), refusal('report-version'), `${version}`);
    }
    assert.throws(() => parseSnpReport(report(1, [1])), refusal('report-version'));
  });

  it('refuses other signature algorithms', () => {
    for (const algorithm of [0, 2])
      assert.throws(() => parseSnpReport(report(0x34, [algorithm])), refusal('signature-algorithm'));
  });

  it('refuses a VMPL that does not exist', () => {
    assert.equal(parseSnpReport(report(0x30, [3])).vmpl, 3);
    assert.throws(() => parseSnpReport(report(0x30, [4])), refusal('vmpl'));
    assert.throws(() => parseSnpReport(report(0x31, [1])), refusal('vmpl'));
  });

  it('refuses each reserved byte that is set', () => {
    const always = [0x4c, 0x4f, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f];
    const signature = [0x2d0, 0x2e7, 0x318, 0x32f, 0x330, 0x49f];
    for (const version of [2, 3, 4, 5] as const)
      for (const offset of [...always, ...signature])
        assert.throws(
          () => parseSnpReport(report(offset, [1], { version })),
          refusal('report-reserved'),
          `version ${version}, ${offset}`,
        );
  });

  it('keeps zero what only later versions fill', () => {
    for (const offset of [0x188, 0x189, 0x18a])
      assert.throws(() => parseSnpReport(report(offset, [0x19], { version: 2 })), refusal('report-reserved'));
    for (const version of [2, 3] as const)
      for (const offset of [0x1f8, 0x207])
        assert.throws(() => parseSnpReport(report(offset, [1], { version })), refusal('report-reserved'));
  });

  it('refuses reserved bits of the policy', () => {
    assert.throws(() => parseSnpReport(report(0x0a, [0x01])), refusal('policy-reserved'), 'bit 17 clear');
    assert.throws(() => parseSnpReport(report(0x0b, [0x04])), refusal('policy-reserved'), 'bit 26');
    assert.throws(() => parseSnpReport(report(0x0f, [0x80])), refusal('policy-reserved'), 'bit 63');
    assert.equal(parseSnpReport(report(0x0b, [0x03])).policy >> 24n, 3n);
  });

  it('refuses reserved bits and keys of the signer', () => {
    for (const key of [2, 3, 4, 5, 6])
      assert.throws(() => parseSnpReport(report(0x48, [key << 2])), refusal('signer-reserved'), `key ${key}`);
    assert.throws(() => parseSnpReport(report(0x48, [0x20])), refusal('signer-reserved'));
    assert.throws(() => parseSnpReport(report(0x4b, [0x80])), refusal('signer-reserved'));
  });

  it('reads the flags of the signer', () => {
    const flags = (byte: number): unknown[] => {
      const { signingKey, masksChipKey, hasAuthorKey } = parseSnpReport(report(0x48, [byte]));
      return [signingKey, masksChipKey, hasAuthorKey];
    };
    assert.deepEqual(flags(0), ['vcek', false, false]);
    assert.deepEqual(flags(1), ['vcek', false, true]);
    assert.deepEqual(flags(2), ['vcek', true, false]);
    assert.deepEqual(flags(4), ['vlek', false, false]);
    assert.deepEqual(flags(0x1c), ['none', false, false]);
  });

  it('refuses the digest of an author key that there is none of', () => {
    assert.throws(() => parseSnpReport(report(0x110, [1])), refusal('author-key'));
    const parsed = parseSnpReport(
      snpReport({
        patches: [
          [0x48, [1]],
          [0x110, [9]],
        ],
      }),
    );
    assert.equal(parsed.authorKeyDigest[0], 9);
  });

  it('refuses CPUs that are no known product', () => {
    for (const [family, model] of [
      [0x19, 0x20],
      [0x1a, 0x20],
      [0x17, 0x31],
      [0, 0],
    ] as const)
      assert.throws(() => parseSnpReport(report(0x188, [family, model])), refusal('product-unknown'));
  });
});

describe('products of AMD', () => {
  it('knows CPUs by family and model', () => {
    const product = (family: number, model: number): unknown => productOfCpu(family, model);
    assert.deepEqual([product(0x19, 0), product(0x19, 0xf)], ['milan', 'milan']);
    assert.deepEqual(
      [product(0x19, 0x10), product(0x19, 0x1f), product(0x19, 0xa0), product(0x19, 0xaf)],
      Array(4).fill('genoa'),
    );
    assert.deepEqual([product(0x1a, 0), product(0x1a, 0x11)], ['turin', 'turin']);
    assert.deepEqual([product(0x19, 0x9f), product(0x19, 0xb0), product(0x18, 0)], [undefined, undefined, undefined]);
  });

  it('takes names with and without a stepping', () => {
    assert.deepEqual(['Milan-B0', 'Genoa', 'Turin-C1'].map(productOfName), ['milan', 'genoa', 'turin']);
    assert.deepEqual(['Rome', 'milan', 'MilanX', ''].map(productOfName), [undefined, undefined, undefined, undefined]);
  });

  it('lays out TCB versions by product', () => {
    assert.deepEqual(
      [...tcbVersion('genoa', Uint8Array.of(1, 2, 0, 0, 0, 0, 7, 8), 'reported')],
      [
        ['bootloader', 1],
        ['tee', 2],
        ['snp', 7],
        ['microcode', 8],
      ],
    );
    assert.deepEqual(
      [...tcbVersion('turin', Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 8), 'reported')],
      [
        ['fmc', 1],
        ['bootloader', 2],
        ['tee', 3],
        ['snp', 4],
        ['microcode', 8],
      ],
    );
    const bytes = (index: number): Uint8Array => new Uint8Array(8).fill(1, index, index + 1);
    for (const index of [2, 5])
      assert.throws(() => tcbVersion('milan', bytes(index), 'launch'), refusal('tcb-reserved'));
    for (const index of [4, 6])
      assert.throws(() => tcbVersion('turin', bytes(index), 'launch'), refusal('tcb-reserved'));
  });
});
