/** A paravisor that does not exist: its report in the TPM, and quotes of that TPM. */
import { createHash, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Algorithm } from '../../src/wire/tpm/algorithms.ts';
import { snpReport } from './fake-amd.ts';
import type { FakeReport } from './fake-amd.ts';

const keys = new Map<string, KeyObject>();

/** RSA, of which there is one for each process, length and name. */
export function vtpmKey(name = 'ak', bits = 2048): KeyObject {
  const id = `${name} ${bits}`;
  const known = keys.get(id);
  if (known !== undefined) return known;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  keys.set(id, privateKey);
  return privateKey;
}

export type RuntimeData = Readonly<Record<string, unknown>>;

export function attestationJwk(key = vtpmKey()): RuntimeData {
  return { kid: 'HCLAkPub', key_ops: ['sign'], ...createPublicKey(key).export({ format: 'jwk' }) };
}

export const fakeUserData = 'AB'.repeat(64);

export function runtimeData(changes: RuntimeData = {}): Uint8Array {
  const data = {
    keys: [attestationJwk(), { ...attestationJwk(vtpmKey('ek')), kid: 'HCLEkPub', key_ops: ['encrypt'] }],
    'vm-configuration': { 'console-enabled': false, 'secure-boot': true, 'tpm-enabled': true, vmUniqueId: 'FAKE-ID' },
    'user-data': fakeUserData,
    ...changes,
  };
  return new TextEncoder().encode(JSON.stringify(data));
}

export interface FakeHcl {
  readonly json?: Uint8Array;
  readonly hash?: 'sha256' | 'sha384' | 'sha512';
  /** The report of the hardware, given what it must sign. */
  readonly hardware?: (reportData: Uint8Array) => Uint8Array;
  readonly reportType?: number;
  /** Bytes put over the finished report. */
  readonly patches?: readonly (readonly [offset: number, bytes: readonly number[]])[];
}

const hashNumbers = { sha256: 1, sha384: 2, sha512: 3 } as const;

export function hclReport(options: FakeHcl = {}, snp: FakeReport = {}): Uint8Array {
  const { json = runtimeData(), hash = 'sha256', reportType = 2, patches = [] } = options;
  const hardware = options.hardware ?? ((reportData) => snpReport({ ...snp, reportData }));
  const reportData = new Uint8Array(64);
  reportData.set(createHash(hash).update(json).digest());
  const size = 32 + 1184 + 20 + json.length;
  const bytes = new Uint8Array(Math.max(2600, size));
  const view = new DataView(bytes.buffer);
  bytes.set(Buffer.from('HCLA'));
  for (const [offset, value] of [[4, 2], [8, size], [12, 2]] as const) view.setUint32(offset, value, true); // prettier-ignore
  bytes.set(hardware(reportData), 32);
  for (const [index, value] of [20 + json.length, 1, reportType, hashNumbers[hash], json.length].entries())
    view.setUint32(32 + 1184 + index * 4, value, true);
  bytes.set(json, size - json.length);
  for (const [offset, patch] of patches) bytes.set(patch, offset);
  return bytes;
}

export interface FakeQuote {
  readonly key?: KeyObject;
  readonly extraData?: Uint8Array;
  /** Values of the registers of SHA-256 from 0 on. */
  readonly pcrs?: readonly Uint8Array[];
}

export const fakeExtraData = Uint8Array.from({ length: 48 }, (_, index) => 0x80 + index);
export const fakePcrs: readonly Uint8Array[] = Array.from({ length: 24 }, (_, index) =>
  new Uint8Array(32).fill(index + 1),
);

export interface QuoteParts {
  readonly quote: Uint8Array;
  readonly signature: Uint8Array;
  readonly pcrs: Uint8Array;
}

/** The parts of a quote over the first registers, with RSASSA and SHA-256 as Azure's TPM signs. */
export function vtpmQuote(options: FakeQuote = {}): QuoteParts {
  const { key = vtpmKey(), extraData = fakeExtraData, pcrs = fakePcrs } = options;
  const values = Buffer.concat(pcrs);
  const bitmap = (1 << pcrs.length) - 1;
  const quote = Buffer.concat([
    Buffer.from('ff5443478018', 'hex'),
    sized(Buffer.alloc(34, 1)),
    sized(extraData),
    Buffer.from('0000000013cb0ee60000000200000003012020031200120003', 'hex'),
    Buffer.from([0, 0, 0, 1, 0, 0x0b, 3, bitmap & 0xff, (bitmap >> 8) & 0xff, (bitmap >> 16) & 0xff]),
    sized(createHash('sha256').update(values).digest()),
  ]);
  return {
    quote: Uint8Array.from(quote),
    signature: tpmSignature(sign('sha256', quote, key)),
    pcrs: Uint8Array.from(values),
  };
}

/** TPMT_SIGNATURE of RSASSA with SHA-256: Azure's tools hand out the bare number. */
export function tpmSignature(bare: Uint8Array): Uint8Array {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(Algorithm.rsaSsa);
  head.writeUInt16BE(Algorithm.sha256, 2);
  return Uint8Array.from(Buffer.concat([head, sized(bare)]));
}

function sized(bytes: Uint8Array): Uint8Array {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
