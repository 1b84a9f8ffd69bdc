/**
 * Builds the vectors of this folder: `node test/vectors/root-rotation/build.ts`. They are frozen; run it only to add one.
 * Each holds the settings of a broker in the middle of a rotation, from one key file to another, right but for one part. It
 * writes the bytes of spec/broker-http.md ("Rotation") by itself, over node:crypto alone.
 */
import { createCipheriv, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const fill = (length: number, start: number, step: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, at) => (start + at * step) & 0xff));
const oldFile = fill(32, 7, 7);
const newFile = fill(32, 3, 11);
const oldRoot = fill(32, 0x40, 1);
const newRoot = fill(32, 0x80, 1);
const seed = fill(32, 0xc0, 1);
const oldParameters = Buffer.concat([Buffer.of(1), fill(32, 0x11, 3)]);
const newParameters = Buffer.concat([Buffer.of(1), fill(32, 0x22, 5)]);

interface Parts {
  version: number;
  parameters: Buffer;
  newByMaster: Buffer;
  newByOld: Buffer;
  oldByNew: Buffer;
  /** Added to the length of the last part. */
  lengthChange: number;
  change: (all: Buffer) => Buffer;
  /** Undefined: there is none. */
  signingSeed: Buffer | undefined;
}

const damaged = 'database-damaged';
vector('plain', ['opens', 'opens'], 'Everything right: both key files open both root keys.', () => undefined);
vector('empty', ['opens-old', 'key-wrong'], 'No rotation goes on.', (parts) => {
  parts.change = () => Buffer.alloc(0);
  parts.signingSeed = undefined;
});
vector('version-0', [damaged, damaged], 'Version 0.', (parts) => (parts.version = 0));
vector('version-2', [damaged, damaged], 'A version of the future.', (parts) => (parts.version = 2));
vector('cut', [damaged, damaged], 'The last byte is missing.', (parts) => (parts.change = (all) => all.subarray(0, -1)));
vector('cut-in-length', [damaged, damaged], 'It ends within the first length.', (parts) => (parts.change = (all) => all.subarray(0, 3)));
vector('part-missing', [damaged, damaged], 'The last part is missing.', (parts) => (parts.change = (all) => all.subarray(0, -(4 + parts.oldByNew.length))));
vector('trailing-byte', [damaged, damaged], 'One byte behind the end.', (parts) => (parts.change = (all) => Buffer.concat([all, Buffer.alloc(1)])));
vector('length-too-long', [damaged, damaged], 'A length that points behind the end.', (parts) => (parts.lengthChange = 1));
vector('length-too-large', [damaged, damaged], 'A length beyond every part.', (parts) => (parts.lengthChange = 0x7000_0000));
vector('parameters-empty', ['opens', 'key-wrong'], 'No parameters of the new key file.', (parts) => (parts.parameters = Buffer.alloc(0)));
vector('parameters-version-2', ['opens', 'key-wrong'], 'Parameters of the future.', (parts) => (parts.parameters = newParameters.map((byte, at) => (at === 0 ? 2 : byte)) as Buffer));
vector('parameters-salt', ['opens', 'key-wrong'], 'One bit of the salt of the new key file.', (parts) => (parts.parameters = flipped(newParameters)));
vector('new-by-master-flipped', ['opens', 'key-wrong'], 'One bit of the new root key by the new master key.', (parts) => (parts.newByMaster = flipped(parts.newByMaster)));
vector('new-by-master-place', ['opens', 'key-wrong'], 'The new root key by the new master key, wrapped as another value.', (parts) => (parts.newByMaster = wrap(masterOf(newFile, newParameters), 'root-key-next', newRoot, 1)));
vector('new-by-old-flipped', [damaged, 'opens'], 'One bit of the new root key by the old one.', (parts) => (parts.newByOld = flipped(parts.newByOld)));
vector('new-by-old-place', [damaged, 'opens'], 'The new root key by the old one, wrapped as another value.', (parts) => (parts.newByOld = wrap(oldRoot, 'root-key', newRoot, 2)));
vector('new-by-old-empty', [damaged, 'opens'], 'No new root key by the old one.', (parts) => (parts.newByOld = Buffer.alloc(0)));
vector('new-by-old-wrap-version', [damaged, 'opens'], 'A wrapped value of the future.', (parts) => (parts.newByOld = Buffer.concat([Buffer.of(2), parts.newByOld.subarray(1)])));
vector('old-by-new-flipped', ['opens', damaged], 'One bit of the old root key by the new one.', (parts) => (parts.oldByNew = flipped(parts.oldByNew)));
vector('old-by-new-place', ['opens', damaged], 'The old root key by the new one, wrapped as another value.', (parts) => (parts.oldByNew = wrap(newRoot, 'root-key', oldRoot, 3)));
vector('parts-exchanged', [damaged, damaged], 'Each root key stands in the place of the other.', (parts) => Object.assign(parts, { newByOld: parts.oldByNew, oldByNew: parts.newByOld }));
vector('seed-flipped', [damaged, damaged], 'One bit of the signing seed.', (parts) => (parts.signingSeed = flipped(parts.signingSeed!)));
vector('seed-place', [damaged, damaged], 'The signing seed, wrapped as a root key.', (parts) => (parts.signingSeed = wrap(newRoot, 'root-key', seed, 4)));

/** `expect` is what opening by the old key file gives, then by the new one. */
function vector(name: string, expect: readonly [string, string], comment: string, fault: (parts: Parts) => unknown): void {
  const parts: Parts = {
    version: 1,
    parameters: newParameters,
    newByMaster: wrap(masterOf(newFile, newParameters), 'root-key', newRoot, 1),
    newByOld: wrap(oldRoot, 'root-key-next', newRoot, 2),
    oldByNew: wrap(newRoot, 'root-key-previous', oldRoot, 3),
    lengthChange: 0,
    change: (all) => all,
    signingSeed: wrap(newRoot, 'signing-seed', seed, 4),
  };
  fault(parts);
  const last = block(parts.oldByNew);
  last.writeUInt32LE(parts.oldByNew.length + parts.lengthChange, 0);
  const rotation = Buffer.concat([Buffer.of(parts.version), block(parts.parameters), block(parts.newByMaster), block(parts.newByOld), last]);
  const document = {
    comment,
    expect: { old: expect[0], new: expect[1] },
    keyFiles: { old: oldFile.toString('hex'), new: newFile.toString('hex') },
    roots: { old: oldRoot.toString('hex'), new: newRoot.toString('hex') },
    ...(expect.includes('opens') ? { seed: seed.toString('hex') } : {}),
    settings: {
      'master-key': oldParameters.toString('hex'),
      'root-key': wrap(masterOf(oldFile, oldParameters), 'root-key', oldRoot, 0).toString('hex'),
      ...(parts.signingSeed === undefined ? {} : { 'signing-seed': parts.signingSeed.toString('hex') }),
      'root-rotation': parts.change(rotation).toString('hex'),
    },
  };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(document, undefined, 2)}\n`);
}

function flipped(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1]! ^= 0x10;
  return changed;
}

function block(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function masterOf(keyFile: Buffer, parameters: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', keyFile, parameters.subarray(1), 'caisson v1 key file\0', 32));
}

function wrap(key: Buffer, name: string, secret: Buffer, nonceStart: number): Buffer {
  const nonce = fill(12, nonceStart * 16, 1);
  const cipher = createCipheriv('aes-256-gcm-siv' as 'aes-256-gcm', key, nonce, { authTagLength: 16 });
  const [what, tenant] = ['root-key', 'root'].map((text) => block(Buffer.from(text)));
  cipher.setAAD(Buffer.concat([Buffer.from('caisson broker wrap v1\0'), what!, tenant!, block(Buffer.from(name))]));
  const sealed = Buffer.concat([cipher.update(secret), cipher.final()]);
  return Buffer.concat([Buffer.of(1), nonce, sealed, cipher.getAuthTag()]);
}
