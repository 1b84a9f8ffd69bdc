/**
 * Verifier: who made this evidence, and what does it say? (spec/attestation.md)
 *
 * Three steps in three files of each technology's folder: `parse` (bytes to fields, trusts nothing),
 * `verify` (signatures, chains, revocation, dates, hashes: proves who signed), `claims` (the authentic
 * fields under the names that policies use). What a claim is worth is for the policy to say (broker/policy).
 *
 * Rules that `test/conformance/verifier.ts` checks:
 * - Bytes that nothing genuine produces are `evidence-invalid`; a signature, chain or hash that does not
 *   hold is `evidence-untrusted`; collateral that is missing, out of its dates, too old, unsigned or of something else is
 *   `collateral-missing`, `collateral-stale` or `collateral-untrusted`. `details.check` names the check.
 * - Every claim of `claims` is defined in the verifier's `definitions`, with the kind and length it says.
 * - Debug evidence verifies (it is genuine) with the claim `debug` true; policies refuse it unless waived.
 * - No clock, no network, no file: time and collateral come in with the context. One call at most 10 ms.
 */
import type { Evidence, Technology } from '../../wire/evidence.ts';
import type { CollateralSource } from './collateral.ts';

export type ClaimValue = Uint8Array | number | boolean | string | readonly string[];

export interface ClaimDefinition {
  /** Such as `tdx.mr-td`, `tpm.pcr.sha256.7`, `tcb.status`, `debug`: lower case, the technology's own field name. */
  readonly name: string;
  /** `date`: a text such as 2026-11-23T00:00:00Z. `list`: texts in order, such as advisories. */
  readonly kind: 'bytes' | 'number' | 'boolean' | 'text' | 'date' | 'list';
  /** Of kind `bytes`, where it is fixed. */
  readonly bytes?: number;
  /** Where evidence of this technology may lack it. A rule about a claim that is lacking fails. */
  readonly isOptional?: boolean;
  /** A policy must have a rule about it or waive it by name. */
  readonly mustBeJudged: boolean;
  /** One sentence for people. */
  readonly about: string;
  /** The clause of the vendor's specification. */
  readonly source: string;
}

export interface VerifyContext {
  /** Milliseconds since 1970; what dates are compared with. */
  readonly now: number;
  readonly collateral: CollateralSource;
  /** Collateral issued longer ago than this is `collateral-stale`, whatever its own dates say. */
  readonly collateralAgeMax: number;
  /** Roots beside the pinned ones: vendors of tests, TPM manufacturers, CCA platform keys. DER certificates or SPKI. */
  readonly extraRoots: readonly TrustedRoot[];
  /** Of `tpm`: the secret of the credential that the broker made for this challenge, if it made one. */
  readonly activation?: { readonly secret: Uint8Array; readonly akName: Uint8Array; readonly ekPublic: Uint8Array };
}

export interface TrustedRoot {
  readonly technology: Technology;
  /** A name for people, in the log beside every release that rests on it. */
  readonly name: string;
  readonly der: Uint8Array;
}

export interface VerifiedEvidence {
  readonly technology: Technology;
  /** What the workload had the hardware sign: 64 bytes, of `tpm` and `nitro` what they carry (32 bytes and more). */
  readonly reportData: Uint8Array;
  readonly claims: ReadonlyMap<string, ClaimValue>;
  /** What the verdict rests on, for the log: the root, the collateral with its dates. */
  readonly basis: readonly { readonly name: string; readonly value: string }[];
}

export interface Verifier {
  readonly technology: Technology;
  readonly definitions: readonly ClaimDefinition[];
  verify(evidence: Evidence, context: VerifyContext): Promise<VerifiedEvidence>;
}

/** Claims that every technology defines. */
export const commonClaims = {
  debug: {
    name: 'debug',
    kind: 'boolean',
    mustBeJudged: false,
    about: 'Whoever runs the machine may read the memory. Refused unless a policy waives it by name.',
    source: 'spec/attestation.md, "Debug"',
  },
} as const satisfies Record<string, ClaimDefinition>;
