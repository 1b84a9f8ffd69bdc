/** SNP evidence that is right but for what a test changes, and what must be said of it. */
import assert from 'node:assert/strict';
import { snpVerifier } from '../../src/broker/attest/snp/snp.ts';
import type { Product } from '../../src/broker/attest/snp/products.ts';
import type { VerifiedEvidence, VerifyContext } from '../../src/broker/attest/verifier.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import type { ErrorCode } from '../../src/lib/errors.ts';
import {
  amdCollateral,
  amdContext,
  certificateTable,
  endorsementCertificate,
  endorsementExtensions,
  snpEvidence,
  snpReport,
} from './fake-amd.ts';
import type { FakeReport } from './fake-amd.ts';

export type Kind = 'vcek' | 'vlek';

/** The verdict on a report and the certificate beside it. */
export async function verified(
  options: FakeReport,
  vek?: Uint8Array,
  context: VerifyContext = amdContext(options.product ?? 'milan'),
): Promise<VerifiedEvidence> {
  const { kind = 'vcek', product = 'milan' } = options;
  const certificates = certificateTable({ [kind]: vek ?? endorsementCertificate(kind, product) });
  return await snpVerifier.verify(snpEvidence(snpReport(options), certificates), context);
}

export async function refused(work: Promise<unknown>, code: ErrorCode, check: string): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isCaissonError(error, code), `${code} expected: ${String(error)}`);
    assert.equal(error.details['check'], check, error.message);
    return true;
  });
}

/** A VEK whose extensions are changed; undefined leaves one out. */
export function vekWith(
  kind: Kind,
  changes: Readonly<Record<string, Uint8Array | undefined>>,
  product: Product = 'milan',
): Uint8Array {
  const extensions = endorsementExtensions(kind, product);
  for (const [arc, value] of Object.entries(changes))
    if (value === undefined) extensions.delete(arc);
    else extensions.set(arc, value);
  return endorsementCertificate(kind, product, extensions);
}

export function contextWith(name: string, bytes: Uint8Array, changes: Partial<VerifyContext> = {}): VerifyContext {
  return amdContext('milan', { collateral: amdCollateral('milan').put(name, bytes), ...changes });
}
