/**
 * CollateralSource: what a vendor publishes beside the evidence (certificates, revocation lists, TCB
 * levels), by one name each. Offline bundles, the cache and the fetchers are this contract; verifiers
 * trust nothing that comes out of it before they have checked signature and dates.
 */
export interface Collateral {
  readonly bytes: Uint8Array;
  /** The chain that signed `bytes`, PEM, where the vendor sends it apart (headers of Intel's PCS). */
  readonly issuerChain?: Uint8Array;
  /** When it was fetched or bundled, milliseconds since 1970. */
  readonly obtainedAt: number;
}

/**
 * What is asked for. The text form (`collateralName`) names it in caches, bundles, logs and errors:
 * `intel/sgx/tcb/00a067110000`, `intel/tdx/tcb/…`, `intel/sgx/qe-identity`, `intel/tdx/qe-identity`,
 * `intel/pck-crl/processor`, `intel/pck-crl/platform`, `intel/root-crl`, `intel/pck/<qe id>/<cpu svn>/<pce svn>/<pce id>/<encrypted ppid>`;
 * `amd/milan/cert-chain`, `amd/milan/vlek-chain`, `amd/milan/crl`, `amd/milan/vcek/<chip id>/<tcb>`; `aws/nitro/…`; `tpm/…`.
 */
export interface CollateralSource {
  /** `collateral-missing` where nobody has it; `transient` where the vendor does not answer. */
  get(name: string): Promise<Collateral>;
}
