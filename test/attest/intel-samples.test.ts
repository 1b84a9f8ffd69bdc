/** Public samples of Intel evidence reach the verdict that is known of them, and each change of one its refusal. */
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import type { Collateral } from '../../src/broker/attest/collateral.ts';
import { pckPlatform } from '../../src/broker/attest/intel/pck.ts';
import { readSigned } from '../../src/broker/attest/intel/signed-json.ts';
import { evaluateTcb } from '../../src/broker/attest/intel/tcb-evaluation.ts';
import { readQeIdentity, readTcbInfo } from '../../src/broker/attest/intel/tcb-info.ts';
import { splitPem } from '../../src/broker/attest/x509/certificates.ts';
import { pckName } from '../../src/broker/attest/intel/verify.ts';
import { sgxVerifier } from '../../src/broker/attest/sgx/sgx.ts';
import { parseSgxQuote } from '../../src/broker/attest/sgx/parse.ts';
import { parseTdxQuote } from '../../src/broker/attest/tdx/parse.ts';
import { tdxVerifier } from '../../src/broker/attest/tdx/tdx.ts';
import type { TrustedRoot, VerifiedEvidence } from '../../src/broker/attest/verifier.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { requireSamples, sample } from '../support/evidence-samples.ts';
import { pckCrl, rootCrl, sourceOf } from '../support/fake-intel.ts';
import { piecesOf, sampleCollateral, sampleFmspc, sampleQuote, sampleTime } from '../support/intel-samples.ts';

type Technology = 'sgx' | 'tdx';
type Pieces = Map<string, Collateral>;

interface Input {
  readonly technology: Technology;
  readonly quote: Uint8Array;
  readonly pieces: Pieces;
  readonly now: number;
  readonly extraRoots?: readonly TrustedRoot[];
}

const ageMax = 3650 * 86_400_000;
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

async function verify({ technology, quote, pieces, now, extraRoots = [] }: Input): Promise<VerifiedEvidence> {
  const verifier = technology === 'sgx' ? sgxVerifier : tdxVerifier;
  const context = { now, collateral: sourceOf(pieces), collateralAgeMax: ageMax, extraRoots };
  return await verifier.verify({ technology, parts: { quote } }, context);
}

async function refuses(input: Input, check: string, code: string): Promise<void> {
  await assert.rejects(
    async () => await verify(input),
    (error) => {
      assert.ok(error instanceof CaissonError, String(error));
      assert.deepEqual([error.details['check'], error.code], [check, code], error.message);
      return true;
    },
  );
}

function phala(technology: Technology): Input {
  const pieces = piecesOf(technology, sampleCollateral(technology), sampleFmspc[technology]);
  return { technology, quote: sampleQuote(technology), pieces, now: sampleTime };
}

function go(now: number, tcb: string, fmspc: string, quote: Uint8Array): Input {
  const file = (name: string): Uint8Array => sample(`intel/go-tdx-guest/${name}`);
  const pieces: Pieces = new Map([
    [`intel/tdx/tcb/${fmspc}`, { bytes: file(tcb), issuerChain: file('tcbInfoIssuerChain.pem'), obtainedAt: now }],
    [
      'intel/tdx/qe-identity',
      { bytes: file('sample_qeIdentity_response'), issuerChain: file('qeIdentityIssuerChain.pem'), obtainedAt: now },
    ],
    ['intel/root-crl', { bytes: file('rootcrl.der'), obtainedAt: now }],
    ['intel/pck-crl/platform', { bytes: file('pckcrl'), obtainedAt: now }],
  ]);
  return { technology: 'tdx', quote, pieces, now };
}

/** Intel's synthetic evidence with a root of its own; the PCK certificate is not in the quote. */
function synthetic(technology: Technology, now: number): Input {
  const folder = technology === 'sgx' ? 'intel/qvl-sample' : 'intel/qvl-sample/tdx';
  const file = (name: string): Uint8Array => sample(`${folder}/${name}`);
  const quote = technology === 'sgx' ? file('quote.dat') : withPemChain(file('quote.dat'), folder);
  const parsed = technology === 'sgx' ? parseSgxQuote(quote) : parseTdxQuote(quote);
  // The one of TDX begins with the root; services begin with the leaf.
  const blocks = Buffer.from(file('tcbSignChain.pem'))
    .toString()
    .split(/(?<=-----END CERTIFICATE-----\n)/);
  const issuerChain = bytesOf((technology === 'sgx' ? blocks : blocks.reverse()).join(''));
  const { fmspc } = (JSON.parse(Buffer.from(file('tcbInfo.json')).toString()) as { tcbInfo: { fmspc: string } })
    .tcbInfo;
  const pieces: Pieces = new Map([
    [`intel/${technology}/tcb/${fmspc.toLowerCase()}`, { bytes: file('tcbInfo.json'), issuerChain, obtainedAt: now }],
    [`intel/${technology}/qe-identity`, { bytes: file('qeIdentity.json'), issuerChain, obtainedAt: now }],
    ['intel/root-crl', { bytes: file('rootCaCrl.der'), obtainedAt: now }],
    ['intel/pck-crl/processor', { bytes: file('intermediateCaCrl.der'), obtainedAt: now }],
  ]);
  if (parsed.certification.kind === 'ppid') {
    const name = pckName(parsed.certification, parsed.header.qeId);
    pieces.set(name, { bytes: file('pckCert.pem'), issuerChain: file('pckSignChain.pem'), obtainedAt: now });
  }
  const pemText = Buffer.from(file('trustedRootCaCert.pem')).toString();
  const der = Buffer.from(pemText.replaceAll(/-----[A-Z ]+-----|\s/g, ''), 'base64');
  return { technology, quote, pieces, now, extraRoots: [{ technology, name: 'synthetic', der: Uint8Array.from(der) }] };
}

/** The synthetic TDX quote has its chain as DER, which no service writes; the chain is beside it as PEM. Nothing signs that part. */
function withPemChain(quote: Uint8Array, folder: string): Uint8Array {
  const fixed = Buffer.from(quote.subarray(0, 636 + 128 + 6 + 384 + 64 + 2));
  const chain = Buffer.concat([sample(`${folder}/pckCert.pem`), sample(`${folder}/pckSignChain.pem`)]);
  const tail = Buffer.alloc(6);
  tail.writeUInt16LE(5);
  tail.writeUInt32LE(chain.length, 2);
  fixed.writeUInt32LE(128 + 6 + 450 + 6 + chain.length, 632);
  fixed.writeUInt32LE(450 + 6 + chain.length, 636 + 128 + 2);
  return Uint8Array.from(Buffer.concat([fixed, tail, chain]));
}

function changed(bytes: Uint8Array, place: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[place]! ^= 1;
  return copy;
}

function withPiece(input: Input, name: string, change: (given: Collateral) => Partial<Collateral>): Input {
  const given = input.pieces.get(name)!;
  return { ...input, pieces: new Map([...input.pieces, [name, { ...given, ...change(given) }]]) };
}

/** The name of the only TCB info. */
function tcbName({ pieces }: Input): string {
  return [...pieces.keys()].find((name) => name.includes('/tcb/'))!;
}

test('SGX on a platform that needs configuration and hardening', async (t) => {
  if (!requireSamples(t)) return;
  const { claims, reportData } = await verify(phala('sgx'));
  assert.equal(claims.get('tcb.status'), 'ConfigurationAndSWHardeningNeeded');
  assert.deepEqual(claims.get('tcb.advisories'), ['INTEL-SA-00289', 'INTEL-SA-00615']);
  assert.equal(claims.get('tcb.date'), '2024-03-13T00:00:00Z');
  assert.equal(claims.get('debug'), false);
  assert.equal(Buffer.from(reportData).toString('latin1').replace(/\0+$/, ''), 'Hello, world!');
});

test('TDX on a platform that is up to date', async (t) => {
  if (!requireSamples(t)) return;
  const { claims } = await verify(phala('tdx'));
  assert.equal(claims.get('tcb.status'), 'UpToDate');
  assert.deepEqual(claims.get('tcb.advisories'), []);
  assert.equal(claims.get('tdx.module-status'), 'UpToDate');
});

test('neither holds before its collateral was issued nor after it ran out', async (t) => {
  if (!requireSamples(t)) return;
  for (const technology of ['sgx', 'tdx'] as const) {
    const input = phala(technology);
    for (const now of [Date.UTC(2025, 5, 19), Date.UTC(2025, 6, 20)])
      await assert.rejects(async () => await verify({ ...input, now }), { code: 'collateral-stale' });
  }
});

test('a production TD of 2023 matches no TCB level, and its quote has foreign bytes at its end', async (t) => {
  if (!requireSamples(t)) return;
  const padded = sample('intel/go-tdx-guest/tdx_prod_quote_SPR_E4.dat');
  const now = Date.UTC(2023, 6, 1);
  const input = go(now, 'sample_tcbInfo_response', '50806f000000', padded.subarray(0, 4935));
  const { claims } = await verify(input);
  assert.equal(claims.get('tcb.status'), 'NotSupported');
  assert.deepEqual([claims.get('tdx.pks'), claims.get('tdx.sept-ve-disable')], [true, false]);
  assert.equal(claims.has('tcb.date'), false);
  await refuses({ ...input, quote: padded }, 'quote-trailing', 'evidence-invalid');
});

test('version 5 with TDX 1.5: all holds but the QE identity, which is of another year', async (t) => {
  if (!requireSamples(t)) return;
  const quote = sample('intel/go-tdx-guest/quote_v5_sample.dat');
  assert.ok(parseTdxQuote(quote).report.extension !== undefined);
  const input = go(Date.UTC(2026, 1, 3), 'sample_tcbinfo_response_v5', '90c06f000000', quote);
  // Lists of that date are not among the samples either: they are the first that a strict run names.
  await assert.rejects(async () => await verify(input), { code: 'collateral-stale' });
  assert.equal(evaluatedBesideDates(quote, input.pieces), 'UpToDate');
});

/** Signatures and TCB levels as at their own dates, with the QE identity of another year. */
function evaluatedBesideDates(quote: Uint8Array, pieces: Pieces): string {
  const parsed = parseTdxQuote(quote);
  assert.ok(parsed.certification.kind === 'chain');
  const platform = pckPlatform(splitPem(parsed.certification.pem, 'evidence')[0]!);
  const tcb = pieces.get(`intel/tdx/tcb/${platform.fmspc}`)!;
  const identity = pieces.get('intel/tdx/qe-identity')!;
  const keyOf = ({ issuerChain }: Collateral): KeyObject => splitPem(issuerChain!, 'collateral')[0]!.publicKey;
  const info = readSigned(tcb.bytes, 'tcbInfo', 'tcb-info', keyOf(tcb), readTcbInfo);
  const qe = readSigned(identity.bytes, 'enclaveIdentity', 'qe-identity', keyOf(identity), readQeIdentity);
  const { teeTcbSvn, extension } = parsed.report;
  const tdx = { launch: teeTcbSvn, current: extension?.teeTcbSvn2 };
  return evaluateTcb(info, qe, { ...platform, qeIsvSvn: parsed.qeReport.isvSvn, tdx }).status;
}

test('a quote of 8000 bytes is padding after 4935', async (t) => {
  if (!requireSamples(t)) return;
  const quote = sample('intel/go-tdx-guest/cos-113-tdx-quote.dat');
  const nonce = sample('intel/go-tdx-guest/cos-113-nonce.dat');
  assert.deepEqual(parseTdxQuote(quote).report.reportData, nonce);
  const input = go(Date.UTC(2023, 6, 1), 'sample_tcbInfo_response', '50806f000000', quote);
  // The chain in it is younger than the lists that there are.
  await assert.rejects(async () => await verify(input), { code: /evidence-untrusted|collateral-/ });
});

test('a debug TD is genuine and says so: its platform is the one of the lists of 2023', async (t) => {
  if (!requireSamples(t)) return;
  const quote = sample('intel/trustee/tdx_quote_4.dat');
  assert.equal(parseTdxQuote(quote).report.tdAttributes[0]! & 1, 1);
  const input = go(Date.UTC(2023, 6, 1), 'sample_tcbInfo_response', '50806f000000', quote);
  const { claims } = await verify(input);
  assert.equal(claims.get('debug'), true);
  // Without the flag it is another report, which nobody signed.
  const place = 48 + 120;
  assert.equal(quote[place], 1);
  await refuses({ ...input, quote: changed(quote, place) }, 'quote-signature', 'evidence-untrusted');
});

for (const [technology, now] of [
  ['sgx', Date.UTC(2020, 0, 1)],
  ['tdx', Date.UTC(2022, 0, 1)],
] as const)
  test(`Intel's synthetic ${technology} quote is vouched for by its own root and by no other`, async (t) => {
    if (!requireSamples(t)) return;
    const input = synthetic(technology, now);
    if (technology === 'sgx') {
      const { claims, basis } = await verify(input);
      assert.equal(claims.get('tcb.status'), 'UpToDate');
      assert.match(basis.find(({ name }) => name === 'root')!.value, /^synthetic /);
    } else {
      // All that its root vouches for holds. Then its TCB info has component versions such as 65473, which are no bytes.
      await refuses(input, 'tcb-info-format', 'collateral-untrusted');
    }
    const code = technology === 'sgx' ? 'collateral-untrusted' : 'evidence-untrusted';
    await refuses({ ...input, extraRoots: [] }, 'certificate-root', code);
    const other = [{ ...input.extraRoots![0]!, technology: technology === 'sgx' ? 'tdx' : 'sgx' } as const];
    await refuses({ ...input, extraRoots: other }, 'certificate-root', code);
    const asGiven = sample(`intel/qvl-sample/${technology === 'sgx' ? '' : 'tdx/'}quote.dat`);
    if (technology === 'tdx') await refuses({ ...input, quote: asGiven }, 'certificate-format', 'evidence-invalid');
  });

test("the extra root vouches for nothing that ends in Intel's", async (t) => {
  if (!requireSamples(t)) return;
  const real = phala('sgx');
  const { pieces, extraRoots } = synthetic('sgx', sampleTime);
  const foreign = pieces.get('intel/sgx/qe-identity')!;
  const input = withPiece({ ...real, extraRoots: extraRoots! }, 'intel/sgx/qe-identity', () => foreign);
  await assert.rejects(async () => await verify(input), { code: 'collateral-untrusted' });
});

test('one changed byte of quote or certificate is refused where it counts', async (t) => {
  if (!requireSamples(t)) return;
  const input = phala('tdx');
  const end = 48 + 584 + 4;
  const places: readonly (readonly [name: string, place: number, check: string])[] = [
    ['body', 48 + 136, 'quote-signature'],
    ['report data', 48 + 520, 'quote-signature'],
    ['signature', end + 10, 'quote-signature'],
    ['attestation key', end + 64 + 10, 'attestation-key'],
    ['QE report', end + 128 + 6 + 70, 'qe-report-signature'],
    ['QE report signature', end + 128 + 6 + 384 + 5, 'qe-report-signature'],
    ['QE authentication data', end + 128 + 6 + 448 + 2 + 3, 'attestation-key'],
  ];
  for (const [name, place, check] of places)
    await t.test(name, async () => {
      await refuses({ ...input, quote: changed(input.quote, place) }, check, 'evidence-untrusted');
    });
  const begin = Buffer.from(input.quote).indexOf('-----BEGIN CERTIFICATE-----');
  const text = Buffer.from(input.quote)
    .subarray(begin, begin + 400)
    .toString('latin1');
  const place = begin + text.indexOf('\n') + 300;
  await assert.rejects(async () => await verify({ ...input, quote: changed(input.quote, place) }), {
    code: /evidence-(?:untrusted|invalid)/,
  });
});

test('a quote that is cut anywhere is invalid', async (t) => {
  if (!requireSamples(t)) return;
  for (const technology of ['sgx', 'tdx'] as const) {
    const input = phala(technology);
    const end = technology === 'sgx' ? input.quote.length : 4936;
    for (const length of [1, 2, 47, 48, 431, 432, 435, 436, 500, 631, 640, 700, 1100, 1200, 4000, end - 1])
      await assert.rejects(
        async () => await verify({ ...input, quote: input.quote.subarray(0, length) }),
        { code: 'evidence-invalid' },
        `${technology} ${length}`,
      );
  }
});

test('garbage, stale and wrongly signed lists are refused', async (t) => {
  if (!requireSamples(t)) return;
  const input = phala('tdx');
  for (const name of ['intel/root-crl', 'intel/pck-crl/platform']) {
    for (const bytes of [Uint8Array.of(0), Uint8Array.of(0x30, 0), new Uint8Array(0)])
      await refuses(
        withPiece(input, name, () => ({ bytes })),
        'crl-format',
        'collateral-untrusted',
      );
    const wrong = withPiece(input, name, ({ bytes }) => ({ bytes: changed(bytes, bytes.length - 1) }));
    await refuses(wrong, 'crl-signature', 'collateral-untrusted');
  }
  await refuses(
    withPiece(input, 'intel/root-crl', () => ({ bytes: rootCrl() })),
    'crl-issuer',
    'collateral-untrusted',
  );
  const fake = withPiece(input, 'intel/pck-crl/platform', () => ({ bytes: pckCrl() }));
  await refuses(fake, 'crl-issuer', 'collateral-untrusted');
  const swapped = phala('sgx').pieces.get('intel/pck-crl/processor')!;
  await refuses(
    withPiece(input, 'intel/pck-crl/platform', () => swapped),
    'crl-issuer',
    'collateral-untrusted',
  );
  const old = { bytes: sample('intel/go-tdx-guest/pckcrl') };
  await refuses(
    withPiece(input, 'intel/pck-crl/platform', () => old),
    'crl-dates',
    'collateral-stale',
  );
});

test('TCB info of another platform, technology or form is refused', async (t) => {
  if (!requireSamples(t)) return;
  const input = phala('tdx');
  const name = tcbName(input);
  const text = ({ bytes }: Collateral): string => Buffer.from(bytes).toString();
  const sgx = phala('sgx');
  const other = sgx.pieces.get(tcbName(sgx))!;
  await refuses(
    withPiece(input, name, () => other),
    'tcb-info-platform',
    'collateral-untrusted',
  );
  const rewrites: readonly ((given: string) => string)[] = [
    (given) => given.replace('B0C06F000000', '00A067110000'),
    (given) => given.replace(/"tdxModuleIdentities":\[.*?\],"tcbLevels":\[\{"tcb":\{"sgx/, '"tcbLevels":[{"tcb":{"sgx'),
    (given) => JSON.stringify(JSON.parse(given), undefined, 1),
    (given) => given.replace('"version":3', '"version":3 '),
  ];
  for (const rewrite of rewrites) {
    const before = text(input.pieces.get(name)!);
    assert.notEqual(rewrite(before), before);
    const bad = withPiece(input, name, () => ({ bytes: bytesOf(rewrite(before)) }));
    await refuses(bad, 'tcb-info-signature', 'collateral-untrusted');
  }
});
