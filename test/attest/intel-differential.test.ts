/**
 * Our verifier beside another one, on public samples and changes of them: what the other refuses we refuse, and where both accept,
 * status and advisories are the same. The other one does not read version 5, and does not check all that we do.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { initSync, js_verify } from '@phala/dcap-qvl-web';
import { sgxVerifier } from '../../src/broker/attest/sgx/sgx.ts';
import { tdxVerifier } from '../../src/broker/attest/tdx/tdx.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes, type SeededBytes } from '../fuzz/seeded.ts';
import { requireSamples } from '../support/evidence-samples.ts';
import { sourceOf } from '../support/fake-intel.ts';
import {
  piecesOf,
  sampleCollateral,
  sampleFmspc,
  sampleQuote,
  sampleTime,
  type SampleCollateral,
} from '../support/intel-samples.ts';

interface Verdict {
  readonly status: unknown;
  readonly advisories: unknown;
}

interface Input {
  readonly quote: Uint8Array;
  readonly parts: SampleCollateral;
  readonly now: number;
}

const mutants = 250;
initSync({ module: readFileSync(new URL(import.meta.resolve('@phala/dcap-qvl-web/dcap-qvl-web_bg.wasm'))) });

/** Undefined where it refuses. */
function theirs({ quote, parts, now }: Input): Verdict | undefined {
  try {
    const verdict = js_verify(quote, parts, BigInt(Math.floor(now / 1000))) as Record<string, unknown>;
    return { status: verdict['status'], advisories: verdict['advisory_ids'] };
  } catch {
    return undefined;
  }
}

async function ours(technology: 'sgx' | 'tdx', { quote, parts, now }: Input): Promise<Verdict | undefined> {
  const verifier = technology === 'sgx' ? sgxVerifier : tdxVerifier;
  const collateral = sourceOf(piecesOf(technology, parts, sampleFmspc[technology]));
  const context = { now, collateral, collateralAgeMax: Infinity, extraRoots: [] };
  try {
    const { claims } = await verifier.verify({ technology, parts: { quote } }, context);
    return { status: claims.get('tcb.status'), advisories: claims.get('tcb.advisories') };
  } catch (error) {
    assert.ok(error instanceof CaissonError, String(error));
    return undefined;
  }
}

function changedText(text: string, random: SeededBytes): string {
  const place = random.below(text.length);
  const alphabet = /^[0-9a-f]+$/.test(text) ? '0123456789abcdef' : 'A5"{}\n0x,';
  return `${text.substring(0, place)}${alphabet[random.below(alphabet.length)]}${text.substring(place + 1)}`;
}

function mutant({ quote, parts, now }: Input, random: SeededBytes): Input {
  const kind = random.below(10);
  if (kind < 5) {
    const copy = Uint8Array.from(quote);
    copy[random.below(copy.length)]! ^= 1 << random.below(8);
    return { quote: copy, parts, now };
  }
  if (kind < 6) return { quote, parts, now: now + (random.below(240) - 120) * 86_400_000 };
  if (kind < 7) return { quote: quote.subarray(0, random.below(quote.length)), parts, now };
  const names = Object.keys(parts);
  const name = names[random.below(names.length)]!;
  return { quote, parts: { ...parts, [name]: changedText(parts[name]!, random) }, now };
}

for (const technology of ['sgx', 'tdx'] as const)
  test(`${technology}: never laxer than another verifier, and of one mind with it`, async (t) => {
    if (!requireSamples(t)) return;
    const input = { quote: sampleQuote(technology), parts: sampleCollateral(technology), now: sampleTime };
    const genuine = theirs(input);
    assert.ok(genuine !== undefined, 'the other verifier knows the sample');
    assert.deepEqual(await ours(technology, input), genuine);
    const random = seededBytes(7);
    let bothRefused = 0;
    for (let index = 0; index < mutants; index++) {
      const changed = mutant(input, random);
      const [one, other] = [theirs(changed), await ours(technology, changed)];
      if (one === undefined) bothRefused += 1;
      if (one === undefined) assert.equal(other, undefined, `mutant ${index}: only we accept it`);
      else if (other !== undefined) assert.deepEqual(other, one, `mutant ${index}`);
    }
    assert.ok(bothRefused > mutants / 2, 'most changes are seen by both');
  });
