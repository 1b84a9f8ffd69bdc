/**
 * Genuine reports. No revocation list of AMD is among the samples, so the whole verdict on a genuine report
 * is "everything holds, but AMD was not asked": the list is the last thing that a verifier asks for.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import { certificateTable, HeldCollateral, snpEvidence } from '../../../../test/support/fake-amd.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import type { VerifyContext } from '../verifier.ts';
import { parseCertificate, splitPem, verifyChain } from '../x509/certificates.ts';
import { snpClaims } from './claims.ts';
import { parseEndorsementKey } from './endorsement-key.ts';
import { products } from './products.ts';
import type { Product } from './products.ts';
import { parseSnpReport } from './report.ts';
import { rootDigests, rootsOf } from './roots.ts';
import { snpVerifier } from './snp.ts';
import { authenticateReport } from './verify.ts';

const at = Date.UTC(2024, 0, 15);

function chains(): HeldCollateral {
  const file = (name: string): Uint8Array => sample(`snp/go-sev-guest/ask_ark_${name}.pem`);
  return new HeldCollateral()
    .put('amd/milan/cert-chain', file('milan'))
    .put('amd/milan/vlek-chain', file('milan_vlek'))
    .put('amd/genoa/cert-chain', file('genoa'))
    .put('amd/genoa/vlek-chain', file('genoa_vlek'))
    .put('amd/turin/cert-chain', sample('snp/turin_cert_chain.pem'))
    .put('amd/turin/vlek-chain', file('turin_vlek'));
}

function context(now = at, collateral = chains()): VerifyContext {
  return { now, collateral, collateralAgeMax: Infinity, extraRoots: [] };
}

const samples = {
  'go-sev-guest': () => [sample('snp/go-sev-guest/attestation.bin'), sample('snp/go-sev-guest/vcek.testcer')],
  trustee: () => [sample('snp/trustee/test-report.bin'), sample('snp/trustee/test-vcek.der')],
  virtee: () => [
    Uint8Array.from(Buffer.from(sampleText('snp/virtee_report_milan.hex').trim(), 'hex')),
    sample('snp/virtee_vcek_milan.der'),
  ],
} satisfies Record<string, () => Uint8Array[]>;

async function claimsOf(name: keyof typeof samples): Promise<ReadonlyMap<string, unknown>> {
  const [report, vcek] = samples[name]();
  const { verified } = await authenticateReport(parseSnpReport(report!), { vcek: vcek! }, context(), 'snp');
  return snpClaims(verified);
}

async function refused(report: Uint8Array, vcek: Uint8Array, code: ErrorCode, check?: string, now = at): Promise<void> {
  const evidence = snpEvidence(report, certificateTable({ vcek }));
  await assert.rejects(snpVerifier.verify(evidence, context(now)), (error) => {
    assert.ok(isCaissonError(error, code), `${code} expected: ${String(error)}`);
    assert.equal(error.details['check'], check, error.message);
    return true;
  });
}

function withSamples(name: string, test: (t: TestContext) => Promise<void> | void): void {
  it(name, async (t) => {
    if (requireSamples(t)) await test(t);
  });
}

describe('genuine SNP reports', () => {
  for (const name of Object.keys(samples) as (keyof typeof samples)[])
    withSamples(`${name}: all holds but the list that is missing`, async () => {
      const [report, vcek] = samples[name]();
      await refused(report!, vcek!, 'collateral-missing');
      const collateral = chains();
      const evidence = snpEvidence(report!, certificateTable({ vcek: vcek! }));
      await assert.rejects(snpVerifier.verify(evidence, context(at, collateral)));
      assert.deepEqual(collateral.asked, ['amd/milan/cert-chain', 'amd/milan/crl']);
    });

  withSamples('go-sev-guest: a debug guest', async () => {
    const claims = await claimsOf('go-sev-guest');
    assert.equal(claims.get('debug'), true);
    assert.equal(claims.get('snp.policy.smt'), true);
    assert.equal(claims.get('snp.policy.migrate-ma'), false);
    assert.equal(claims.get('snp.product'), 'milan');
  });

  withSamples('trustee: reported below current', async () => {
    const claims = await claimsOf('trustee');
    const tcb = (kind: string): unknown[] =>
      ['bootloader', 'tee', 'snp', 'microcode'].map((component) => claims.get(`snp.tcb.${kind}.${component}`));
    assert.deepEqual(tcb('reported'), [3, 0, 8, 0x73]);
    assert.deepEqual(tcb('current'), [3, 0, 8, 0xce]);
    assert.equal(claims.get('debug'), false);
    assert.equal(claims.get('snp.guest-svn'), 4);
    assert.equal(claims.get('snp.policy.abi-minor'), 0x1f);
  });

  withSamples('virtee: a guest without smt restriction', async () => {
    const claims = await claimsOf('virtee');
    assert.deepEqual(
      [claims.get('debug'), claims.get('snp.vmpl'), claims.get('snp.firmware.current')],
      [false, 0, '1.52.4'],
    );
  });

  withSamples('trustee: a VCEK of another chip, made up', async () => {
    const [report] = samples.trustee();
    await refused(report!, sample('snp/trustee/test-vcek-invalid-legacy.der'), 'evidence-untrusted', 'vek-tcb');
  });

  withSamples('each field that changed', async () => {
    const [report, vcek] = samples.trustee();
    const changed = (offset: number): Uint8Array => report!.map((byte, index) => (index === offset ? byte ^ 1 : byte));
    for (const offset of [
      0x4, 0x8, 0x38, 0x40, 0x50, 0x8f, 0x90, 0xc0, 0xe0, 0x140, 0x160, 0x1e0, 0x1f0, 0x2a0, 0x2cf, 0x2e8,
    ])
      await refused(changed(offset), vcek!, 'evidence-untrusted', 'report-signature');
    await refused(changed(0x180), vcek!, 'evidence-untrusted', 'vek-tcb');
    await refused(changed(0x1a0), vcek!, 'evidence-untrusted', 'vek-chip');
    await refused(changed(0x1df), vcek!, 'evidence-untrusted', 'vek-chip');
    await refused(changed(0x0a), vcek!, 'evidence-untrusted', 'report-signature');
    await refused(
      report!.map((byte, index) => (index === 0x0a ? 0x01 : byte)),
      vcek!,
      'evidence-invalid',
      'policy-reserved',
    );
    await refused(changed(0x0), vcek!, 'evidence-invalid', 'product-unknown');
  });

  withSamples('VCEKs of each other', async () => {
    const [report] = samples.trustee();
    await refused(report!, samples['go-sev-guest']()[1]!, 'evidence-untrusted', 'vek-tcb');
    await refused(report!, samples.virtee()[1]!, 'evidence-untrusted', 'vek-chip');
    await refused(report!, sample('snp/turin_vcek.der'), 'evidence-invalid', 'tcb-reserved');
  });

  withSamples('a VCEK with a byte changed', async () => {
    const [report, vcek] = samples.trustee();
    const place = vcek!.length - 10;
    const changed = vcek!.map((byte, index) => (index === place ? byte ^ 1 : byte));
    await refused(report!, changed, 'evidence-untrusted', 'certificate-signature');
  });

  withSamples('outside the dates of the VCEK', async () => {
    const [report, vcek] = samples.trustee();
    await refused(report!, vcek!, 'evidence-untrusted', 'certificate-dates', Date.UTC(2035, 0, 1));
    await refused(report!, vcek!, 'evidence-untrusted', 'certificate-dates', Date.UTC(2022, 0, 1));
  });

  withSamples('the chain of another product', async () => {
    const [report, vcek] = samples.trustee();
    const collateral = chains().put('amd/milan/cert-chain', sample('snp/go-sev-guest/ask_ark_genoa.pem'));
    const evidence = snpEvidence(report!, certificateTable({ vcek: vcek! }));
    await assert.rejects(
      snpVerifier.verify(evidence, context(at, collateral)),
      (error) => isCaissonError(error, 'collateral-untrusted') && error.details['check'] === 'chain-form',
    );
  });

  withSamples('cut off', async () => {
    const [report, vcek] = samples.trustee();
    for (const length of [1, 0x30, 0x2a0, 1183])
      await refused(report!.subarray(0, length), vcek!, 'evidence-invalid', 'report-length');
  });
});

describe('certificates of AMD', () => {
  withSamples('a VCEK of Turin has 8 bytes of hardware id and an fmc', () => {
    const key = parseEndorsementKey(sample('snp/turin_vcek.der'), 'evidence');
    assert.equal(key.product, 'turin');
    assert.equal(Buffer.from(key.hardwareId!).toString('hex'), '1e550a8ee5cf9f4d');
    assert.deepEqual([...key.tcb], [['fmc', 0], ['bootloader', 0], ['tee', 0], ['snp', 0], ['microcode', 9]]); // prettier-ignore
    const [ask] = splitPem(sample('snp/turin_cert_chain.pem'), 'collateral');
    const now = Date.UTC(2026, 0, 1);
    verifyChain({ leaf: key.certificate, intermediates: [], roots: [ask!], now, origin: 'evidence' });
  });

  withSamples('both chains of each product end in its pinned root', () => {
    const files: Readonly<Record<Product, readonly string[]>> = {
      milan: ['milan', 'milan_vlek'],
      genoa: ['genoa', 'genoa_vlek'],
      turin: ['turin_vcek', 'turin_vlek'],
    };
    for (const product of products) {
      const roots = rootsOf(product, 'snp', context(at, new HeldCollateral())).map(({ certificate }) => certificate);
      for (const file of files[product]) {
        const [leaf] = splitPem(sample(`snp/go-sev-guest/ask_ark_${file}.pem`), 'collateral');
        verifyChain({ leaf: leaf!, intermediates: [], roots, now: at, origin: 'collateral', requireCa: true });
      }
    }
  });

  it('pinned roots sign themselves, are named in the verdict, and are one for each product', () => {
    const names = products.map((product) => {
      const [root, ...others] = rootsOf(product, 'snp', context(at, new HeldCollateral()));
      assert.equal(others.length, 0);
      const { x509, publicKey, der } = root!.certificate;
      assert.ok(x509.verify(publicKey));
      assert.equal(
        parseCertificate(der, 'collateral').x509.fingerprint256.replaceAll(':', '').toLowerCase(),
        rootDigests[product],
      );
      return root!.name;
    });
    assert.equal(new Set(names).size, products.length);
  });
});
