import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import {
  amdCollateral,
  amdContext,
  amdCrl,
  authorityCertificate,
  endorsementCertificate,
  endorsementKey,
  HeldCollateral,
  serials,
  snpReport,
} from '../../../../test/support/fake-amd.ts';
import {
  attestationJwk,
  fakeExtraData,
  fakePcrs,
  fakeUserData,
  hclReport,
  runtimeData,
  tpmSignature,
  vtpmKey,
  vtpmQuote,
} from '../../../../test/support/fake-azure.ts';
import {
  azureSnpContext as context,
  azureSnpEvidence as evidence,
  runtimeDigest as dataOf,
} from '../../../../test/support/fake-azure-evidence.ts';
import { pem } from '../../../../test/support/fake-x509.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import type { Evidence } from '../../../wire/evidence.ts';
import type { VerifyContext } from '../verifier.ts';
import { azureSnpVerifier } from './azure-snp.ts';

const technology = 'az-snp-vtpm';

async function refused(given: Evidence, code: ErrorCode, check?: string, at = context()): Promise<void> {
  await assert.rejects(azureSnpVerifier.verify(given, at), (error) => {
    assert.ok(isCaissonError(error, code), `${code} expected: ${String(error)}`);
    assert.equal(error.details['check'], check, error.message);
    return true;
  });
}

verifierConformance('az-snp-vtpm', {
  verifier: azureSnpVerifier,
  make: () => ({ evidence: evidence(), context: context() }),
  makeDebug: () => ({ evidence: evidence({}, { patches: [[0xa, [0xb]]] }), context: context() }),
});

describe('Azure evidence over SNP', () => {
  it('holds: claims of hardware, quote and machine; report data of the quote', async () => {
    const verified = await azureSnpVerifier.verify(evidence(), context());
    const { claims } = verified;
    assert.equal(verified.technology, technology);
    assert.deepEqual(verified.reportData, fakeExtraData);
    assert.equal(claims.get('snp.product'), 'milan');
    assert.equal(claims.get('debug'), false);
    for (const [index, value] of fakePcrs.entries()) assert.deepEqual(claims.get(`tpm.pcr.sha256.${index}`), value);
    assert.equal(claims.get('tpm.reset-count'), 2);
    assert.equal(claims.get('azure.secure-boot'), true);
    assert.equal(claims.get('azure.tpm-enabled'), true);
    assert.equal(claims.get('azure.console-enabled'), false);
    assert.equal(claims.get('azure.vm-id'), 'FAKE-ID');
    assert.deepEqual(claims.get('azure.user-data'), Uint8Array.from(Buffer.from(fakeUserData, 'hex')));
    assert.equal(claims.has('tpm.binding'), false);
    assert.equal(verified.basis[0]?.value, 'extra root fake');
  });

  it('holds with a chain of PEM, and with the VCEK out of collateral', async () => {
    const chain = pem(endorsementCertificate('vcek', 'milan'), authorityCertificate('ask', 'milan'));
    await azureSnpVerifier.verify(evidence({ vcek: chain }), context());
    const { vcek: _, ...parts } = evidence().parts;
    await azureSnpVerifier.verify({ technology, parts }, context());
  });

  it('tells debug of the hardware', async () => {
    const { claims } = await azureSnpVerifier.verify(evidence({}, { patches: [[0xa, [0xb]]] }), context());
    assert.equal(claims.get('debug'), true);
  });

  it('refuses runtime data that the hardware did not sign', async () => {
    const other = runtimeData({ 'user-data': '00'.repeat(64) });
    const report = snpReport({ reportData: dataOf(runtimeData()) });
    await refused(
      evidence({ hclReport: hclReport({ json: other, hardware: () => report }) }),
      'evidence-untrusted',
      'runtime-data-digest',
    );
  });

  it('refuses report data with something after the digest', async () => {
    const hardware = (reportData: Uint8Array): Uint8Array => snpReport({ reportData: reportData.with(63, 1) });
    await refused(evidence({ hclReport: hclReport({ hardware }) }), 'evidence-untrusted', 'runtime-data-digest');
  });

  it('refuses a digest of another kind than is said', async () => {
    const hardware = (): Uint8Array => snpReport({ reportData: dataOf(runtimeData(), 'sha384') });
    await refused(evidence({ hclReport: hclReport({ hardware }) }), 'evidence-untrusted', 'runtime-data-digest');
    await azureSnpVerifier.verify(evidence({ hclReport: hclReport({ hash: 'sha384' }) }), context());
  });

  it('refuses a quote by another key, such as that of another machine', async () => {
    await refused(evidence({ ...vtpmQuote({ key: vtpmKey('other') }) }), 'evidence-untrusted', 'quote-signature');
    const other = runtimeData({ keys: [attestationJwk(vtpmKey('other'))] });
    await refused(evidence({ hclReport: hclReport({ json: other }) }), 'evidence-untrusted', 'quote-signature');
  });

  it('refuses registers that the quote does not sign', async () => {
    const { pcrs } = vtpmQuote();
    await refused(evidence({ pcrs: pcrs.with(5, 0xee) }), 'evidence-untrusted', 'pcr-digest');
  });

  it('refuses a hardware report that does not hold', async () => {
    const hardware = (reportData: Uint8Array): Uint8Array => snpReport({ reportData, key: endorsementKey('other') });
    await refused(evidence({ hclReport: hclReport({ hardware }) }), 'evidence-untrusted', 'report-signature');
    await refused(evidence({ vcek: endorsementCertificate('vcek', 'genoa') }), 'evidence-untrusted', 'vek-product');
    const revoked = amdCollateral('milan').put('amd/milan/crl', amdCrl('milan', { revoked: [serials.ask] }));
    await refused(evidence(), 'evidence-untrusted', 'chain-revoked', context({ collateral: revoked }));
  });

  it('refuses the report of another kind of hardware', () =>
    refused(evidence({ hclReport: hclReport({ reportType: 4 }) }), 'evidence-invalid', 'hcl-form'));

  it('trusts roots that the operator named for Azure, not those for bare SNP', () =>
    refused(evidence(), 'collateral-untrusted', 'certificate-issuer', amdContext('milan')));

  it('wants each of its parts', async () => {
    for (const name of ['hclReport', 'quote', 'signature', 'pcrs']) {
      const parts = Object.fromEntries(Object.entries(evidence().parts).filter(([part]) => part !== name));
      await assert.rejects(azureSnpVerifier.verify({ technology, parts }, context()), (error) =>
        isCaissonError(error, 'evidence-invalid'),
      );
    }
  });
});

interface WireEvidence {
  readonly tpm_quote: { readonly signature: string; readonly message: string; readonly pcrs: readonly string[] };
  readonly hcl_report: string;
  readonly vcek: string;
}

/** The samples are as another project sends them. */
function partsOf(wire: WireEvidence): Readonly<Record<string, Uint8Array>> {
  const bytes = (text: string, encoding: 'hex' | 'base64url'): Uint8Array =>
    Uint8Array.from(Buffer.from(text, encoding));
  return {
    hclReport: bytes(wire.hcl_report, 'base64url'),
    vcek: bytes(wire.vcek, 'base64url'),
    quote: bytes(wire.tpm_quote.message, 'hex'),
    signature: tpmSignature(bytes(wire.tpm_quote.signature, 'hex')),
    pcrs: bytes(wire.tpm_quote.pcrs.join(''), 'hex'),
  };
}

function milanContext(): VerifyContext {
  const collateral = new HeldCollateral().put('amd/milan/cert-chain', sample('snp/go-sev-guest/ask_ark_milan.pem'));
  return { now: Date.UTC(2026, 5, 1), collateral, collateralAgeMax: Infinity, extraRoots: [] };
}

describe('genuine Azure evidence over SNP', () => {
  const wire = (): Readonly<Record<string, Uint8Array>> =>
    partsOf(JSON.parse(sampleText('azure/az-snp-vtpm/evidence-v2.json')) as WireEvidence);
  const withSamples = (name: string, test: (t: TestContext) => Promise<void>): void => {
    it(name, async (t) => {
      if (requireSamples(t)) await test(t);
    });
  };

  withSamples('all holds but the list of AMD, which is missing', () =>
    refused({ technology, parts: wire() }, 'collateral-missing', undefined, milanContext()),
  );

  withSamples('every part that changed', async () => {
    const parts = wire();
    const flipped = (part: string, offset: number): Evidence => ({
      technology,
      parts: { ...parts, [part]: parts[part]!.with(offset, parts[part]![offset]! ^ 1) },
    });
    const at = milanContext();
    await refused(flipped('quote', 60), 'evidence-untrusted', 'quote-signature', at);
    await refused(flipped('signature', 200), 'evidence-untrusted', 'quote-signature', at);
    await refused(flipped('pcrs', 7), 'evidence-untrusted', 'pcr-digest', at);
    await refused(flipped('hclReport', 32 + 0x90), 'evidence-untrusted', 'report-signature', at);
    await refused(flipped('hclReport', 32 + 0x50), 'evidence-untrusted', 'runtime-data-digest', at);
    await refused(flipped('hclReport', 32 + 0x1a0), 'evidence-untrusted', 'vek-chip', at);
    await refused(flipped('vcek', 1300), 'evidence-untrusted', 'certificate-signature', at);
  });

  withSamples('a quote of another machine does not verify with this one', async () => {
    const parts = {
      hclReport: sample('azure/az-snp-vtpm/hcl-report.bin'),
      vcek: sample('azure/az-snp-vtpm/vcek.pem'),
      quote: sample('azure/az-snp-vtpm/tpm-quote.msg'),
      signature: tpmSignature(sample('azure/az-snp-vtpm/tpm-quote.sig')),
      pcrs: new Uint8Array(9 * 32),
    };
    await refused({ technology, parts }, 'evidence-untrusted', 'quote-signature', milanContext());
  });
});
