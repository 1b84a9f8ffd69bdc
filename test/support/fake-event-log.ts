/** Event logs in the crypto-agile format, of machines that do not exist. */
import { createHash } from 'node:crypto';
import { ByteWriter } from '../../src/lib/byte-codec.ts';

export interface FakeLogEvent {
  readonly register: number;
  readonly type: number;
  readonly data: Uint8Array;
  /** Those of `data` where they are left out. */
  readonly digests?: Iterable<readonly [hash: string, digest: Uint8Array]>;
}

const algorithms = { sha1: 0x04, sha256: 0x0b, sha384: 0x0c, sha512: 0x0d } as const;
const listed = ['sha256', 'sha384'] as const;
const listedAlgorithms: readonly Algorithm[] = [
  [algorithms.sha256, 32],
  [algorithms.sha384, 48],
];

/** Identifier and bytes of a digest. */
type Algorithm = readonly [id: number, digestBytes: number];

export function fakeEventLog(events: readonly FakeLogEvent[], header = listedAlgorithms): Uint8Array {
  const first = new ByteWriter().bytes(new TextEncoder().encode('Spec ID Event03\0')).u32(0).u8(0).u8(2).u8(0).u8(2);
  first.u32(header.length);
  for (const [id, digestBytes] of header) first.u16(id).u16(digestBytes);
  first.u8(0);
  const log = new ByteWriter().u32(0).u32(3).zeros(20).block(first.finish());
  for (const event of events) writeEvent(log, event);
  return Uint8Array.from(log.finish());
}

/** UEFI_VARIABLE_DATA of a global variable of these bytes. */
export function fakeVariable(name: string, ...value: readonly number[]): Uint8Array {
  const vendor = Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex');
  const writer = new ByteWriter().bytes(vendor).u64(name.length).u64(value.length).bytes(Buffer.from(name, 'utf16le'));
  return Uint8Array.from(writer.bytes(Uint8Array.from(value)).finish());
}

function writeEvent(log: ByteWriter, { register, type, data, digests }: FakeLogEvent): void {
  const all = [...(digests ?? listed.map((name) => [name, createHash(name).update(data).digest()] as const))];
  log.u32(register).u32(type).u32(all.length);
  for (const [name, digest] of all) log.u16(algorithms[name as keyof typeof algorithms]).bytes(digest);
  log.block(data);
}
