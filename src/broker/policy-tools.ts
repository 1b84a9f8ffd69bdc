/**
 * What `caisson policy` does, over files: checks, explains and tries policies (spec/policy.md). It carries
 * out `PolicyTools` of admin/broker-tools.ts in the command's own process and needs no broker.
 */
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type {
  PolicyCheckReport,
  PolicyClaims,
  PolicyExplainRequest,
  PolicyExplanation,
  PolicyTestReport,
  PolicyTools,
} from '../admin/broker-tools.ts';
import { systemClock } from '../lib/clock.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { policyFileBytesMax } from '../lib/limits.ts';
import { envelopeSuites } from '../wire/envelope-suites.ts';
import { technologies } from '../wire/evidence.ts';
import type { Technology } from '../wire/evidence.ts';
import type { CollateralSource } from './attest/collateral.ts';
import type { TrustedRoot, VerifiedEvidence, Verifier } from './attest/verifier.ts';
import { verifiers } from './attest/verifiers.ts';
import { offlineBundle } from './collateral/offline-bundle.ts';
import { readEvidence } from './evidence-file.ts';
import { parseTree, PolicyInvalidError, Problems, referenceBounds } from './policy/document.ts';
import { evaluatePolicy } from './policy/evaluate.ts';
import { parsePolicy } from './policy/policy.ts';
import type { Definitions, Policy } from './policy/policy.ts';
import { collectReferences, noReferences, parseReferenceSet } from './policy/references.ts';
import type { References } from './policy/references.ts';
import type { PolicyRequest } from './policy/release-section.ts';
import { caseFailure, parsePolicyTests } from './policy/test-file.ts';
import type { PolicyCase } from './policy/test-file.ts';
import { claimText } from './policy/values.ts';
import { failures } from './policy/verdict.ts';

const readPieceBytes = 64 * 1024;

export interface PolicyToolsParts {
  readonly verifiers: ReadonlyMap<Technology, Verifier>;
  /** Collateral of a bundle, or of a folder of them. */
  readonly openBundle: (path: string) => Promise<CollateralSource>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Of the policies that come with Caisson. */
  readonly exampleFolder: string;
}

interface EvidenceFiles {
  readonly evidenceFile: string;
  readonly collateralFile: string | undefined;
  readonly rootFiles: readonly string[];
}

type TextKind = PolicyCheckReport['files'][number]['kind'];

export function openPolicyTools(parts: PolicyToolsParts): PolicyTools {
  const runner = new PolicyRunner(parts);
  return {
    check: async (files, referenceFiles) => runner.check(files, referenceFiles),
    explain: async (request) => await runner.explain(request),
    test: async (places) => await runner.test(places),
    claims: async (technology) => runner.claims(technology),
    example: async (technology) => runner.example(technology),
  };
}

/** With the verifiers of this build, the policies that come with it and the system's clock. */
export function localPolicyTools(): PolicyTools {
  // deploy/policies lies beside src/ and beside dist/ alike.
  const folders = ['../../deploy/policies/', '../../../deploy/policies/'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  const exampleFolder = folders.find((folder) => existsSync(folder)) ?? folders[0]!;
  return openPolicyTools({ verifiers, openBundle: offlineBundle, now: () => systemClock.wall(), exampleFolder });
}

class PolicyRunner {
  readonly #parts: PolicyToolsParts;
  readonly #definitions: Definitions;

  constructor(parts: PolicyToolsParts) {
    this.#parts = parts;
    this.#definitions = new Map([...parts.verifiers].map(([name, verifier]) => [name, verifier.definitions]));
  }

  check(files: readonly string[], referenceFiles: readonly string[]): PolicyCheckReport {
    const texts = files
      .map((file) => ({ file, bytes: readFile(file) }))
      .map((text) => ({ ...text, kind: kindOf(text.bytes) }));
    // Reference values among the files count for the policies beside them; broken ones are told at their own place.
    const sets = texts.flatMap(({ file, bytes, kind }) => {
      const isGiven = kind === 'reference-values' && !referenceFiles.includes(file);
      return isGiven && problemsOf(() => parseReferenceSet(bytes, file)).length === 0 ? [file] : [];
    });
    const references = this.#references([...referenceFiles, ...sets]);
    return {
      files: texts.map(({ file, bytes, kind }) => ({
        file,
        kind,
        problems: problemsOf(() => {
          if (kind === 'policy') parsePolicy(bytes, file, this.#definitions, references);
          else if (kind === 'reference-values') parseReferenceSet(bytes, file);
          else parsePolicyTests(bytes, file, this.#definitions);
        }),
      })),
    };
  }

  async explain(request: PolicyExplainRequest): Promise<PolicyExplanation> {
    const policy = this.#policy(request.policyFile, request.referenceFiles);
    const asked: PolicyRequest = {
      now: request.now ?? this.#parts.now(),
      keyName: request.keyName,
      volumeId: volumeIdOf(request.volumeId),
      suite: envelopeSuites.find((suite) => suite === request.suite),
      asks: request.asks,
    };
    const verified = await this.#verify(request, policy, asked.now);
    const verdict = evaluatePolicy(policy, verified, asked);
    return {
      ...verdict,
      failures: failures(verdict),
      evidence: {
        technology: verified.technology,
        reportData: toHex(verified.reportData),
        claims: [...verified.claims].map(([name, value]) => ({ name, value: claimText(value) })),
        basis: verified.basis,
      },
    };
  }

  async test(places: readonly string[]): Promise<PolicyTestReport> {
    const cases: PolicyTestReport['cases'][number][] = [];
    for (const file of places.flatMap(testFilesIn)) {
      const tests = parsePolicyTests(readFile(file), file, this.#definitions);
      const folder = dirname(file);
      const at = (path: string): string => resolve(folder, path);
      const policy = this.#policy(at(tests.policy), tests.references.map(at));
      for (const one of tests.cases) {
        const failure = await this.#caseFailure(one, policy, at);
        cases.push({ file, line: one.line, name: one.name, failure });
      }
    }
    const failed = cases.filter(({ failure }) => failure !== undefined).length;
    return { passed: cases.length - failed, failed, cases };
  }

  claims(technology: string | undefined): readonly PolicyClaims[] {
    const wanted = technology === undefined ? [...this.#definitions.keys()] : [this.#technology(technology)];
    return wanted.map((name) => ({
      technology: name,
      claims: (this.#definitions.get(name) ?? []).map((definition) => ({
        name: definition.name,
        kind: definition.kind,
        bytes: definition.bytes,
        mustBeJudged: definition.mustBeJudged,
        isOptional: definition.isOptional === true,
        about: definition.about,
        source: definition.source,
      })),
    }));
  }

  example(technology: string): string {
    return new TextDecoder().decode(readFile(join(this.#parts.exampleFolder, `${this.#technology(technology)}.yaml`)));
  }

  async #caseFailure(one: PolicyCase, policy: Policy, at: (path: string) => string): Promise<string | undefined> {
    const { subject, request } = one;
    if ('verified' in subject) return caseFailure(one, evaluatePolicy(policy, subject.verified, request));
    const files: EvidenceFiles = {
      evidenceFile: at(subject.evidence),
      collateralFile: subject.collateral === undefined ? undefined : at(subject.collateral),
      rootFiles: subject.roots.map(at),
    };
    try {
      return caseFailure(one, evaluatePolicy(policy, await this.#verify(files, policy, request.now), request));
    } catch (error) {
      if (!isCaissonError(error)) throw error;
      return `the evidence was not verified: ${error.code}: ${error.message}`;
    }
  }

  async #verify(files: EvidenceFiles, policy: Policy, now: number): Promise<VerifiedEvidence> {
    const evidence = readEvidence(readFile(files.evidenceFile), files.evidenceFile);
    const verifier = this.#parts.verifiers.get(this.#technology(evidence.technology));
    return await verifier!.verify(evidence, {
      now,
      collateral:
        files.collateralFile === undefined ? noCollateral : await this.#parts.openBundle(files.collateralFile),
      collateralAgeMax: policy.release.collateralAgeMillisecondsMax,
      extraRoots: files.rootFiles.flatMap((file) => rootsIn(file, evidence.technology)),
    });
  }

  #policy(file: string, referenceFiles: readonly string[]): Policy {
    return parsePolicy(readFile(file), file, this.#definitions, this.#references(referenceFiles));
  }

  #references(files: readonly string[]): References {
    return files.length === 0
      ? noReferences
      : collectReferences(files.map((file) => parseReferenceSet(readFile(file), file)));
  }

  #technology(text: string): Technology {
    const technology = technologies.find((one) => one === text);
    if (technology !== undefined && this.#definitions.has(technology)) return technology;
    throw new CaissonError('invalid', 'argument-invalid', `"${text}" is no technology that this program verifies`, {
      remedy: `Give one of ${[...this.#definitions.keys()].join(', ')}.`,
    });
  }
}

const noCollateral: CollateralSource = {
  get: async (name) => {
    throw new CaissonError('invalid', 'collateral-missing', `the evidence cannot be verified without ${name}`, {
      remedy: 'Give a bundle of collateral: --collateral FILE.',
      details: { collateral: name },
    });
  },
};

/** What a text is, by its first member; whatever is unclear is judged as a policy. */
function kindOf(bytes: Uint8Array): TextKind {
  const tree = parseTree(bytes, referenceBounds, new Problems(''));
  if (tree?.kind !== 'map') return 'policy';
  if (tree.members.has('caisson-reference-values')) return 'reference-values';
  return tree.members.has('caisson-policy-test') ? 'policy-test' : 'policy';
}

function problemsOf(action: () => unknown): PolicyCheckReport['files'][number]['problems'] {
  try {
    action();
    return [];
  } catch (error) {
    if (!(error instanceof PolicyInvalidError)) throw error;
    return error.problems.map(({ line, column, message }) => ({ line, column, message }));
  }
}

function volumeIdOf(text: string | undefined): Uint8Array | undefined {
  if (text === undefined) return undefined;
  const id = fromHex(text, 16);
  if (id !== undefined) return id;
  throw new CaissonError('invalid', 'argument-invalid', `"${text}" is no volume id of 32 hexadecimal digits`);
}

function testFilesIn(place: string): string[] {
  if (!isFolder(place)) return [place];
  const names = readdirSync(place).filter((name) => /\.test\.(yaml|yml|json)$/.test(name));
  if (names.length > 0) return names.toSorted().map((name) => join(place, name));
  throw new CaissonError('invalid', 'argument-invalid', `${place} holds no *.test.yaml, *.test.yml or *.test.json`);
}

function isFolder(place: string): boolean {
  try {
    return statSync(place).isDirectory();
  } catch (cause) {
    throw unreadable(place, cause);
  }
}

/** Certificates of a PEM file, or the DER that the file is. */
function rootsIn(file: string, technology: Technology): TrustedRoot[] {
  const bytes = readFile(file);
  const text = new TextDecoder('latin1').decode(bytes);
  const found = [...text.matchAll(/-----BEGIN (?:CERTIFICATE|PUBLIC KEY)-----([A-Za-z0-9+/=\s]+)-----END/g)];
  if (found.length === 0) return [{ technology, name: file, der: bytes }];
  return found.map(([, body = ''], index) => {
    const der = new Uint8Array(Buffer.from(body, 'base64'));
    return { technology, name: found.length === 1 ? file : `${file} (${index + 1})`, der };
  });
}

/** Also of a pipe, whose size nobody knows beforehand. */
function readFile(file: string): Uint8Array {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, 'r');
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const piece = new Uint8Array(readPieceBytes);
      const count = readSync(descriptor, piece);
      if (count === 0) return new Uint8Array(Buffer.concat(pieces, length));
      pieces.push(piece.subarray(0, count));
      length += count;
      if (length > policyFileBytesMax)
        throw new CaissonError('invalid', 'limit-exceeded', `${file} has more than ${policyFileBytesMax} bytes`);
    }
  } catch (error) {
    throw isCaissonError(error) ? error : unreadable(file, error);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function unreadable(file: string, cause: unknown): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `${file} cannot be read: ${messageOf(cause)}`, { cause });
}
