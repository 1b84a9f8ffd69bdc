/**
 * Algorithm identifiers of TPM 2.0 (TCG Algorithm Registry, TPM_ALG_ID and TPM_ECC_CURVE), as far as
 * evidence and our own keys use them. What is not listed here is refused by whoever reads it.
 */
export const Algorithm = {
  rsa: 0x0001,
  sha1: 0x0004,
  hmac: 0x0005,
  aes: 0x0006,
  keyedHash: 0x0008,
  xor: 0x000a,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  null: 0x0010,
  sm3: 0x0012,
  rsaSsa: 0x0014,
  rsaEs: 0x0015,
  rsaPss: 0x0016,
  oaep: 0x0017,
  ecdsa: 0x0018,
  ecdh: 0x0019,
  ecDaa: 0x001a,
  ecSchnorr: 0x001c,
  ecc: 0x0023,
  sha3_256: 0x0027,
  sha3_384: 0x0028,
  sha3_512: 0x0029,
  cfb: 0x0043,
} as const;

export interface TpmHash {
  readonly id: number;
  /** As node:crypto and the claims name it. */
  readonly name: string;
  readonly digestBytes: number;
  /** Whether a signature or a name over it is worth anything. */
  readonly isStrong: boolean;
}

export const tpmHashes: readonly TpmHash[] = [
  { id: Algorithm.sha1, name: 'sha1', digestBytes: 20, isStrong: false },
  { id: Algorithm.sha256, name: 'sha256', digestBytes: 32, isStrong: true },
  { id: Algorithm.sha384, name: 'sha384', digestBytes: 48, isStrong: true },
  { id: Algorithm.sha512, name: 'sha512', digestBytes: 64, isStrong: true },
  { id: Algorithm.sm3, name: 'sm3', digestBytes: 32, isStrong: false },
  { id: Algorithm.sha3_256, name: 'sha3-256', digestBytes: 32, isStrong: true },
  { id: Algorithm.sha3_384, name: 'sha3-384', digestBytes: 48, isStrong: true },
  { id: Algorithm.sha3_512, name: 'sha3-512', digestBytes: 64, isStrong: true },
];

export const digestBytesMax = 64;
/** TPM2B_NAME: the hash's identifier and a digest. */
export const nameBytesMax = 2 + digestBytesMax;

/** By identifier; undefined where it is not known. */
export function tpmHash(id: number): TpmHash | undefined {
  return tpmHashes.find((hash) => hash.id === id);
}

export interface TpmCurve {
  readonly id: number;
  /** As JSON Web Keys name it. */
  readonly name: 'P-256' | 'P-384' | 'P-521';
  readonly coordinateBytes: number;
}

export const tpmCurves: readonly TpmCurve[] = [
  { id: 0x0003, name: 'P-256', coordinateBytes: 32 },
  { id: 0x0004, name: 'P-384', coordinateBytes: 48 },
  { id: 0x0005, name: 'P-521', coordinateBytes: 66 },
];

export function tpmCurve(id: number): TpmCurve | undefined {
  return tpmCurves.find((curve) => curve.id === id);
}
