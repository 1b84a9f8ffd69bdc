/** One test for each check of a report against its endorsement key (spec/attestation-snp.md): everything is right but the one thing. */
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { describe, it } from 'node:test';
import {
  amdCollateral,
  amdContext,
  certificateTable,
  endorsementCertificate,
  endorsementExtensions,
  endorsementKey,
  fakeChipId,
  fakeReportData,
  fakeTcb,
  snpEvidence,
  snpReport,
  wrapped,
} from '../../../../test/support/fake-amd.ts';
import type { FakeReport } from '../../../../test/support/fake-amd.ts';
import { derInteger, derText, pem } from '../../../../test/support/fake-x509.ts';
import { refused, vekWith, verified } from '../../../../test/support/snp-cases.ts';
import { products } from './products.ts';
import { snpVerifier } from './snp.ts';

describe('SNP evidence that holds', () => {
  for (const product of products)
    for (const version of [2, 3, 4, 5] as const)
      for (const kind of ['vcek', 'vlek'] as const)
        it(`version ${version} of ${product}, signed by a ${kind}`, async () => {
          const { claims, reportData, basis } = await verified({ product, version, kind });
          assert.deepEqual(reportData, fakeReportData);
          assert.equal(claims.get('snp.product'), product);
          assert.equal(claims.get('snp.version'), version);
          assert.equal(claims.get('snp.signing-key'), kind);
          assert.equal(claims.has('snp.chip-id'), kind === 'vcek');
          assert.equal(claims.get('snp.csp-id'), kind === 'vlek' ? 'fake-cloud' : undefined);
          assert.equal(claims.get('snp.tcb.reported.microcode'), fakeTcb.microcode);
          assert.equal(claims.get('snp.tcb.launch.snp'), fakeTcb.snp);
          assert.equal(claims.get('snp.tcb.current.fmc'), product === 'turin' ? fakeTcb.fmc : undefined);
          assert.equal(claims.has('snp.mit-vector.launch'), version > 3);
          assert.equal(basis[0]?.value, 'extra root fake');
        });

  it('takes the VCEK from collateral when none came along', async () => {
    for (const product of products) {
      const collateral = amdCollateral(product);
      const { claims } = await snpVerifier.verify(
        snpEvidence(snpReport({ product })),
        amdContext(product, { collateral }),
      );
      assert.deepEqual(claims.get('snp.chip-id'), fakeChipId);
      const asked = collateral.asked[0] ?? '';
      const hardwareId = product === 'turin' ? '0102030405060708' : Buffer.from(fakeChipId).toString('hex');
      assert.equal(
        asked,
        `amd/${product}/vcek/${hardwareId}/${product === 'turin' ? '02040118000000db' : '04010000000018db'}`,
      );
    }
  });

  it('takes a VCEK as PEM', async () => {
    await verified({}, pem(endorsementCertificate('vcek', 'milan')));
  });

  it('takes a hardware id as an octet string', async () => {
    await verified({}, vekWith('vcek', { '4': wrapped(fakeChipId) }));
    await verified({ product: 'turin' }, vekWith('vcek', { '4': wrapped(fakeChipId.subarray(0, 8)) }, 'turin'));
  });

  it('says nothing of a chip that is masked', async () => {
    const { claims } = await verified({ patches: [[0x1a0, new Uint8Array(64)]] });
    assert.equal(claims.has('snp.chip-id'), false);
  });

  it('takes the chip of a report that a VLEK signed from the report alone', async () => {
    const { claims } = await verified({ kind: 'vlek', patches: [[0x1a0, fakeChipId]] });
    assert.deepEqual(claims.get('snp.chip-id'), fakeChipId);
  });

  it('lets a VLEK sign where the chip key is masked', async () => {
    await verified({ kind: 'vlek', patches: [[0x48, [6]]] });
  });

  it('tells debug, and every bit of policy and platform by its name', async () => {
    const bits = [
      ['snp.policy.smt', 0x8, 16],
      ['snp.policy.migrate-ma', 0x8, 18],
      ['debug', 0x8, 19],
      ['snp.policy.single-socket', 0x8, 20],
      ['snp.policy.cxl', 0x8, 21],
      ['snp.policy.aes-256-xts', 0x8, 22],
      ['snp.policy.rapl-dis', 0x8, 23],
      ['snp.policy.ciphertext-hiding', 0x8, 24],
      ['snp.policy.page-swap-disable', 0x8, 25],
      ['snp.platform.smt', 0x40, 0],
      ['snp.platform.tsme', 0x40, 1],
      ['snp.platform.ecc', 0x40, 2],
      ['snp.platform.rapl-dis', 0x40, 3],
      ['snp.platform.ciphertext-hiding', 0x40, 4],
      ['snp.platform.alias-check', 0x40, 5],
      ['snp.platform.other', 0x40, 6],
      ['snp.platform.tio', 0x40, 7],
      ['snp.platform.other', 0x40, 63],
    ] as const;
    for (const [name, offset, bit] of bits) {
      const value = new Uint8Array(8);
      new DataView(value.buffer).setBigUint64(0, (1n << BigInt(bit)) | (offset === 0x8 ? 1n << 17n : 0n), true);
      const { claims } = await verified({
        patches: [
          [0x8, [0, 0, 2, 0]],
          [0x40, [0]],
          [offset, value],
        ],
      });
      const set = [...claims].filter(([, claim]) => claim === true).map(([claim]) => claim);
      assert.deepEqual(set, [name]);
    }
  });

  it('reads the digest of the author key only where there is one', async () => {
    assert.equal((await verified({})).claims.has('snp.author-key-digest'), false);
    const patches = [[0x48, [1]], [0x110, new Uint8Array(48).fill(7)]] as const; // prettier-ignore
    assert.deepEqual((await verified({ patches })).claims.get('snp.author-key-digest'), new Uint8Array(48).fill(7));
  });

  it('has the root and the list in its basis', async () => {
    const { basis } = await verified({});
    assert.deepEqual(basis.map(({ name }) => name), ['root', 'endorsement key', 'amd/milan/crl']); // prettier-ignore
    assert.match(basis[2]?.value ?? '', /obtained 2026-06-14/);
  });
});

describe('SNP evidence that was not signed as it says', () => {
  it('no key', () => refused(verified({ patches: [[0x48, [0x1c]]] }), 'evidence-untrusted', 'report-unsigned'));
  it('a VCEK that is masked', () =>
    refused(verified({ patches: [[0x48, [2]]] }), 'evidence-untrusted', 'report-unsigned'));

  it('another key than the certified one', () =>
    refused(verified({ key: endorsementKey('other') }), 'evidence-untrusted', 'report-signature'));

  it('a byte of each field that changed after signing', async () => {
    const certificates = certificateTable({ vcek: endorsementCertificate('vcek', 'milan') });
    const signedFields = [0x4, 0x8, 0x10, 0x20, 0x50, 0x90, 0xc0, 0xe0, 0x140, 0x160, 0x1e9, 0x1ed];
    for (const offset of [...signedFields, 0x2a0, 0x2e8]) {
      const report = snpReport();
      report[offset]! ^= 1;
      await refused(
        snpVerifier.verify(snpEvidence(report, certificates), amdContext('milan')),
        'evidence-untrusted',
        'report-signature',
      );
    }
  });

  it('a signature that is most significant byte first', async () => {
    const report = snpReport();
    for (const offset of [0x2a0, 0x2e8]) report.subarray(offset, offset + 48).reverse();
    const certificates = certificateTable({ vcek: endorsementCertificate('vcek', 'milan') });
    await refused(
      snpVerifier.verify(snpEvidence(report, certificates), amdContext('milan')),
      'evidence-untrusted',
      'report-signature',
    );
  });

  it('a key of another curve', () => {
    const key = endorsementKey('small', 'P-256');
    const vek = endorsementCertificate('vcek', 'milan', endorsementExtensions('vcek', 'milan'), {
      publicKey: createPublicKey(key),
    });
    return refused(verified({}, vek), 'evidence-untrusted', 'vek-key');
  });
});

describe('endorsement keys that do not fit the report', () => {
  it('of another product than the CPU', () =>
    refused(
      verified({}, endorsementCertificate('vcek', 'genoa'), amdContext('genoa')),
      'evidence-untrusted',
      'vek-product',
    ));
  it('of an unknown product', () =>
    refused(verified({}, vekWith('vcek', { '2': derText(0x16, 'Rome-B0') })), 'evidence-untrusted', 'vek-product'));

  for (const [component, arc] of [
    ['bootloader', '3.1'],
    ['tee', '3.2'],
    ['snp', '3.3'],
    ['microcode', '3.8'],
    ['fmc', '3.9'],
  ] as const)
    it(`of another ${component}`, async () => {
      for (const difference of [-1, 1])
        await refused(
          verified(
            { product: 'turin' },
            vekWith('vcek', { [arc]: derInteger(fakeTcb[component] + difference) }, 'turin'),
          ),
          'evidence-untrusted',
          'vek-tcb',
        );
    });

  it('TCB bytes that the product keeps zero', () =>
    refused(verified({ patches: [[0x1f2, [1]]] }), 'evidence-invalid', 'tcb-reserved'));

  it('of another chip', async () => {
    const other = fakeChipId.toReversed();
    await refused(verified({}, vekWith('vcek', { '4': other })), 'evidence-untrusted', 'vek-chip');
    await refused(verified({}, vekWith('vcek', { '4': wrapped(other) })), 'evidence-untrusted', 'vek-chip');
    const turin = vekWith('vcek', { '4': other.subarray(0, 8) }, 'turin');
    await refused(verified({ product: 'turin' }, turin), 'evidence-untrusted', 'vek-chip');
  });

  it('VCEK of no chip, masked or not', async () => {
    const vek = vekWith('vcek', { '4': undefined });
    await refused(verified({}, vek), 'evidence-untrusted', 'vek-holder');
    await refused(verified({ patches: [[0x1a0, new Uint8Array(64)]] }, vek), 'evidence-untrusted', 'vek-holder');
  });
  it('VCEK of a provider', () =>
    refused(verified({}, vekWith('vcek', { '5': derText(0x16, 'x') })), 'evidence-untrusted', 'vek-holder'));
  it('VLEK of a chip', () =>
    refused(verified({ kind: 'vlek' }, vekWith('vlek', { '4': fakeChipId })), 'evidence-untrusted', 'vek-holder'));
  it('VLEK of no provider', () =>
    refused(verified({ kind: 'vlek' }, vekWith('vlek', { '5': undefined })), 'evidence-untrusted', 'vek-holder'));

  it('a VCEK in the place of a VLEK, and the other way round', async () => {
    await refused(
      verified({ kind: 'vlek' }, endorsementCertificate('vcek', 'milan')),
      'evidence-untrusted',
      'vek-kind',
    );
    await refused(verified({}, endorsementCertificate('vlek', 'milan')), 'evidence-untrusted', 'vek-kind');
  });
});

describe('endorsement keys of a wrong form', () => {
  const forms: Readonly<Record<string, Readonly<Record<string, Uint8Array | undefined>>>> = {
    'no structure version': { '1': undefined },
    'an unknown structure version': { '1': derInteger(2) },
    'no product': { '2': undefined },
    'a product of another kind of text': { '2': derText(0x0c, 'Milan-B0') },
    'no bootloader': { '3.1': undefined },
    'a microcode that is no number': { '3.8': derText(0x16, 'x') },
    'bytes after a number': { '3.3': new Uint8Array([...derInteger(fakeTcb.snp), 0]) },
    'a spare that is set': { '3.4': derInteger(1) },
    'a hardware id that is too short': { '4': wrapped(fakeChipId.subarray(0, 63)) },
    'a hardware id that is no octet string': { '4': derText(0x16, 'x') },
    'an fmc where there is none': { '3.9': derInteger(0) },
  };
  for (const [what, changes] of Object.entries(forms))
    it(what, () => refused(verified({}, vekWith('vcek', changes)), 'evidence-untrusted', 'vek-form'));

  it('no fmc where there must be one', () =>
    refused(
      verified({ product: 'turin' }, vekWith('vcek', { '3.9': undefined }, 'turin')),
      'evidence-untrusted',
      'vek-form',
    ));

  it('no certificate at all', async () => {
    await refused(verified({}, Uint8Array.of(0x30, 1, 2)), 'evidence-invalid', 'certificate-format');
    await refused(verified({}, new TextEncoder().encode('garbage')), 'evidence-invalid', 'certificate-format');
  });

  it('lets spares be left out', async () => {
    await verified({}, vekWith('vcek', { '3.4': undefined, '3.7': undefined }));
  });
});

describe('endorsement keys that are nowhere', () => {
  it('a VLEK', async () => {
    await missing({ kind: 'vlek' });
    await missing({ kind: 'vlek', patches: [[0x1a0, fakeChipId]] });
  });
  it('of a masked chip', () => missing({ patches: [[0x1a0, new Uint8Array(64)]] }));
  it('of a version 2 report', () => missing({ version: 2 }));

  async function missing(options: FakeReport): Promise<void> {
    await refused(
      snpVerifier.verify(snpEvidence(snpReport(options)), amdContext('milan')),
      'collateral-missing',
      'vek-missing',
    );
  }
});
