import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import { requireSamples, sampleText } from '../../../../test/support/evidence-samples.ts';
import { HeldCollateral } from '../../../../test/support/fake-amd.ts';
import {
  fakeExtraData,
  fakePcrs,
  runtimeData,
  tpmSignature,
  vtpmKey,
  vtpmQuote,
} from '../../../../test/support/fake-azure.ts';
import {
  azureTdxContext as context,
  azureTdxEvidence as evidence,
  azureTdxHcl as hcl,
  paravisorReport as body,
  runtimeDigest as dataOf,
} from '../../../../test/support/fake-azure-evidence.ts';
import { fakeQuote, intelContext, intelKey } from '../../../../test/support/fake-intel.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import type { ErrorCode } from '../../../lib/errors.ts';
import type { Evidence } from '../../../wire/evidence.ts';
import type { VerifyContext } from '../verifier.ts';
import { azureTdxVerifier } from './azure-tdx.ts';

const technology = 'az-tdx-vtpm';

async function refused(given: Evidence, code: ErrorCode, check?: string, at = context()): Promise<void> {
  await assert.rejects(azureTdxVerifier.verify(given, at), (error) => {
    assert.ok(isCaissonError(error, code), `${code} expected: ${String(error)}`);
    assert.equal(error.details['check'], check, error.message);
    return true;
  });
}

const debugQuote = (): Uint8Array => fakeQuote('tdx', { body: body(dataOf(runtimeData()), [1, 0, 0, 0x10]) });

verifierConformance('az-tdx-vtpm', {
  verifier: azureTdxVerifier,
  make: () => ({ evidence: evidence(), context: context() }),
  makeDebug: () => ({ evidence: evidence({ tdQuote: debugQuote() }), context: context() }),
});

describe('Azure evidence over TDX', () => {
  it('holds: claims of hardware, quote and machine; report data of the quote', async () => {
    const verified = await azureTdxVerifier.verify(evidence(), context());
    const { claims } = verified;
    assert.equal(verified.technology, technology);
    assert.deepEqual(verified.reportData, fakeExtraData);
    assert.deepEqual(claims.get('tdx.mr-td'), new Uint8Array(48).fill(0x61));
    assert.equal(claims.get('debug'), false);
    assert.deepEqual(claims.get('tpm.pcr.sha256.7'), fakePcrs[7]);
    assert.equal(claims.get('azure.vm-id'), 'FAKE-ID');
    assert.ok(verified.basis.length > 0);
  });

  it('refuses runtime data that the TD quote is not over', async () => {
    const other = runtimeData({ 'user-data': '00'.repeat(64) });
    await refused(evidence({ hclReport: hcl(other) }), 'evidence-untrusted', 'runtime-data-digest');
    const trailing = fakeQuote('tdx', { body: body(dataOf(runtimeData()).with(40, 1)) });
    await refused(evidence({ tdQuote: trailing }), 'evidence-untrusted', 'runtime-data-digest');
  });

  it('refuses a quote by another key', () =>
    refused(evidence({ ...vtpmQuote({ key: vtpmKey('other') }) }), 'evidence-untrusted', 'quote-signature'));

  it('refuses a TD quote that does not hold', () => {
    const tdQuote = fakeQuote('tdx', { body: body(dataOf(runtimeData())), quoteSigningKey: intelKey('stranger') });
    return refused(evidence({ tdQuote }), 'evidence-untrusted', 'quote-signature');
  });

  it('refuses a TD quote alone that another key signed', async () => {
    await azureTdxVerifier.verify(evidence(), context());
    const qeSigningKey = intelKey('stranger');
    const tdQuote = fakeQuote('tdx', { body: body(dataOf(runtimeData())), qeSigningKey });
    await refused(evidence({ tdQuote }), 'evidence-untrusted', 'qe-report-signature');
  });

  it('refuses the report of another kind of hardware', () =>
    refused(evidence({ hclReport: hcl(runtimeData(), 2) }), 'evidence-invalid', 'hcl-form'));

  it('trusts roots that the operator named for Azure, not those for bare TDX', async () => {
    await assert.rejects(
      azureTdxVerifier.verify(evidence(), intelContext()),
      (error) => isCaissonError(error) && error.details['check'] === 'certificate-root',
    );
  });
});

interface WireEvidence {
  readonly tpm_quote: { readonly signature: string; readonly message: string; readonly pcrs: readonly string[] };
  readonly hcl_report: string;
  readonly td_quote: string;
}

describe('genuine Azure evidence over TDX', () => {
  const parts = (): Readonly<Record<string, Uint8Array>> => {
    const wire = JSON.parse(sampleText('azure/az-tdx-vtpm/evidence-v1.json')) as WireEvidence;
    const bytes = (text: string, encoding: 'hex' | 'base64url'): Uint8Array =>
      Uint8Array.from(Buffer.from(text, encoding));
    return {
      hclReport: bytes(wire.hcl_report, 'base64url'),
      tdQuote: bytes(wire.td_quote, 'base64url'),
      quote: bytes(wire.tpm_quote.message, 'hex'),
      signature: tpmSignature(bytes(wire.tpm_quote.signature, 'hex')),
      pcrs: bytes(wire.tpm_quote.pcrs.join(''), 'hex'),
    };
  };
  const at = (): VerifyContext => ({
    ...{ now: Date.UTC(2025, 0, 15), collateral: new HeldCollateral(), collateralAgeMax: Infinity, extraRoots: [] },
  });
  const withSamples = (name: string, test: (t: TestContext) => Promise<void>): void => {
    it(name, async (t) => {
      if (requireSamples(t)) await test(t);
    });
  };

  withSamples('quote and runtime data hold; what Intel publishes is missing', () =>
    refused({ technology, parts: parts() }, 'collateral-missing', undefined, at()),
  );

  withSamples('every part that changed', async () => {
    const whole = parts();
    const flipped = (part: string, offset: number): Evidence => ({
      technology,
      parts: { ...whole, [part]: whole[part]!.with(offset, whole[part]![offset]! ^ 1) },
    });
    await refused(flipped('quote', 60), 'evidence-untrusted', 'quote-signature', at());
    await refused(flipped('pcrs', 7), 'evidence-untrusted', 'pcr-digest', at());
    await refused(flipped('tdQuote', 48 + 520), 'evidence-untrusted', 'runtime-data-digest', at());
  });
});
