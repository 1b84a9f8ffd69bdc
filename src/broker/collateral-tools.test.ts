import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { amdCollateral, amdContext, fakeNow, snpEvidence, snpReport } from '../../test/support/fake-amd.ts';
import {
  fakePlatform,
  intelCollateral,
  intelContext,
  intelEvidence,
  intelNow,
  sourceOf,
} from '../../test/support/fake-intel.ts';
import type { CollateralFetchRequest } from '../admin/broker-tools.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Evidence } from '../wire/evidence.ts';
import { sgxVerifier } from './attest/sgx/sgx.ts';
import { snpVerifier } from './attest/snp/snp.ts';
import { decodeBundle } from './collateral/bundle-format.ts';
import { offlineBundle } from './collateral/offline-bundle.ts';
import { fetchBundle } from './collateral-tools.ts';

const { fmspc } = fakePlatform;

function folder(t: TestContext): (name: string) => string {
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-collateral-'));
  t.after(() => fs.rmSync(place, { recursive: true }));
  return (name) => path.join(place, name);
}

function wanted(file: string, changes: Partial<CollateralFetchRequest> = {}): CollateralFetchRequest {
  return { configurationFile: undefined, file, fmspcs: [], products: [], evidenceFiles: [], ...changes };
}

function evidenceFile(file: string, { technology, parts }: Evidence): string {
  const texts = Object.entries(parts).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]);
  fs.writeFileSync(file, JSON.stringify({ technology, parts: Object.fromEntries(texts) }));
  return file;
}

const none = sourceOf(new Map());

test('a bundle for a model of platform verifies its quotes without a network', async (t) => {
  const file = folder(t)('intel.json');
  const intel = intelContext();
  const request = wanted(file, { fmspcs: [fmspc.toUpperCase()] });
  const { names, missing } = await fetchBundle(request, intel.collateral, [], () => intelNow);
  assert.deepEqual([new Set(names), missing], [new Set(intelCollateral().keys()), []]);
  const collateral = await offlineBundle(file);
  const { claims } = await sgxVerifier.verify(intelEvidence('sgx'), { ...intel, collateral });
  assert.equal(claims.get('tcb.status'), 'UpToDate');
});

test('a bundle for evidence holds what its verification asks for, and no more', async (t) => {
  const at = folder(t);
  const context = amdContext('milan');
  const evidence = snpEvidence(snpReport());
  const request = wanted(at('amd.json'), { evidenceFiles: [evidenceFile(at('evidence'), evidence)] });
  const { names } = await fetchBundle(request, context.collateral, context.extraRoots, () => fakeNow);
  assert.deepEqual(new Set(names.map((name) => name.split('/')[2])), new Set(['cert-chain', 'crl', 'vcek']));
  assert.equal(names.length, 3);
  const collateral = await offlineBundle(at('amd.json'));
  await snpVerifier.verify(evidence, { ...context, collateral });
});

test('a product gives all of its lists; a bundle is renewed but for what never changes', async (t) => {
  const at = folder(t);
  const context = amdContext('milan');
  const evidenceFiles = [evidenceFile(at('evidence'), snpEvidence(snpReport()))];
  const request = wanted(at('amd.json'), { products: ['milan'], evidenceFiles });
  const first = await fetchBundle(request, context.collateral, context.extraRoots, () => fakeNow);
  assert.equal(first.names.length, 5);
  const later = amdCollateral('milan');
  for (const [name, { bytes }] of later.items) later.put(name, bytes, fakeNow);
  const second = await fetchBundle(wanted(at('amd.json')), later, [], () => fakeNow);
  assert.deepEqual([second.names, later.asked.length], [first.names, 4]);
  for (const { name, obtainedAt } of decodeBundle(fs.readFileSync(at('amd.json'))))
    assert.equal(obtainedAt === fakeNow, !name.includes('/vcek/'), name);
});

test('what the vendor does not have is named; where it has nothing at all there is no bundle', async (t) => {
  const file = folder(t)('intel.json');
  const known = intelCollateral();
  known.delete(`intel/tdx/tcb/${fmspc}`);
  const { missing } = await fetchBundle(wanted(file, { fmspcs: [fmspc] }), sourceOf(known), [], () => intelNow);
  assert.deepEqual(missing, [`intel/tdx/tcb/${fmspc}`]);
  fs.rmSync(file);
  const request = wanted(file, { fmspcs: [fmspc] });
  await assert.rejects(
    fetchBundle(request, none, [], () => intelNow),
    { code: 'collateral-missing' },
  );
  assert.equal(fs.existsSync(file), false);
});

test('a service that does not answer, evidence that does not hold and foreign files leave the file as it was', async (t) => {
  const at = folder(t);
  const { collateral, extraRoots } = intelContext();
  await fetchBundle(wanted(at('bundle'), { fmspcs: [fmspc] }), collateral, [], () => intelNow);
  const before = fs.readFileSync(at('bundle'));
  const silent = {
    get: () => Promise.reject(new CaissonError('transient', 'collateral-missing', 'no answer')),
  };
  await assert.rejects(
    fetchBundle(wanted(at('bundle')), silent, [], () => intelNow),
    { kind: 'transient' },
  );
  const evidenceFiles = [evidenceFile(at('evidence'), intelEvidence('sgx'))];
  // Nobody vouches for the root of the evidence.
  await assert.rejects(
    fetchBundle(wanted(at('bundle'), { evidenceFiles }), collateral, [], () => intelNow),
    { code: /untrusted/ },
  );
  assert.deepEqual(fs.readFileSync(at('bundle')), before);
  fs.writeFileSync(at('letter'), 'dear reader');
  const onLetter = wanted(at('letter'), { fmspcs: [fmspc] });
  await assert.rejects(
    fetchBundle(onLetter, collateral, extraRoots, () => intelNow),
    { code: 'argument-invalid' },
  );
  assert.equal(fs.readFileSync(at('letter'), 'utf8'), 'dear reader');
});

test('a model or product that cannot be, evidence that is not there, and no wish at all are refused', async (t) => {
  const at = folder(t);
  for (const wish of [{ fmspcs: ['00a0'] }, { products: ['naples'] }, { evidenceFiles: [at('none')] }, {}])
    await assert.rejects(
      fetchBundle(wanted(at('bundle'), wish), none, [], () => fakeNow),
      {
        code: 'argument-invalid',
      },
    );
});
