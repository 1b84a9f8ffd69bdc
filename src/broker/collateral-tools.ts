/**
 * `caisson broker collateral-fetch`: asks the vendors' services for what evidence will need, and writes the bundle for a broker without
 * a network (spec/collateral.md, "Bundle").
 *
 * Invariants: everything is asked for anew, nothing comes from a cache; the file is replaced whole or stays as it was; a file that is
 * no bundle is never replaced.
 */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CollateralFetchReport, CollateralFetchRequest, CollateralTools } from '../admin/broker-tools.ts';
import { patientClock } from '../lib/clock.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { collateralBundleBytesMax, collateralBundleEntriesMax, policyFileBytesMax } from '../lib/limits.ts';
import type { CollateralSource } from './attest/collateral.ts';
import { products } from './attest/snp/products.ts';
import type { TrustedRoot } from './attest/verifier.ts';
import { verifiers } from './attest/verifiers.ts';
import { isImmutableAmdCollateral } from './collateral/amd-kds.ts';
import { decodeBundle, encodeBundle } from './collateral/bundle-format.ts';
import type { NamedCollateral } from './collateral/bundle-format.ts';
import { loadBrokerConfiguration } from './configuration.ts';
import { readEvidence } from './evidence-file.ts';
import { openVendorServices, readExtraRoots } from './outside.ts';
import { writePrivateFile } from './server/state-files.ts';

/** One for each kind of document that every quote needs. */
const intelNames = [
  'intel/sgx/qe-identity',
  'intel/tdx/qe-identity',
  'intel/pck-crl/processor',
  'intel/pck-crl/platform',
  'intel/root-crl',
] as const;
const amdKinds = ['cert-chain', 'vlek-chain', 'crl', 'vlek-crl'] as const;

export const collateralTools: CollateralTools = {
  async fetch(request) {
    const configuration = loadBrokerConfiguration(request.configurationFile);
    const source = await openVendorServices(configuration);
    return await fetchBundle(request, source, readExtraRoots(configuration), () => patientClock.wall());
  },
};

export async function fetchBundle(
  request: CollateralFetchRequest,
  source: CollateralSource,
  extraRoots: readonly TrustedRoot[],
  now: () => number,
): Promise<CollateralFetchReport> {
  const file = resolve(request.file);
  const known = readBundle(file);
  const names = namesOf(request, known);
  const found = new Map<string, NamedCollateral>();
  const missing: string[] = [];
  for (const name of names) {
    const kept = known.find((entry) => entry.name === name && isImmutableAmdCollateral(name));
    try {
      found.set(name, kept ?? { name, ...(await source.get(name)) });
    } catch (error) {
      if (!isCaissonError(error, 'collateral-missing') || error.kind === 'transient') throw error;
      missing.push(name);
    }
  }
  for (const evidence of request.evidenceFiles) {
    const recording = recorder(source, found);
    await verifyOne(resolve(evidence), recording, extraRoots, now());
  }
  if (found.size === 0) throw nothing(missing);
  if (found.size > collateralBundleEntriesMax) throw tooMany(found.size);
  const entries = [...found.values()].toSorted((one, other) => (one.name < other.name ? -1 : 1));
  writePrivateFile(file, new TextDecoder().decode(encodeBundle(entries)), 0o644);
  return { file, names: entries.map(({ name }) => name), missing };
}

function namesOf(
  { fmspcs, products: chosen }: CollateralFetchRequest,
  known: readonly NamedCollateral[],
): ReadonlySet<string> {
  const intel = fmspcs.flatMap((given) => {
    const fmspc = given.toLowerCase();
    if (!/^[0-9a-f]{12}$/.test(fmspc)) throw badArgument(`"${given}" is no FMSPC: 12 hexadecimal digits`);
    return [...intelNames, `intel/sgx/tcb/${fmspc}`, `intel/tdx/tcb/${fmspc}`];
  });
  const amd = chosen.flatMap((product) => {
    if (products.some((one) => one === product)) return amdKinds.map((kind) => `amd/${product}/${kind}`);
    throw badArgument(`"${product}" is no product: ${products.join(', ')}`);
  });
  return new Set([...known.map(({ name }) => name), ...intel, ...amd]);
}

/** Keeps what the verifier of some evidence asks for. */
function recorder(source: CollateralSource, found: Map<string, NamedCollateral>): CollateralSource {
  return {
    async get(name) {
      const entry = found.get(name) ?? { name, ...(await source.get(name)) };
      found.set(name, entry);
      return entry;
    },
  };
}

/** Whatever is wrong with evidence or collateral is told now, not by the broker that gets the bundle. */
async function verifyOne(
  file: string,
  collateral: CollateralSource,
  extraRoots: readonly TrustedRoot[],
  now: number,
): Promise<void> {
  const evidence = readEvidence(readBounded(file, policyFileBytesMax), file);
  const verifier = verifiers.get(evidence.technology);
  if (verifier === undefined) throw badArgument(`nothing here verifies ${evidence.technology}`);
  await verifier.verify(evidence, { now, collateral, collateralAgeMax: Number.MAX_SAFE_INTEGER, extraRoots });
}

/** Empty where there is no such file yet. */
function readBundle(file: string): readonly NamedCollateral[] {
  if (statSync(file, { throwIfNoEntry: false }) === undefined) return [];
  try {
    return decodeBundle(readBounded(file, collateralBundleBytesMax));
  } catch (cause) {
    throw new CaissonError('invalid', 'argument-invalid', `${file} is there and no bundle: ${messageOf(cause)}`, {
      remedy: 'Give a new file, or a bundle, which is renewed.',
      cause,
    });
  }
}

function readBounded(file: string, bytesMax: number): Uint8Array {
  try {
    if (statSync(file).size > bytesMax) throw new Error(`it is larger than ${bytesMax} bytes`);
    return Uint8Array.from(readFileSync(file));
  } catch (cause) {
    throw new CaissonError('invalid', 'argument-invalid', `${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

function badArgument(message: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', message);
}

function nothing(missing: readonly string[]): CaissonError {
  if (missing.length > 0) {
    const message = `the vendors have none of ${missing.join(', ')}`;
    return new CaissonError('invalid', 'collateral-missing', message, { details: { count: missing.length } });
  }
  return new CaissonError('invalid', 'argument-invalid', 'there is nothing to fetch', {
    remedy: 'Say what for: --fmspc, --product, or --evidence with a file of a workload.',
  });
}

function tooMany(count: number): CaissonError {
  return badArgument(`${count} documents are more than the ${collateralBundleEntriesMax} of one bundle`);
}
