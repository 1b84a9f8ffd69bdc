/** One test for each check of "Chain and revocation" (spec/attestation-snp.md): everything is right but the one thing. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  amdCollateral,
  amdContext,
  amdCrl,
  authorityCertificate,
  authorityKey,
  certificateTable,
  endorsementCertificate,
  endorsementExtensions,
  endorsementKey,
  fakeChipId,
  fakeCollateralAgeMax,
  fakeNames,
  fakeNow,
  serials,
  snpEvidence,
  snpReport,
  year,
} from '../../../../test/support/fake-amd.ts';
import { authorityExtensions, derInteger, pem } from '../../../../test/support/fake-x509.ts';
import { contextWith, refused, vekWith, verified } from '../../../../test/support/snp-cases.ts';
import type { Kind } from '../../../../test/support/snp-cases.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import type { VerifyContext } from '../verifier.ts';
import { snpVerifier } from './snp.ts';

describe('endorsement keys that AMD did not certify', () => {
  const vek = (changes: Parameters<typeof endorsementCertificate>[3], kind: Kind = 'vcek'): Uint8Array =>
    endorsementCertificate(kind, 'milan', endorsementExtensions(kind, 'milan'), changes);

  it('signed by a stranger', () =>
    refused(
      verified({}, vek({ signingKey: authorityKey('stranger') })),
      'evidence-untrusted',
      'certificate-signature',
    ));
  it('signed by themselves', () =>
    refused(
      verified({}, vek({ signingKey: endorsementKey(), scheme: 'ecdsa-sha384' })),
      'evidence-untrusted',
      'certificate-signature',
    ));
  it('issued by the intermediate of the other kind', () =>
    refused(
      verified({}, vek({ issuer: { CN: 'SEV-VLEK-Milan' }, signingKey: authorityKey('asvk') })),
      'evidence-untrusted',
      'certificate-issuer',
    ));
  it('not valid yet', () =>
    refused(verified({}, vek({ notBefore: fakeNow + 1000 })), 'evidence-untrusted', 'certificate-dates'));
  it('expired, of a VLEK after its year', () =>
    refused(
      verified({ kind: 'vlek' }, vek({ notAfter: fakeNow - 1000 }, 'vlek')),
      'evidence-untrusted',
      'certificate-dates',
    ));
  it('with an unknown critical extension', () =>
    refused(
      verified({}, vek({ extensions: [...[...endorsementExtensions('vcek', 'milan')].map(([arc, value]) => ({ oid: `1.3.6.1.4.1.3704.1.${arc}`, value })), { oid: '1.2.3', isCritical: true, value: derInteger(1) }] })), // prettier-ignore
      'evidence-untrusted',
      'certificate-extensions',
    ));

  it('out of collateral: errors are of the collateral', async () => {
    const name = `amd/milan/vcek/${Buffer.from(fakeChipId).toString('hex')}/04010000000018db`;
    const context = contextWith(name, vekWith('vcek', { '4': fakeChipId.toReversed() }));
    await refused(snpVerifier.verify(snpEvidence(snpReport()), context), 'collateral-untrusted', 'vek-chip');
    const stranger = contextWith(name, vek({ signingKey: authorityKey('stranger') }));
    await refused(
      snpVerifier.verify(snpEvidence(snpReport()), stranger),
      'collateral-untrusted',
      'certificate-signature',
    );
  });
});

describe('the chain of AMD', () => {
  const chain = (changes: Parameters<typeof authorityCertificate>[2]): VerifyContext =>
    contextWith('amd/milan/cert-chain', pem(authorityCertificate('ask', 'milan', changes)));

  it('without the intermediate', async () => {
    const bytes = pem(authorityCertificate('asvk', 'milan'), authorityCertificate('ark', 'milan'));
    await refused(
      verified({}, undefined, contextWith('amd/milan/cert-chain', bytes)),
      'collateral-untrusted',
      'chain-form',
    );
  });
  it('that is garbage', () =>
    refused(
      verified({}, undefined, contextWith('amd/milan/cert-chain', Uint8Array.of(0))),
      'collateral-untrusted',
      'certificate-format',
    ));
  it('signed by a stranger', () =>
    refused(
      verified({}, undefined, chain({ signingKey: authorityKey('stranger') })),
      'collateral-untrusted',
      'certificate-signature',
    ));
  it('that is no authority', () =>
    refused(verified({}, undefined, chain({ extensions: [] })), 'collateral-untrusted', 'certificate-ca'));
  it('that may not sign certificates', () => {
    const [constraints] = authorityExtensions(0, false);
    const usage = { oid: '2.5.29.15', isCritical: true, value: Uint8Array.of(3, 2, 1, 2) };
    return refused(
      verified({}, undefined, chain({ extensions: [constraints!, usage] })),
      'collateral-untrusted',
      'certificate-usage',
    );
  });
  it('that has expired', () =>
    refused(verified({}, undefined, chain({ notAfter: fakeNow - 1000 })), 'collateral-stale', 'certificate-dates'));

  it('up to a root that nobody trusts, though it came along', () =>
    refused(
      verified({}, undefined, amdContext('milan', { extraRoots: [] })),
      'collateral-untrusted',
      'certificate-issuer',
    ));
  it('up to a root of another product', () => {
    const der = authorityCertificate('ark', 'genoa');
    const issuer = { ...fakeNames, CN: 'ARK-Genoa' };
    const context = contextWith('amd/milan/cert-chain', pem(authorityCertificate('ask', 'milan', { issuer })), {
      extraRoots: [{ technology: 'snp', name: 'genoa', der }],
    });
    return refused(verified({}, undefined, context), 'collateral-untrusted', 'certificate-issuer');
  });
  it('up to a root that the operator trusts for something else', () => {
    const extraRoots = [{ technology: 'tdx', name: 'x', der: authorityCertificate('ark', 'milan') }] as const;
    return refused(
      verified({}, undefined, amdContext('milan', { extraRoots })),
      'collateral-untrusted',
      'certificate-issuer',
    );
  });

  it('does not use the certificates of the table for the chain', async () => {
    const stranger = { signingKey: authorityKey('stranger') };
    const certificates = certificateTable({
      vcek: endorsementCertificate('vcek', 'milan'),
      ask: authorityCertificate('ask', 'milan', stranger),
      ark: authorityCertificate('ark', 'milan', stranger),
    });
    await snpVerifier.verify(snpEvidence(snpReport(), certificates), amdContext('milan'));
  });
});

describe('what AMD has revoked', () => {
  const list = (changes: Parameters<typeof amdCrl>[1]): VerifyContext =>
    contextWith('amd/milan/crl', amdCrl('milan', changes));

  it('the intermediate', async () => {
    await refused(verified({}, undefined, list({ revoked: [serials.ask] })), 'evidence-untrusted', 'chain-revoked');
    const vlek = contextWith('amd/milan/vlek-crl', amdCrl('milan', { revoked: [serials.asvk] }));
    await refused(verified({ kind: 'vlek' }, undefined, vlek), 'evidence-untrusted', 'chain-revoked');
  });
  it('the endorsement key', async () => {
    const vek = endorsementCertificate('vcek', 'milan', endorsementExtensions('vcek', 'milan'), { serial: 77 });
    await verified({}, vek, list({ revoked: [76] }));
    await refused(verified({}, vek, list({ revoked: [76, 77] })), 'evidence-untrusted', 'vek-revoked');
  });
  it('an intermediate of the other kind does not matter', async () => {
    await verified({}, undefined, list({ revoked: [serials.asvk] }));
  });

  it('a list that is garbage', () =>
    refused(
      verified({}, undefined, contextWith('amd/milan/crl', Uint8Array.of(0))),
      'collateral-untrusted',
      'crl-format',
    ));
  it('a list of another issuer', () =>
    refused(
      verified({}, undefined, contextWith('amd/milan/crl', amdCrl('genoa'))),
      'collateral-untrusted',
      'crl-issuer',
    ));
  it('a list that a stranger signed', () =>
    refused(
      verified({}, undefined, list({ signingKey: authorityKey('stranger') })),
      'collateral-untrusted',
      'crl-signature',
    ));
  it('a list of tomorrow', () =>
    refused(verified({}, undefined, list({ thisUpdate: fakeNow + 1000 })), 'collateral-stale', 'crl-dates'));
  it('a list of the year before', () =>
    refused(
      verified({}, undefined, list({ thisUpdate: fakeNow - 2 * year, nextUpdate: fakeNow - 1000 })),
      'collateral-stale',
      'crl-dates',
    ));
  it('a list that was obtained long ago', async () => {
    const obtained = (age: number): VerifyContext =>
      amdContext('milan', { collateral: amdCollateral('milan').put('amd/milan/crl', amdCrl('milan'), fakeNow - age) });
    await verified({}, undefined, obtained(fakeCollateralAgeMax));
    await refused(verified({}, undefined, obtained(fakeCollateralAgeMax + 1)), 'collateral-stale', 'crl-age');
  });
  it('no list', async () => {
    const collateral = amdCollateral('milan');
    collateral.items.delete('amd/milan/crl');
    await assert.rejects(verified({}, undefined, amdContext('milan', { collateral })), (error) =>
      isCaissonError(error, 'collateral-missing'),
    );
  });
});
