/**
 * Builds the vectors of this folder: `node test/vectors/capability/build.ts`. They are frozen; run it only
 * to add one. It writes the bytes of spec/capability-format.md by itself, over node:crypto alone, and by
 * default writes them right; each file names the one part that is wrong.
 */
import crypto from 'node:crypto';
import { writeFileSync } from 'node:fs';

interface Block {
  base: bigint;
  length: bigint;
  rights: number;
  reserved: number;
  notBefore: bigint;
  expires: bigint;
  holder: Buffer;
  /** Only written in version 2. */
  snapshot: Buffer;
  signer: number;
  label: string;
  /** Changes the bytes that are signed. */
  signed: (bytes: Buffer) => Buffer;
}

interface Parts {
  magic: string;
  version: number;
  reserved: number;
  epoch: bigint;
  publicKey: Buffer;
  blocks: Block[];
  late: (token: Buffer) => Buffer;
  proofSeed: number;
  proofLabel: string;
  challenge: Buffer;
  volumeId: Buffer | undefined;
  now: number;
  volumeEpoch: number;
}

const seeds = [0x10, 0x11, 0x12, 0x13];
const block = 136;
const all = 0x7f;

vector('one-block', 'good', 'Everything right.', (parts) => {
  parts.blocks.length = 1;
  parts.proofSeed = seeds[1]!;
});
vector('three-blocks', 'good', 'Narrowed twice.', () => undefined);
vector('same-again', 'good', 'Narrowed to the same.', ({ blocks }) => Object.assign(blocks[1]!, { ...blocks[0], holder: publicOf(seeds[2]!), signer: seeds[1] }));
vector('to-the-end', 'good', 'No length, and resize.', (parts) => {
  const { blocks } = parts;
  blocks.length = 1;
  parts.proofSeed = seeds[1]!;
  Object.assign(blocks[0]!, { length: 0n, rights: all });
});
vector('sixteen-blocks', 'good', 'As many blocks as there may be.', (parts) => (parts.blocks = many(16)));
vector('seventeen-blocks', 'capability-invalid', 'One block too many.', (parts) => (parts.blocks = many(17)));
vector('no-block', 'capability-invalid', 'A header alone.', (parts) => (parts.late = (token) => token.subarray(0, 56)));
vector('empty', 'capability-invalid', 'No bytes.', (parts) => (parts.late = () => Buffer.alloc(0)));
vector('cut', 'capability-invalid', 'The last byte is missing.', (parts) => (parts.late = (token) => token.subarray(0, -1)));
vector('longer', 'capability-invalid', 'A byte follows.', (parts) => (parts.late = (token) => Buffer.concat([token, Buffer.alloc(1)])));
vector('magic', 'capability-invalid', 'Another magic.', (parts) => (parts.magic = 'CSNCAPB\n'));
vector('version', 'capability-invalid', 'A later version.', (parts) => (parts.version = 2));
vector('header-reserved', 'capability-invalid', 'A reserved byte of the header is set.', (parts) => (parts.reserved = 1));
vector('body-reserved', 'capability-invalid', 'A reserved byte of a block is set.', ({ blocks }) => (blocks[1]!.reserved = 1));
vector('right-unknown', 'capability-invalid', 'Bit 7 is set.', ({ blocks }) => (blocks[0]!.rights = 0xef));
vector('right-none', 'capability-invalid', 'No right at all.', ({ blocks }) => (blocks[2]!.rights = 0));
vector('resize-of-a-part', 'capability-invalid', 'Resize of a part that has a length.', ({ blocks }) => (blocks[0]!.rights = all));
vector('base-unaligned', 'capability-invalid', 'A base of 512.', ({ blocks }) => (blocks[2]!.base = 16384n + 512n));
vector('length-unaligned', 'capability-invalid', 'A length of 512.', ({ blocks }) => (blocks[2]!.length = 512n));
vector('end-too-large', 'capability-invalid', 'Base and length reach beyond 2^53.', (parts) => {
  const { blocks } = parts;
  blocks.length = 1;
  parts.proofSeed = seeds[1]!;
  Object.assign(blocks[0]!, { base: 2n ** 53n - 4096n, length: 4096n });
});
vector('base-too-large', 'capability-invalid', 'A base of 2^63.', ({ blocks }) => (blocks[0]!.base = 2n ** 63n));
vector('never-holds', 'capability-invalid', 'It expires when it begins.', ({ blocks }) => (blocks[2]!.notBefore = blocks[2]!.expires));
vector('other-signer', 'capability-invalid', 'The second block is signed by a stranger.', ({ blocks }) => (blocks[1]!.signer = 0x99));
vector('root-signer', 'capability-invalid', 'The volume signs the third block in place of the holder.', ({ blocks }) => (blocks[2]!.signer = seeds[0]!));
vector('root-other-key', 'capability-invalid', 'The first block is signed by its own holder.', ({ blocks }) => (blocks[0]!.signer = seeds[1]!));
vector('label', 'capability-invalid', 'A block is signed under another label.', ({ blocks }) => (blocks[1]!.label = 'caisson capability v2\0'));
vector('block-alone-signed', 'capability-invalid', 'The signature covers the block and not what stands before it.', ({ blocks }) => (blocks[1]!.signed = (bytes) => bytes.subarray(-72)));
vector('signature-flipped', 'capability-invalid', 'A bit of the last signature differs.', (parts) => (parts.late = (token) => flipped(token, token.length - 1)));
vector('grant-changed', 'capability-invalid', 'The base of the first block was changed after signing.', (parts) => (parts.late = (token) => flipped(token, 56 + 2)));
vector('epoch-changed', 'capability-invalid', 'The epoch was changed after signing.', (parts) => (parts.late = (token) => flipped(token, 48)));
vector('block-removed', 'capability-invalid', 'The second block was taken out.', (parts) => (parts.late = (token) => Buffer.concat([token.subarray(0, 56 + block), token.subarray(56 + 2 * block)])));
vector('block-repeated', 'capability-invalid', 'The last block stands there twice.', (parts) => (parts.late = (token) => Buffer.concat([token, token.subarray(-block)])));
vector('wider-base', 'capability-invalid', 'The part begins earlier.', ({ blocks }) => (blocks[2]!.base = 4096n));
vector('wider-end', 'capability-invalid', 'The part ends later.', ({ blocks }) => (blocks[2]!.length = blocks[1]!.length + 4096n));
vector('wider-no-end', 'capability-invalid', 'The part has no length any more.', ({ blocks }) => (blocks[2]!.length = 0n));
vector('wider-rights', 'capability-invalid', 'A right that the block before lacks.', ({ blocks }) => (blocks[2]!.rights = 0x09));
vector('wider-not-before', 'capability-invalid', 'It holds earlier.', ({ blocks }) => (blocks[2]!.notBefore = 999n));
vector('wider-expires', 'capability-invalid', 'It holds longer.', ({ blocks }) => (blocks[2]!.expires = blocks[1]!.expires + 1n));
vector('no-delegate', 'capability-invalid', 'The block before has no delegate.', ({ blocks }) => (blocks[1]!.rights = 0x03));
vector('other-volume', 'capability-invalid', 'The volume has another id.', (parts) => (parts.volumeId = Buffer.alloc(16, 1)));
vector('proof-stranger', 'capability-invalid', 'The proof is by another key.', (parts) => (parts.proofSeed = 0x99));
vector('proof-earlier-holder', 'capability-invalid', 'The proof is by the holder of the block before.', (parts) => (parts.proofSeed = seeds[2]!));
vector('proof-label', 'capability-invalid', 'The proof is under another label.', (parts) => (parts.proofLabel = 'caisson capability v1\0'));
vector('challenge-short', 'capability-invalid', 'A challenge of 15 bytes.', (parts) => (parts.challenge = Buffer.alloc(15)));
vector('first-moment', 'good', 'The moment at which it begins.', (parts) => (parts.now = 1000));
vector('too-early', 'capability-refused', 'A millisecond before.', (parts) => (parts.now = 999));
vector('last-moment', 'good', 'The last millisecond.', (parts) => (parts.now = 4_999));
vector('expired', 'capability-refused', 'The moment at which it expires.', (parts) => (parts.now = 5_000));
vector('epoch-raised', 'capability-refused', 'The epoch of the volume was raised.', (parts) => (parts.volumeEpoch = 8));
vector('epoch-later', 'capability-refused', 'The token is of an epoch that the verifier does not know.', (parts) => (parts.volumeEpoch = 6));

const monday = Buffer.alloc(16, 0x11);
second('two-snapshots', 'good', 'Narrowed to a snapshot, then within it.', () => undefined);
second('two-volume', 'good', 'Version 2, of the volume itself.', ({ blocks }) => {
  for (const one of blocks) one.snapshot = Buffer.alloc(16);
});
second('two-root-snapshot', 'good', 'Granted of a snapshot by the volume.', (parts) => {
  parts.blocks.length = 1;
  parts.proofSeed = seeds[1]!;
  Object.assign(parts.blocks[0]!, { snapshot: monday, rights: 0x61 });
});
second('two-other-snapshot', 'capability-invalid', 'Another snapshot than the block before.', ({ blocks }) => (blocks[2]!.snapshot = Buffer.alloc(16, 0x22)));
second('two-back-to-volume', 'capability-invalid', 'The volume, where the block before has a snapshot.', ({ blocks }) => (blocks[2]!.snapshot = Buffer.alloc(16)));
second('two-no-snapshot-right', 'capability-invalid', 'A snapshot, where the block before has no right to snapshot.', ({ blocks }) => (blocks[0]!.rights = 0x61));
second('two-write-of-snapshot', 'capability-invalid', 'A right to write a snapshot.', ({ blocks }) => (blocks[1]!.rights = 0x43));
second('two-resize-of-snapshot', 'capability-invalid', 'A right to resize a snapshot.', (parts) => {
  parts.blocks.length = 1;
  parts.proofSeed = seeds[1]!;
  Object.assign(parts.blocks[0]!, { snapshot: monday, rights: 0x11, length: 0n });
});
second('two-snapshot-changed', 'capability-invalid', 'The snapshot of the first block was changed after signing.', (parts) => (parts.late = (token) => flipped(token, 56 + 80)));
second('three', 'capability-invalid', 'A version that is not known.', (parts) => (parts.version = 3));
second('one-with-snapshots', 'capability-invalid', 'Blocks of version 2 in a token of version 1.', (parts) => (parts.late = (token) => Buffer.concat([token.subarray(0, 8), Buffer.from([1]), token.subarray(9)])));

/** As `vector`, of version 2. */
function second(name: string, expect: string, comment: string, change: (parts: Parts) => unknown): void {
  vector(name, expect, comment, (parts) => {
    parts.version = 2;
    parts.blocks[1]!.snapshot = monday;
    parts.blocks[1]!.rights = 0x41;
    parts.blocks[2]!.snapshot = monday;
    change(parts);
  });
}

function vector(name: string, expect: string, comment: string, change: (parts: Parts) => unknown): void {
  const parts = rightParts();
  change(parts);
  const head = Buffer.alloc(8);
  head.writeUInt16LE(parts.version);
  head[7] = parts.reserved;
  let token = Buffer.concat([Buffer.from(parts.magic), head, parts.publicKey, u64(parts.epoch)]);
  for (const one of parts.blocks) {
    const rights = Buffer.alloc(8);
    rights.writeUInt32LE(one.rights);
    rights[7] = one.reserved;
    token = Buffer.concat([token, u64(one.base), u64(one.length), rights, u64(one.notBefore), u64(one.expires), one.holder, ...(parts.version === 1 || name === 'version' ? [] : [one.snapshot])]);
    token = Buffer.concat([token, crypto.sign(null, Buffer.concat([Buffer.from(one.label), one.signed(token)]), keyOf(one.signer))]);
  }
  token = Buffer.from(parts.late(token));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(parts.challenge.length);
  const digest = crypto.createHash('sha256').update(token).digest();
  const proof = crypto.sign(null, Buffer.concat([Buffer.from(parts.proofLabel), digest, length, parts.challenge]), keyOf(parts.proofSeed));
  const volumeId = crypto.createHash('sha256').update(Buffer.concat([Buffer.from('caisson volume id v1\0'), parts.publicKey])).digest().subarray(0, 16);
  const last = parts.blocks.at(-1)!;
  const json = {
    comment,
    expect,
    token: token.toString('hex'),
    text: `csncap1.${token.toString('base64url')}`,
    volumeId: (parts.volumeId ?? volumeId).toString('hex'),
    now: parts.now,
    epoch: parts.volumeEpoch,
    challenge: parts.challenge.toString('hex'),
    proof: proof.toString('hex'),
    grant: { base: Number(last.base), length: Number(last.length), rights: last.rights, notBefore: Number(last.notBefore), expiresAt: Number(last.expires), holder: last.holder.toString('hex'), ...(last.snapshot.some((byte) => byte !== 0) ? { snapshot: last.snapshot.toString('hex') } : {}) },
  };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(json, null, 2)}\n`);
}

function rightParts(): Parts {
  return {
    magic: 'CSNCAPA\n',
    version: 1,
    reserved: 0,
    epoch: 7n,
    publicKey: publicOf(seeds[0]!),
    blocks: [
      right({ base: 0n, length: 1048576n, rights: 0x6f, expires: 9_000n, holder: publicOf(seeds[1]!), signer: seeds[0]! }),
      right({ base: 8192n, length: 65536n, rights: 0x43, expires: 8_000n, holder: publicOf(seeds[2]!), signer: seeds[1]! }),
      right({ base: 16384n, length: 4096n, rights: 0x01, expires: 5_000n, holder: publicOf(seeds[3]!), signer: seeds[2]! }),
    ],
    late: (token) => token,
    proofSeed: seeds[3]!,
    proofLabel: 'caisson capability proof v1\0',
    challenge: Buffer.alloc(16, 0xcc),
    volumeId: undefined,
    now: 2_000,
    volumeEpoch: 7,
  };
}

function right(block: Pick<Block, 'base' | 'length' | 'rights' | 'expires' | 'holder' | 'signer'>): Block {
  return { reserved: 0, notBefore: 1000n, snapshot: Buffer.alloc(16), label: 'caisson capability v1\0', signed: (bytes) => bytes, ...block };
}

/** Each hands the same on to itself; the proof of the others is by the key of the third. */
function many(count: number): Block[] {
  return Array.from({ length: count }, (_, at) => right({ base: 0n, length: 8192n, rights: 0x41, expires: 5_000n, holder: publicOf(seeds[3]!), signer: at === 0 ? seeds[0]! : seeds[3]! }));
}

function keyOf(seed: number): crypto.KeyObject {
  return crypto.createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, seed)]), format: 'der', type: 'pkcs8' });
}

function publicOf(seed: number): Buffer {
  return crypto.createPublicKey(keyOf(seed)).export({ format: 'der', type: 'spki' }).subarray(12);
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at]! ^= 16;
  return changed;
}
