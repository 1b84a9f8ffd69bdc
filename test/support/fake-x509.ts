/** Certificates and revocation lists of vendors that do not exist, as DER. Any field can be made wrong. */
import { constants, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

export type SigningScheme = 'rsa-pss-sha384' | 'ecdsa-sha256' | 'ecdsa-sha384';

/** A name: attributes by short name, in this order. */
export type FakeName = Readonly<Partial<Record<'CN' | 'O' | 'OU' | 'C' | 'L' | 'ST', string>>>;

export interface FakeExtension {
  readonly oid: string;
  readonly isCritical?: boolean;
  readonly value: Uint8Array;
}

export interface FakeCertificate {
  readonly subject: FakeName;
  readonly issuer: FakeName;
  readonly serial?: number;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: KeyObject;
  /** Private. */
  readonly signingKey: KeyObject;
  readonly scheme: SigningScheme;
  readonly extensions?: readonly FakeExtension[];
}

export interface FakeCrl {
  readonly issuer: FakeName;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly revoked?: readonly number[];
  readonly signingKey: KeyObject;
  readonly scheme: SigningScheme;
}

export function fakeCertificate(options: FakeCertificate): Uint8Array {
  const algorithm = algorithmOf(options.scheme);
  const extensions = (options.extensions ?? []).map(({ oid, isCritical, value }) =>
    der(0x30, derOid(oid), ...(isCritical === true ? [der(0x01, Uint8Array.of(0xff))] : []), der(0x04, value)),
  );
  const body = der(
    0x30,
    der(0xa0, derInteger(2)),
    derInteger(options.serial ?? 1),
    algorithm,
    derName(options.issuer),
    der(0x30, derTime(options.notBefore), derTime(options.notAfter)),
    derName(options.subject),
    options.publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length === 0 ? [] : [der(0xa3, der(0x30, ...extensions))]),
  );
  return signed(body, algorithm, options);
}

export function fakeCrl(options: FakeCrl): Uint8Array {
  const algorithm = algorithmOf(options.scheme);
  const entries = (options.revoked ?? []).map((serial) => der(0x30, derInteger(serial), derTime(options.thisUpdate)));
  const body = der(
    0x30,
    derInteger(1),
    algorithm,
    derName(options.issuer),
    derTime(options.thisUpdate),
    derTime(options.nextUpdate),
    ...(entries.length === 0 ? [] : [der(0x30, ...entries)]),
    der(0xa0, der(0x30, der(0x30, derOid('2.5.29.20'), der(0x04, derInteger(1))))),
  );
  return signed(body, algorithm, options);
}

/** basicConstraints and keyUsage of an authority that signs certificates, and lists if `signsLists`. */
export function authorityExtensions(pathLength: number | undefined, signsLists: boolean): readonly FakeExtension[] {
  const length = pathLength === undefined ? [] : [derInteger(pathLength)];
  const usage = signsLists ? Uint8Array.of(1, 0x06) : Uint8Array.of(2, 0x04);
  return [
    { oid: '2.5.29.19', isCritical: true, value: der(0x30, der(0x01, Uint8Array.of(0xff)), ...length) },
    { oid: '2.5.29.15', isCritical: true, value: der(0x03, usage) },
  ];
}

export function pem(...certificates: readonly Uint8Array[]): Uint8Array {
  const blocks = certificates.map((certificate) => {
    const lines =
      Buffer.from(certificate)
        .toString('base64')
        .match(/.{1,64}/g) ?? [];
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
  });
  return new TextEncoder().encode(blocks.join(''));
}

export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Uint8Array.from([tag, length, ...content]);
  const lengthBytes = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Uint8Array.from([tag, ...lengthBytes, ...content]);
}

export function derInteger(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  if (bytes.length === 0 || bytes[0]! >= 0x80) bytes.unshift(0);
  return der(0x02, Uint8Array.from(bytes));
}

export function derOid(text: string): Uint8Array {
  const [first = 0, second = 0, ...arcs] = text.split('.').map(Number);
  const bytes = [first * 40 + second, ...arcs].flatMap((arc) => {
    const groups = [arc % 128];
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) groups.unshift(0x80 | (rest % 128));
    return groups;
  });
  return der(0x06, Uint8Array.from(bytes));
}

export function derText(tag: number, text: string): Uint8Array {
  return der(tag, new TextEncoder().encode(text));
}

const attributeOids = { CN: '2.5.4.3', C: '2.5.4.6', L: '2.5.4.7', ST: '2.5.4.8', O: '2.5.4.10', OU: '2.5.4.11' };

function derName(name: FakeName): Uint8Array {
  const attributes = Object.entries(name).map(([key, value]) =>
    der(0x31, der(0x30, derOid(attributeOids[key as keyof typeof attributeOids]), derText(0x0c, value))),
  );
  return der(0x30, ...attributes);
}

/** UTCTime until 2049, GeneralizedTime after it (RFC 5280, 4.1.2.5). */
function derTime(milliseconds: number): Uint8Array {
  const digits = new Date(milliseconds).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const isShort = Number(digits.substring(0, 4)) < 2050;
  return derText(isShort ? 0x17 : 0x18, isShort ? digits.substring(2) : digits);
}

function algorithmOf(scheme: SigningScheme): Uint8Array {
  if (scheme === 'ecdsa-sha256') return der(0x30, derOid('1.2.840.10045.4.3.2'));
  if (scheme === 'ecdsa-sha384') return der(0x30, derOid('1.2.840.10045.4.3.3'));
  const hash = der(0x30, derOid('2.16.840.1.101.3.4.2.2'), der(0x05));
  const mask = der(0x30, derOid('1.2.840.113549.1.1.8'), hash);
  const parameters = der(0x30, der(0xa0, hash), der(0xa1, mask), der(0xa2, derInteger(pssSaltBytes)));
  return der(0x30, derOid('1.2.840.113549.1.1.10'), parameters);
}

const pssSaltBytes = 48;

function signed(
  body: Uint8Array,
  algorithm: Uint8Array,
  { signingKey, scheme }: { readonly signingKey: KeyObject; readonly scheme: SigningScheme },
): Uint8Array {
  const isPss = scheme === 'rsa-pss-sha384';
  const signature = sign(
    scheme === 'ecdsa-sha256' ? 'sha256' : 'sha384',
    body,
    isPss
      ? { key: signingKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: pssSaltBytes }
      : { key: signingKey, dsaEncoding: 'der' },
  );
  return der(0x30, body, algorithm, der(0x03, Uint8Array.of(0), signature));
}
