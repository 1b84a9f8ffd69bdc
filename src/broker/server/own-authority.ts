/**
 * The broker's own certificate authority, for whoever has none: made on the first start, kept in the
 * state folder, pinned by clients. It signs nothing but the certificates of this broker.
 *
 * Certificates are X.509 v3 (RFC 5280) over P-256; the encoder below is all the DER that they need.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { Random } from '../../lib/random.ts';
import { readPrivateFile, writePrivateFile } from './state-files.ts';

export interface OwnAuthority {
  /** PEM. */
  readonly certificate: string;
  /** SHA-256 of its DER, hex. */
  readonly fingerprint: string;
  readonly file: string;
  /** A new certificate of the broker, with the authority's behind it, and its key. */
  issue(names: readonly string[], now: number): { readonly certificate: string; readonly key: string };
}

const day = 86_400_000;
const authorityDays = 3650;
/** The longest that clients accept; a new one is made at every start and every `renewMilliseconds`. */
const certificateDays = 390;
export const renewMilliseconds = 20 * day; // setInterval takes no more than 24 days

export function openOwnAuthority(folder: string, random: Random, now: number): OwnAuthority {
  const file = `${folder}/authority.crt`;
  const keyFile = `${folder}/authority.key`;
  const found = readPrivateFile(keyFile);
  if (found === undefined) {
    const made = createAuthority(random, now);
    // The key comes last: where it is, the certificate is.
    writePrivateFile(file, made.certificate, 0o644);
    writePrivateFile(keyFile, made.key, 0o600);
  }
  const certificate = readPrivateFile(file) ?? '';
  const key = createPrivateKey(found ?? readPrivateFile(keyFile) ?? '');
  const x509 = new X509Certificate(certificate);
  return {
    certificate,
    fingerprint: createHash('sha256').update(x509.raw).digest('hex'),
    file,
    issue: (names, at) => {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const leaf = encodeCertificate({
        ...{ random, issuer: commonNameOf(x509), issuerKey: key, issuerPublic: createPublicKey(key) },
        ...{ subject: 'Caisson broker', publicKey: pair.publicKey, from: at - day, until: at + certificateDays * day },
        extensions: [
          basicConstraints(false),
          keyUsage(0x80),
          extension([2, 5, 29, 37], false, sequence(oid([1, 3, 6, 1, 5, 5, 7, 3, 1]))),
          extension([2, 5, 29, 17], false, sequence(...names.map(alternativeName))),
        ],
      });
      return { certificate: `${pem('CERTIFICATE', leaf)}${certificate}`, key: exportKey(pair.privateKey) };
    },
  };
}

/** What clients on this machine and elsewhere may call it. */
export function certificateNames(listenHost: string, extra: readonly string[]): readonly string[] {
  const isAny = listenHost === '0.0.0.0' || listenHost === '::';
  return [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...(isAny ? [] : [listenHost]), ...extra])];
}

function createAuthority(random: Random, now: number): { certificate: string; key: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = `Caisson broker authority ${Buffer.from(random.bytes(4)).toString('hex')}`;
  const certificate = encodeCertificate({
    ...{ random, issuer: name, issuerKey: privateKey, issuerPublic: publicKey },
    ...{ subject: name, publicKey, from: now - day, until: now + authorityDays * day },
    extensions: [basicConstraints(true), keyUsage(0x06)],
  });
  return { certificate: pem('CERTIFICATE', certificate), key: exportKey(privateKey) };
}

interface CertificateFields {
  readonly random: Random;
  readonly issuer: string;
  readonly issuerKey: KeyObject;
  readonly issuerPublic: KeyObject;
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly from: number;
  readonly until: number;
  readonly extensions: readonly Uint8Array[];
}

function encodeCertificate(fields: CertificateFields): Uint8Array {
  const serial = Uint8Array.from(fields.random.bytes(16));
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40; // positive, and no leading zero
  const algorithm = sequence(oid([1, 2, 840, 10045, 4, 3, 2]));
  const extensions = [
    ...fields.extensions,
    extension([2, 5, 29, 14], false, tagged(0x04, keyId(fields.publicKey))),
    extension([2, 5, 29, 35], false, sequence(tagged(0x80, keyId(fields.issuerPublic)))),
  ];
  const body = sequence(
    tagged(0xa0, tagged(0x02, Uint8Array.of(2))),
    tagged(0x02, serial),
    algorithm,
    nameOf(fields.issuer),
    sequence(timeOf(fields.from), timeOf(fields.until)),
    nameOf(fields.subject),
    spkiOf(fields.publicKey),
    tagged(0xa3, sequence(...extensions)),
  );
  const signature = sign('sha256', body, fields.issuerKey);
  return sequence(body, algorithm, bitString(signature));
}

function basicConstraints(isAuthority: boolean): Uint8Array {
  const fields = isAuthority ? [tagged(0x01, Uint8Array.of(0xff)), tagged(0x02, Uint8Array.of(0))] : [];
  return extension([2, 5, 29, 19], true, sequence(...fields));
}

/** `bits` as they stand in the first byte: 0x80 digitalSignature, 0x04 keyCertSign, 0x02 cRLSign. */
function keyUsage(bits: number): Uint8Array {
  const unused = 31 - Math.clz32(bits & -bits);
  return extension([2, 5, 29, 15], true, tagged(0x03, Uint8Array.of(unused, bits)));
}

function extension(id: readonly number[], isCritical: boolean, value: Uint8Array): Uint8Array {
  const critical = isCritical ? [tagged(0x01, Uint8Array.of(0xff))] : [];
  return sequence(oid(id), ...critical, tagged(0x04, value));
}

function alternativeName(name: string): Uint8Array {
  switch (isIP(name)) {
    case 4:
      return tagged(0x87, Uint8Array.from(name.split('.').map(Number)));
    case 6:
      return tagged(0x87, ipv6Bytes(name));
    default:
      return tagged(0x82, Buffer.from(name, 'latin1'));
  }
}

function ipv6Bytes(text: string): Uint8Array {
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const [head = '', tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0);
  return Uint8Array.from([...before, ...zeros, ...after].flatMap((group) => [group >> 8, group & 0xff]));
}

function commonNameOf({ subject }: X509Certificate): string {
  return subject.replace(/^CN=/, '');
}

function nameOf(commonName: string): Uint8Array {
  return sequence(tagged(0x31, sequence(oid([2, 5, 4, 3]), tagged(0x0c, Buffer.from(commonName)))));
}

/** UTCTime up to 2049, GeneralizedTime from 2050 on. */
function timeOf(milliseconds: number): Uint8Array {
  const text = `${new Date(milliseconds).toISOString().replace(/[-:T]/g, '').substring(0, 14)}Z`;
  return text < '2050' ? tagged(0x17, Buffer.from(text.substring(2))) : tagged(0x18, Buffer.from(text));
}

function keyId(key: KeyObject): Uint8Array {
  return createHash('sha256').update(spkiOf(key)).digest().subarray(0, 20);
}

function spkiOf(key: KeyObject): Uint8Array {
  return key.export({ format: 'der', type: 'spki' });
}

function exportKey(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' });
}

function bitString(bytes: Uint8Array): Uint8Array {
  return tagged(0x03, Uint8Array.of(0), bytes);
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(0x30, ...parts);
}

function oid([first = 0, second = 0, ...rest]: readonly number[]): Uint8Array {
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift(0x80 | (left & 0x7f));
    bytes.push(...digits);
  }
  return tagged(0x06, Uint8Array.from(bytes));
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const header =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.from(header), ...parts]);
}

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
