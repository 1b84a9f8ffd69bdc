/**
 * Bundles of collateral: the file that a broker without network is given, and each file of the cache.
 * Spec: spec/collateral.md. Vectors: test/vectors/collateral/
 *
 * A codec: bytes to entries and back. What the entries say is for verifiers to check.
 */
import { CaissonError } from '../../lib/errors.ts';
import {
  collateralBundleBytesMax,
  collateralBundleEntriesMax,
  collateralBytesMax,
  collateralIssuerChainBytesMax,
  collateralNameCharactersMax,
} from '../../lib/limits.ts';
import { parseExactJson, type JsonNode } from '../../wire/exact-json.ts';
import type { Collateral } from '../attest/collateral.ts';

export interface NamedCollateral extends Collateral {
  readonly name: string;
}

const bundleVersion = 1;

export function decodeBundle(bytes: Uint8Array): readonly NamedCollateral[] {
  const root = parseExactJson(bytes, collateralBundleBytesMax);
  const version = root.member('version').count(0xffff);
  if (version !== bundleVersion)
    throw new CaissonError('invalid', 'format-version', `a bundle of collateral has the version ${version}`);
  checkMembers(root, ['version', 'collateral']);
  const items = root.member('collateral').list();
  if (items.length > collateralBundleEntriesMax) throw invalid('there are too many entries');
  const names = new Set<string>();
  return items.map((item) => {
    const entry = readEntry(item);
    if (names.has(entry.name)) throw invalid('a name is there twice');
    names.add(entry.name);
    return entry;
  });
}

export function encodeBundle(entries: readonly NamedCollateral[]): Uint8Array {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const collateral = entries.map(({ name, obtainedAt, bytes, issuerChain }) => ({
    ...{ name, obtainedAt: dateText(obtainedAt), bytes: base64(bytes) },
    ...(issuerChain === undefined ? {} : { issuerChain: base64(issuerChain) }),
  }));
  return new TextEncoder().encode(`${JSON.stringify({ version: bundleVersion, collateral }, undefined, 2)}\n`);
}

export function isCollateralName(name: string): boolean {
  return name.length <= collateralNameCharactersMax && /^[a-z0-9][a-z0-9.-]*(?:\/[a-z0-9][a-z0-9.-]*)*$/.test(name);
}

function readEntry(item: JsonNode): NamedCollateral {
  checkMembers(item, ['name', 'obtainedAt', 'bytes', 'issuerChain']);
  const name = item.member('name').text();
  if (!isCollateralName(name)) throw invalid('a name is not one of collateral');
  const date = item.member('obtainedAt').text();
  const obtainedAt = Date.parse(date);
  if (Number.isNaN(obtainedAt) || dateText(obtainedAt) !== date)
    throw invalid('a date is not in the one form of dates');
  const bytes = readBase64(item.member('bytes'), collateralBytesMax);
  const chain = item.optional('issuerChain');
  if (chain === undefined) return { name, obtainedAt, bytes };
  return { name, obtainedAt, bytes, issuerChain: readBase64(chain, collateralIssuerChainBytesMax) };
}

function readBase64(node: JsonNode, bytesMax: number): Uint8Array {
  const text = node.text();
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw invalid('a value is not base64 in its one form');
  if (bytes.length > bytesMax) throw invalid(`a value is larger than ${bytesMax} bytes`);
  return Uint8Array.from(bytes);
}

function checkMembers(node: JsonNode, known: readonly string[]): void {
  for (const name of node.members().keys()) if (!known.includes(name)) throw invalid('there is an unknown member');
}

function dateText(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, 'Z');
}

function invalid(message: string): CaissonError {
  return new CaissonError('invalid', 'format-invalid', `not a bundle of collateral: ${message}`);
}
