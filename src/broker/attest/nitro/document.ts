/** The attestation document of a Nitro security module (spec/attestation-nitro.md, "Document"): bytes to fields, trusts nothing. */
import { CborMap, decodeCbor } from '../cose/cbor.ts';
import { parseSign1, type Sign1 } from '../cose/sign1.ts';

export type Registers = ReadonlyMap<number, Uint8Array>;

export interface NitroDocument {
  readonly sign1: Sign1;
  readonly moduleId: string;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly registers: Registers;
  /** Whose registers they are. */
  readonly kind: 'enclave' | 'nitro-tpm';
  readonly certificate: Uint8Array;
  /** Root first. */
  readonly authorities: readonly Uint8Array[];
  readonly publicKey: Uint8Array | undefined;
  readonly userData: Uint8Array | undefined;
  readonly nonce: Uint8Array | undefined;
}

const check = 'document-form';
const moduleIdCharactersMax = 256;
const certificateBytesMax = 1024;
const authoritiesMax = 8;
const publicKeyBytesMax = 1024;
const userDataBytesMax = 512;
const nonceBytesMax = 512;
const registersMax = 32;
const registerBytes = 48;
/** The year 9999: what a date can say. */
const timestampMax = 253_402_300_799_999;

export function parseNitroDocument(bytes: Uint8Array): NitroDocument {
  const sign1 = parseSign1(bytes, 'the document', 'optional');
  const fields = new CborMap(decodeCbor(sign1.payload, 'the document'), 'the document', check);
  if (fields.text('digest', 16) !== 'SHA384') throw fields.invalid('its digests are not of SHA-384');
  const isTpm = fields.has('nitrotpm_pcrs');
  if (isTpm === fields.has('pcrs')) throw fields.invalid('it has not one kind of registers');
  return {
    sign1,
    moduleId: fields.text('module_id', moduleIdCharactersMax),
    timestamp: fields.number('timestamp', timestampMax),
    registers: readRegisters(fields.map(isTpm ? 'nitrotpm_pcrs' : 'pcrs')),
    kind: isTpm ? 'nitro-tpm' : 'enclave',
    certificate: fields.bytes('certificate', 1, certificateBytesMax),
    authorities: fields.bytesList('cabundle', 1, authoritiesMax, certificateBytesMax),
    publicKey: fields.optionalBytes('public_key', publicKeyBytesMax),
    userData: fields.optionalBytes('user_data', userDataBytesMax),
    nonce: fields.optionalBytes('nonce', nonceBytesMax),
  };
}

function readRegisters(fields: CborMap): Registers {
  const registers = new Map<number, Uint8Array>();
  for (const index of fields.keys()) {
    if (typeof index !== 'number' || index < 0 || index >= registersMax)
      throw fields.invalid(`there is no register ${String(index)}`);
    registers.set(index, fields.bytes(index, registerBytes, registerBytes));
  }
  if (registers.size === 0) throw fields.invalid('there are no registers');
  return registers;
}
