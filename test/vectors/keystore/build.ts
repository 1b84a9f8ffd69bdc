/**
 * Builds the vectors of this folder: `node test/vectors/keystore/build.ts`. They are frozen; run it only to add one. Each
 * holds the plainest keyring of test/vectors/keyring, opened by its key file, in a keystore that is right but for one part.
 * The expected secrets are derived here over node:crypto alone.
 */
import { hkdfSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

interface KeyringVector {
  readonly volumeId: string;
  readonly keyFile: string;
  readonly keyring: string;
  readonly body: { readonly dataKeys: readonly { readonly epoch: number; readonly key: string }[] };
}

const inner = JSON.parse(readFileSync(new URL('../keyring/one-key-file-slot.json', import.meta.url), 'utf8')) as KeyringVector;
const use = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

vector('plain', 'opens', 'A keystore with one key file.', {});
vector('empty', 'format-invalid', 'No bytes at all.', { change: () => Buffer.alloc(0) });
vector('wrong-magic', 'format-invalid', 'Another magic.', { magic: 'CAISKEYS' });
vector('version-0', 'format-version', 'Version 0.', { version: 0 });
vector('version-2', 'format-version', 'A version of the future.', { version: 2 });
vector('other-id', 'key-wrong', 'The keyring of another keystore.', { id: Buffer.alloc(16, 9) });
vector('trailing-byte', 'format-invalid', 'One byte behind the end.', { change: (all) => Buffer.concat([all, Buffer.alloc(1)]) });
vector('cut', 'format-invalid', 'The last byte is missing.', { change: (all) => all.subarray(0, -1) });
vector('length-too-long', 'format-invalid', 'A keyring length that points behind the end.', { lengthChange: 1 });
vector('length-too-large', 'format-invalid', 'A keyring length beyond every keyring.', { lengthChange: 0x7000_0000 });
vector('keyring-broken', 'format-invalid', 'What is in it is no keyring.', { keyring: Buffer.alloc(300, 1) });

interface Fault {
  readonly magic?: string;
  readonly version?: number;
  readonly id?: Buffer;
  readonly keyring?: Buffer;
  readonly lengthChange?: number;
  readonly change?: (all: Buffer) => Buffer;
}

function vector(name: string, expect: string, comment: string, fault: Fault): void {
  const keyring = fault.keyring ?? Buffer.from(inner.keyring, 'hex');
  const head = Buffer.alloc(2 + 16 + 4);
  head.writeUInt16LE(fault.version ?? 1, 0);
  (fault.id ?? Buffer.from(inner.volumeId, 'hex')).copy(head, 2);
  head.writeUInt32LE(keyring.length + (fault.lengthChange ?? 0), 18);
  const whole = Buffer.concat([Buffer.from(fault.magic ?? 'CAISKSTO'), head, keyring]);
  const document = {
    comment,
    expect,
    keyFile: inner.keyFile,
    ...(expect === 'opens' ? { volumeId: use.toString('hex'), name: 'data', secret: secretOf('data') } : {}),
    keystore: (fault.change?.(whole) ?? whole).toString('hex'),
  };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(document, undefined, 2)}\n`);
}

function secretOf(name: string): string {
  const dataKey = Buffer.from(inner.body.dataKeys[0]!.key, 'hex');
  const information = Buffer.concat([Buffer.from('caisson v1 keystore name\0'), use, Buffer.from(name)]);
  return Buffer.from(hkdfSync('sha256', dataKey, Buffer.from(inner.volumeId, 'hex'), information, 32)).toString('hex');
}
