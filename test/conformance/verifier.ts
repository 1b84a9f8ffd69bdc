/**
 * What every Verifier must do (src/broker/attest/verifier.ts), run by every implementation. The checks of one
 * technology have tests of their own; here stands what a broker relies on whatever the technology.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Collateral, CollateralSource } from '../../src/broker/attest/collateral.ts';
import type {
  ClaimDefinition,
  ClaimValue,
  VerifiedEvidence,
  Verifier,
  VerifyContext,
} from '../../src/broker/attest/verifier.ts';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { seededBytes } from '../fuzz/seeded.ts';

export interface VerifierInput {
  readonly evidence: Evidence;
  readonly context: VerifyContext;
}

export interface VerifierCase {
  readonly verifier: Verifier;
  /** Evidence that verifies in this context, with all parts that the technology can use. */
  readonly make: () => VerifierInput;
  /** Debug evidence that verifies; undefined where the technology has no such thing. */
  readonly makeDebug: (() => VerifierInput) | undefined;
  /** Parts that are for people: a change of them need not be seen. */
  readonly unauthenticatedParts?: readonly string[];
  /** Nothing of it has dates: no certificate, no collateral. */
  readonly isTimeless?: boolean;
}

/** Single bits that are changed in each part, and in each piece of collateral. */
const changesEach = 48;
const refusals = ['evidence-invalid', 'evidence-untrusted'] as const;
const collateralRefusals = ['collateral-missing', 'collateral-stale', 'collateral-untrusted'] as const;

export function verifierConformance(name: string, verifierCase: VerifierCase): void {
  describe(`verifier ${name}`, () => {
    resultRules(verifierCase);
    evidenceRules(verifierCase);
    collateralRules(verifierCase);
  });
}

function resultRules({ verifier, make, makeDebug }: VerifierCase): void {
  test('defines each claim once, in words', () => {
    const names = verifier.definitions.map((definition) => definition.name);
    assert.equal(new Set(names).size, names.length, 'a claim is defined twice');
    assert.ok(names.includes('debug'));
    for (const { name, about, source, kind, bytes } of verifier.definitions) {
      assert.match(name, /^[a-z0-9]+([.-][a-z0-9]+)*$/);
      assert.ok(about.length > 0 && source.length > 0, `${name} says nothing of itself`);
      assert.ok(bytes === undefined || kind === 'bytes', `${name} has a length but is no bytes`);
    }
    assert.ok(
      verifier.definitions.some(({ mustBeJudged }) => mustBeJudged),
      'a policy could say nothing at all',
    );
  });

  test('every claim is as it is defined, and none is lacking that may not be', async () => {
    const { evidence, context } = make();
    const verified = await verifier.verify(evidence, context);
    checkClaims(verifier, verified);
    assert.equal(verified.claims.get('debug'), false);
    assert.ok(verified.basis.length > 0 && verified.basis.every(({ name, value }) => name !== '' && value !== ''));
    assert.ok(verified.reportData.length > 0);
  });

  test('says the same twice, and changes nothing of what it was given', async () => {
    const { evidence, context } = make();
    const before = JSON.stringify(hexParts(evidence));
    const first = await verifier.verify(evidence, context);
    assert.deepEqual(await verifier.verify(evidence, context), first);
    assert.equal(JSON.stringify(hexParts(evidence)), before);
  });

  if (makeDebug === undefined) return;
  test('debug evidence is genuine and says so', async () => {
    const { evidence, context } = makeDebug();
    const verified = await verifier.verify(evidence, context);
    checkClaims(verifier, verified);
    assert.equal(verified.claims.get('debug'), true);
  });
}

function evidenceRules(verifierCase: VerifierCase): void {
  const { verifier, make, unauthenticatedParts = [], isTimeless = false } = verifierCase;

  test('evidence without a part, with an empty or with a foreign one is invalid', async () => {
    const { evidence, context } = make();
    await refuses(verifier, { evidence: { ...evidence, parts: {} }, context }, ['evidence-invalid']);
    for (const part of Object.keys(evidence.parts))
      await refuses(verifier, { evidence: withPart(evidence, part, new Uint8Array(0)), context }, ['evidence-invalid']);
    await refuses(verifier, { evidence: withPart(evidence, 'foreign', Uint8Array.of(1)), context }, [
      'evidence-invalid',
    ]);
  });

  test('no single bit of evidence can be changed unseen', async () => {
    const { evidence, context } = make();
    const genuine = await verifier.verify(evidence, context);
    const random = seededBytes(1);
    for (const [part, bytes] of Object.entries(evidence.parts)) {
      if (unauthenticatedParts.includes(part)) continue;
      for (let change = 0; change < changesEach; change++) {
        const changed = flipped(bytes, random.below(bytes.length), random.below(8));
        await refusesOrAgrees(verifier, { evidence: withPart(evidence, part, changed), context }, genuine);
      }
    }
  });

  test('evidence that is cut short is refused', async () => {
    const { evidence, context } = make();
    const genuine = await verifier.verify(evidence, context);
    const random = seededBytes(2);
    for (const [part, bytes] of Object.entries(evidence.parts)) {
      if (unauthenticatedParts.includes(part)) continue;
      for (let cut = 0; cut < changesEach; cut++) {
        const changed = bytes.subarray(0, 1 + random.below(Math.max(bytes.length - 1, 1)));
        if (changed.length === bytes.length) continue;
        await refusesOrAgrees(verifier, { evidence: withPart(evidence, part, changed), context }, genuine);
      }
    }
  });

  if (isTimeless) return;
  test('neither long before nor long after does evidence hold', async () => {
    const { evidence, context } = make();
    for (const now of [Date.UTC(2001, 0, 1), Date.UTC(2099, 0, 1)])
      await refuses(verifier, { evidence, context: { ...context, now } }, [...refusals, ...collateralRefusals]);
  });
}

function collateralRules({ verifier, make }: VerifierCase): void {
  test('collateral that is missing is named as that', async () => {
    for (const name of await namesAsked(verifier, make())) {
      const { evidence, context } = make();
      const collateral = replaced(context.collateral, name, () => {
        throw new CaissonError('invalid', 'collateral-missing', `no ${name}`);
      });
      await refuses(verifier, { evidence, context: { ...context, collateral } }, ['collateral-missing']);
    }
  });

  test('collateral that is garbage, empty or cut short is refused', async () => {
    const garbage = [() => new Uint8Array(0), () => Uint8Array.of(0), (bytes: Uint8Array) => bytes.subarray(0, -1)];
    for (const name of await namesAsked(verifier, make()))
      for (const spoil of garbage) {
        const { evidence, context } = make();
        const collateral = replaced(context.collateral, name, (given) => ({ ...given, bytes: spoil(given.bytes) }));
        // PEM may lose its last line end.
        const genuine = await verifier.verify(evidence, context);
        await refusesOrAgrees(verifier, { evidence, context: { ...context, collateral } }, genuine);
      }
  });

  test('no single bit of collateral can be changed unseen', async () => {
    const random = seededBytes(3);
    const genuine = await verifier.verify(make().evidence, make().context);
    for (const name of await namesAsked(verifier, make()))
      for (let change = 0; change < changesEach; change++) {
        const { evidence, context } = make();
        const isChain = change % 4 === 0;
        const collateral = replaced(context.collateral, name, (given) => changedCollateral(given, isChain, random));
        await refusesOrAgrees(verifier, { evidence, context: { ...context, collateral } }, genuine);
      }
  });

  test('collateral that its source cannot get now is for the caller to try again', async () => {
    for (const name of await namesAsked(verifier, make())) {
      const { evidence, context } = make();
      const collateral = replaced(context.collateral, name, () => {
        throw new CaissonError('transient', 'timeout', 'no answer');
      });
      await assert.rejects(
        async () => await verifier.verify(evidence, { ...context, collateral }),
        (error) => isCaissonError(error, 'timeout') && error.kind === 'transient',
      );
    }
  });
}

function checkClaims({ technology, definitions }: Verifier, { claims, ...verified }: VerifiedEvidence): void {
  assert.equal(verified.technology, technology);
  for (const [name, value] of claims) {
    const definition = definitions.find((candidate) => candidate.name === name);
    assert.ok(definition !== undefined, `the claim ${name} is not defined`);
    assert.ok(isAsDefined(definition, value), `the claim ${name} is not as it is defined`);
  }
  for (const { name, isOptional } of definitions)
    assert.ok(isOptional === true || claims.has(name), `the claim ${name} is lacking`);
}

function isAsDefined({ kind, bytes }: ClaimDefinition, value: ClaimValue): boolean {
  switch (kind) {
    case 'bytes':
      return value instanceof Uint8Array && (bytes === undefined || value.length === bytes);
    case 'number':
      return Number.isSafeInteger(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'text':
      return typeof value === 'string' && value !== '';
    case 'date':
      return typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value) && Date.parse(value) > 0;
    case 'list':
      return Array.isArray(value) && value.every((item) => typeof item === 'string');
  }
}

async function refuses(verifier: Verifier, input: VerifierInput, codes: readonly string[]): Promise<void> {
  await assert.rejects(
    async () => await verifier.verify(input.evidence, input.context),
    (error) => {
      assert.ok(error instanceof CaissonError, `not a named error: ${String(error)}`);
      assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
      return true;
    },
  );
}

/** Some bytes have more than one form (line ends of PEM): what is accepted must say what the genuine ones say. */
async function refusesOrAgrees(verifier: Verifier, input: VerifierInput, genuine: VerifiedEvidence): Promise<void> {
  let verified: VerifiedEvidence;
  try {
    verified = await verifier.verify(input.evidence, input.context);
  } catch (error) {
    assert.ok(error instanceof CaissonError, `not a named error: ${String(error)}`);
    const codes: readonly string[] = [...refusals, ...collateralRefusals];
    assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
    assert.notEqual(error.kind, 'bug');
    return;
  }
  assert.deepEqual(verified.claims, genuine.claims, 'a change was not seen');
  assert.deepEqual(verified.reportData, genuine.reportData, 'a change was not seen');
}

/** What the verifier asks its source for. */
async function namesAsked(verifier: Verifier, { evidence, context }: VerifierInput): Promise<readonly string[]> {
  const names = new Set<string>();
  const collateral: CollateralSource = {
    async get(name) {
      names.add(name);
      return await context.collateral.get(name);
    },
  };
  await verifier.verify(evidence, { ...context, collateral });
  return [...names];
}

function replaced(source: CollateralSource, name: string, change: (given: Collateral) => Collateral): CollateralSource {
  return {
    async get(asked) {
      const given = await source.get(asked);
      return asked === name ? change(given) : given;
    },
  };
}

function changedCollateral(given: Collateral, isChain: boolean, random: ReturnType<typeof seededBytes>): Collateral {
  const { bytes, issuerChain } = given;
  if (isChain && issuerChain !== undefined)
    return { ...given, issuerChain: flipped(issuerChain, random.below(issuerChain.length), random.below(8)) };
  return { ...given, bytes: flipped(bytes, random.below(bytes.length), random.below(8)) };
}

function flipped(bytes: Uint8Array, place: number, bit: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed[place]! ^= 1 << bit;
  return changed;
}

function withPart(evidence: Evidence, name: string, bytes: Uint8Array): Evidence {
  return { ...evidence, parts: { ...evidence.parts, [name]: bytes } };
}

function hexParts(evidence: Evidence): Record<string, string> {
  return Object.fromEntries(
    Object.entries(evidence.parts).map(([name, bytes]) => [name, Buffer.from(bytes).toString('hex')]),
  );
}
