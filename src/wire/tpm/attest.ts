/**
 * TPMS_ATTEST (Part 2, 10.12.12): what a TPM signs about itself: registers (quote), a key (certify), or
 * the content of an NV index (NV certify).
 *
 * The first four bytes are TPM_GENERATED_VALUE: a restricted key signs nothing from outside that begins
 * with them, so that a signature by such a key proves that the TPM made the structure.
 */
import { TpmReader, TpmWriter, type RefuseBytes } from './codec.ts';
import { digestBytesMax, nameBytesMax } from './algorithms.ts';
import { readPcrSelection, writePcrSelection, type PcrBankSelection } from './pcr-selection.ts';

const generatedMagic = 0xff54_4347;
/** TPM2B_DATA holds at most a TPMT_HA. */
const extraDataBytesMax = nameBytesMax;
const nvContentsBytesMax = 2048;

export const AttestType = { nvCertify: 0x8014, certify: 0x8017, quote: 0x8018 } as const;

export interface QuoteInfo {
  readonly type: 'quote';
  readonly selection: readonly PcrBankSelection[];
  readonly pcrDigest: Uint8Array;
}

export interface CertifyInfo {
  readonly type: 'certify';
  readonly name: Uint8Array;
  readonly qualifiedName: Uint8Array;
}

export interface NvCertifyInfo {
  readonly type: 'nv-certify';
  /** TPM2B_NAME of the index: it binds handle, attributes, policy and size. */
  readonly indexName: Uint8Array;
  readonly offset: number;
  readonly contents: Uint8Array;
}

export interface TpmAttest {
  /** TPM2B_NAME: the qualified name of the key that signs. Empty where the TPM is asked to hide it. */
  readonly qualifiedSigner: Uint8Array;
  /** What the caller had the TPM sign along. */
  readonly extraData: Uint8Array;
  /** Milliseconds that the TPM was on. */
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** The clock never stood at a higher value before. */
  readonly isClockSafe: boolean;
  readonly firmwareVersion: bigint;
  readonly attested: QuoteInfo | CertifyInfo | NvCertifyInfo;
}

/** `evidence-invalid`, or what `refuse` makes, for anything that is not exactly one such structure. */
export function parseAttest(bytes: Uint8Array, refuse?: RefuseBytes): TpmAttest {
  const reader = new TpmReader(bytes, 'TPMS_ATTEST', refuse);
  if (reader.u32() !== generatedMagic) throw reader.invalid('the magic is wrong');
  const type = reader.u16();
  const attest: TpmAttest = {
    qualifiedSigner: reader.sized(nameBytesMax),
    extraData: reader.sized(extraDataBytesMax),
    clock: reader.u64(),
    resetCount: reader.u32(),
    restartCount: reader.u32(),
    isClockSafe: reader.flag(),
    firmwareVersion: reader.u64(),
    attested: readAttested(reader, type),
  };
  reader.end();
  return attest;
}

export function encodeAttest(attest: TpmAttest): Uint8Array {
  const writer = new TpmWriter()
    .u32(generatedMagic)
    .u16(typeNumber(attest.attested))
    .sized(attest.qualifiedSigner)
    .sized(attest.extraData)
    .u64(attest.clock)
    .u32(attest.resetCount)
    .u32(attest.restartCount)
    .flag(attest.isClockSafe)
    .u64(attest.firmwareVersion);
  const { attested } = attest;
  switch (attested.type) {
    case 'quote':
      return writePcrSelection(writer, attested.selection).sized(attested.pcrDigest).finish();
    case 'certify':
      return writer.sized(attested.name).sized(attested.qualifiedName).finish();
    case 'nv-certify':
      return writer.sized(attested.indexName).u16(attested.offset).sized(attested.contents).finish();
  }
}

function readAttested(reader: TpmReader, type: number): TpmAttest['attested'] {
  switch (type) {
    case AttestType.quote:
      return { type: 'quote', selection: readPcrSelection(reader), pcrDigest: reader.sized(digestBytesMax) };
    case AttestType.certify:
      return { type: 'certify', name: reader.sized(nameBytesMax), qualifiedName: reader.sized(nameBytesMax) };
    case AttestType.nvCertify:
      return {
        type: 'nv-certify',
        indexName: reader.sized(nameBytesMax),
        offset: reader.u16(),
        contents: reader.sized(nvContentsBytesMax),
      };
    default:
      throw reader.invalid(`an attestation of type ${type} is none that Caisson reads`);
  }
}

function typeNumber(attested: TpmAttest['attested']): number {
  switch (attested.type) {
    case 'quote':
      return AttestType.quote;
    case 'certify':
      return AttestType.certify;
    case 'nv-certify':
      return AttestType.nvCertify;
  }
}
