/**
 * JSON from strangers: what `parseRequestJson` takes is what `JSON.parse` makes of it, and no name is lost in it; what it
 * refuses it refuses by name. A release request read from it matches its schema or does not, and nothing else happens.
 */
import assert from 'node:assert/strict';
import { CaissonError } from '../../src/lib/errors.ts';
import { workloadOperations } from '../../src/wire/broker-schema.ts';
import { parseRequestJson } from '../../src/wire/request-json.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const bounds = { bytesMax: 400, depthMax: 6 };
const pieces = ['{', '}', '[', ']', ',', ':', '"a"', '"b"', '"\\u0061"', '"\\""', '"{"', '1', 'null', ' ', '"', '\\'];
const request = JSON.stringify({
  ...{ tenant: 'acme', key: 'data', nonce: '00'.repeat(32), suite: 'x25519' },
  evidence: { technology: 'tpm', parts: { quote: 'AAAA' } },
});

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const text = random.below(2) === 0 ? composed(random) : changed(random);
    let value: unknown;
    try {
      value = parseRequestJson(new TextEncoder().encode(text), 'the request', bounds);
    } catch (error) {
      const isNamed = error instanceof CaissonError && ['argument-invalid', 'limit-exceeded'].includes(error.code);
      assert.ok(isNamed, `${where}: ${String(error)}`);
      continue;
    }
    assert.deepEqual(value, JSON.parse(text), where);
    // Every name of the text is in the value: none was given twice.
    const names = text.match(/"(?:[^"\\]|\\.)*"\s*:/g)?.length ?? 0;
    assert.equal(countNames(value), names, where);
    workloadOperations.release.request.safeParse(value);
  }
}

function composed(random: SeededBytes): string {
  return Array.from({ length: random.below(24) }, () => pieces[random.below(pieces.length)]).join('');
}

/** A request with a piece put in, left out or doubled. */
function changed(random: SeededBytes): string {
  const at = random.below(request.length);
  const end = at + random.below(12);
  const middle = [request.substring(at, end).repeat(2), '', pieces[random.below(pieces.length)]][random.below(3)];
  return `${request.substring(0, at)}${middle}${request.substring(end)}`;
}

function countNames(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum: number, inner) => sum + countNames(inner), own);
}
