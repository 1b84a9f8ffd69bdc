/** An authority for a test, with certificates of a server on this machine, of its client, and of a stranger's client. */
import { generateKeyPairSync } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { authorityExtensions, der, derOid, derText, fakeCertificate, pem } from './fake-x509.ts';
import type { FakeExtension } from './fake-x509.ts';

export interface TlsFiles {
  readonly authority: string;
  readonly server: { readonly certificate: string; readonly key: string };
  readonly client: { readonly certificate: string; readonly key: string };
  /** Signed by another authority. */
  readonly stranger: { readonly authority: string; readonly certificate: string; readonly key: string };
}

type Pair = { readonly certificate: string; readonly key: string };

export function makeTlsFiles(folder: string): TlsFiles {
  const own = makeAuthority(folder, 'authority');
  const other = makeAuthority(folder, 'stranger-authority');
  return {
    authority: own.file,
    server: own.issue('server', '1.3.6.1.5.5.7.3.1'),
    client: own.issue('client', '1.3.6.1.5.5.7.3.2'),
    stranger: { authority: other.file, ...other.issue('stranger', '1.3.6.1.5.5.7.3.2') },
  };
}

function makeAuthority(
  folder: string,
  name: string,
): { readonly file: string; issue(name: string, use: string): Pair } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const times = { notBefore: Date.now() - 3_600_000, notAfter: Date.now() + 3_600_000 };
  const common = { issuer: { CN: name }, signingKey: privateKey, scheme: 'ecdsa-sha256' as const, ...times };
  const certificate = fakeCertificate({
    ...{ ...common, subject: { CN: name }, publicKey },
    extensions: authorityExtensions(undefined, true),
  });
  let serial = 1;
  return {
    file: write(folder, `${name}.pem`, pem(certificate)),
    issue(subject, use) {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const issued = fakeCertificate({
        ...{ ...common, subject: { CN: subject }, publicKey: pair.publicKey, serial: ++serial },
        extensions: [...leafExtensions(use)],
      });
      return {
        certificate: write(folder, `${subject}.pem`, pem(issued)),
        key: write(folder, `${subject}.key`, pair.privateKey.export({ type: 'pkcs8', format: 'pem' })),
      };
    },
  };
}

function leafExtensions(use: string): readonly FakeExtension[] {
  const names = der(0x30, derText(0x82, 'localhost'), der(0x87, Uint8Array.of(127, 0, 0, 1)));
  return [
    { oid: '2.5.29.17', value: names },
    { oid: '2.5.29.37', value: der(0x30, derOid(use)) },
  ];
}

function write(folder: string, name: string, content: Uint8Array | string): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, content, { mode: 0o600 });
  return file;
}
