/**
 * The certificate of a provisioning key (PCK): what Intel says of the platform in its extension 1.2.840.113741.1.13.1
 * (spec/attestation-intel.md, "PCK certificate"). The chain is checked elsewhere; here fields are read.
 */
import { CaissonError } from '../../../lib/errors.ts';
import { toHex } from '../../../lib/hex.ts';
import { parseDer, type DerValue } from '../../../wire/der.ts';
import { distinguishedName, malformed, untrusted, type Certificate } from '../x509/certificates.ts';

export interface PckPlatform {
  /** Names the platform; the same for all its PCK certificates. */
  readonly ppid: Uint8Array;
  /** The 16 component SVNs that TCB levels are compared with. */
  readonly componentSvns: readonly number[];
  readonly pceSvn: number;
  /** Lower-case hexadecimal, as in names of collateral. */
  readonly fmspc: string;
  readonly pceId: string;
  /** Of platforms with several sockets. */
  readonly platformInstanceId: Uint8Array | undefined;
  readonly isDynamic: boolean | undefined;
  readonly hasCachedKeys: boolean | undefined;
  readonly isSmtEnabled: boolean | undefined;
}

/** Which authority issued it, and so which revocation list speaks of it. */
export type PckAuthority = 'processor' | 'platform';

const sgxExtensions = '1.2.840.113741.1.13.1';
const of = (...arcs: number[]): string => [sgxExtensions, ...arcs].join('.');

export function pckPlatform(certificate: Certificate): PckPlatform {
  const { origin } = certificate;
  if (distinguishedName(certificate.subject, origin)['CN']?.includes('SGX PCK Certificate') !== true)
    throw untrusted(origin, 'pck-name', 'the certificate that a quote rests on is not that of a provisioning key');
  const extension = certificate.extension(sgxExtensions);
  if (extension === undefined)
    throw malformed(origin, 'a PCK certificate says nothing of its platform', undefined, 'pck-extension');
  try {
    return readPlatform(parseDer(extension));
  } catch (error) {
    throw malformed(origin, 'the platform of a PCK certificate cannot be read', error, 'pck-extension');
  }
}

export function pckAuthority(intermediate: Certificate): PckAuthority {
  const name = distinguishedName(intermediate.subject, intermediate.origin)['CN'] ?? '';
  if (name.includes('PCK Processor CA')) return 'processor';
  if (name.includes('PCK Platform CA')) return 'platform';
  throw untrusted(
    intermediate.origin,
    'pck-authority',
    'a PCK certificate was issued by neither of the two authorities',
  );
}

function readPlatform(value: DerValue): PckPlatform {
  const fields = readPairs(value);
  const tcb = readPairs(required(fields, of(2)));
  const componentSvns = Array.from({ length: 16 }, (_, index) => svn(required(tcb, of(2, index + 1)), 255));
  const configuration = fields.get(of(7));
  const flags = configuration === undefined ? new Map<string, DerValue>() : readPairs(configuration);
  const instance = fields.get(of(6));
  return {
    ppid: octets(required(fields, of(1)), 16),
    componentSvns,
    pceSvn: svn(required(tcb, of(2, 17)), 65_535),
    pceId: toHex(octets(required(fields, of(3)), 2)),
    fmspc: toHex(octets(required(fields, of(4)), 6)),
    platformInstanceId: instance === undefined ? undefined : octets(instance, 16),
    isDynamic: flags.get(of(7, 1))?.boolean(),
    hasCachedKeys: flags.get(of(7, 2))?.boolean(),
    isSmtEnabled: flags.get(of(7, 3))?.boolean(),
  };
}

/** A list of (object identifier, value), each identifier once. */
function readPairs(value: DerValue): Map<string, DerValue> {
  const pairs = new Map<string, DerValue>();
  for (const item of value.sequence().rest()) {
    const pair = item.sequence();
    const oid = pair.next().oid();
    if (pairs.has(oid)) throw wrong('a field is there twice');
    pairs.set(oid, pair.next());
    pair.end();
  }
  return pairs;
}

function required(fields: ReadonlyMap<string, DerValue>, oid: string): DerValue {
  const value = fields.get(oid);
  if (value === undefined) throw wrong(`the field ${oid} is missing`);
  return value;
}

function octets(value: DerValue, length: number): Uint8Array {
  const bytes = value.octetString();
  if (bytes.length !== length) throw wrong('a field has a wrong length');
  return bytes;
}

function svn(value: DerValue, max: number): number {
  const number = value.number();
  if (number > max) throw wrong('a version number is too large');
  return number;
}

function wrong(message: string): CaissonError {
  return new CaissonError('invalid', 'format-invalid', message);
}
