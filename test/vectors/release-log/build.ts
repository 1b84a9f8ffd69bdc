/**
 * Builds the vectors of this folder: `node test/vectors/release-log/build.ts`. They are frozen; run it only to
 * add one. It writes spec/release-log.md by itself, over node:crypto alone; each file names the one part that is
 * wrong. A vector is a downloaded log as its lines, and an earlier head where there is one.
 */
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const seed = Buffer.alloc(32, 0x33);
const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(12);
const sha256 = (...parts: Buffer[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest();
const logId = sha256(Buffer.from('caisson log id v1\0'), publicKey);

function rootOf(hashes: readonly Buffer[]): Buffer {
  if (hashes.length === 0) return sha256();
  if (hashes.length === 1) return hashes[0]!;
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  return sha256(Buffer.of(1), rootOf(hashes.slice(0, split)), rootOf(hashes.slice(split)));
}

const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

const leaf = (index: number): string =>
  `{"at":${1_790_000_000_000 + index},"facts":{"key":"key-${index}","rules":["debug","pcr"],"was":true},"index":${index},` +
  `"kind":"release","tenant":"main"}`;

function headOf(
  leaves: readonly string[],
  prefix = 'caisson log head v1\0',
  time = 1_790_000_900_000,
  ofLog = logId,
): string {
  const root = rootOf(leaves.map((text) => sha256(Buffer.of(0), Buffer.from(text))));
  const message = Buffer.concat([Buffer.from(prefix), ofLog, u64(leaves.length), root, u64(time)]);
  const signature = sign(null, message, privateKey).toString('hex');
  const [log, hex] = [ofLog.toString('hex'), root.toString('hex')];
  return `{"log":"${log}","root":"${hex}","signature":"${signature}","size":${leaves.length},"time":${time}}`;
}

const header = `{"format":"caisson-log-1","key":"${publicKey.toString('hex')}","log":"${logId.toString('hex')}"}`;
const leaves = (count: number): string[] => Array.from({ length: count }, (_, index) => leaf(index));
const copy = (count: number): string[] => [header, ...leaves(count), headOf(leaves(count))];

const withHead = (lines: readonly string[], head: string): string[] => [...lines.slice(0, -1), head];

function vector(name: string, expect: string, comment: string, lines: readonly string[], since?: string): void {
  const value = { comment, expect, ...(since === undefined ? {} : { since }), lines };
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(value, null, 2)}\n`);
}

vector('empty', 'holds 0', 'No leaf and one head.', copy(0));
vector('one', 'holds 1', 'One leaf.', copy(1));
vector('seven', 'holds 7', 'Seven leaves: the frontier has three subtrees.', copy(7));
vector('head-between', 'holds 5', 'A head after three leaves, too.', [
  ...[header, ...leaves(3), headOf(leaves(3)), ...leaves(5).slice(3), headOf(leaves(5))],
]);
vector('continues', 'holds 7', 'It continues the head of its first five leaves.', copy(7), headOf(leaves(5)));
vector('continues-itself', 'holds 7', 'The earlier head is of all of it.', copy(7), headOf(leaves(7)));
const edited = leaf(2).replace('key-2', 'key-9');
vector('leaf-edited', 'log-tampered', 'Leaf 2 says something else.', copy(5).with(3, edited));
vector('leaf-missing', 'log-tampered', 'Leaf 2 is missing.', copy(5).toSpliced(3, 1));
vector('leaf-twice', 'log-tampered', 'Leaf 2 is there twice.', copy(5).toSpliced(3, 0, leaf(2)));
vector('history-changed', 'log-tampered', 'Signed anew after leaf 2 was changed: the earlier head shows it.', [
  ...[header, ...leaves(5).with(2, edited), headOf(leaves(5).with(2, edited))],
], headOf(leaves(4)));
vector('since-larger', 'log-tampered', 'Shorter than the earlier head.', copy(3), headOf(leaves(5)));
vector('since-signature-wrong', 'log-tampered', 'The earlier head is not signed.', copy(5), headOf(leaves(5)).replace(/"signature":"../, '"signature":"00'));
vector('head-missing', 'log-tampered', 'The last line is a leaf.', copy(5).slice(0, -1));
vector('head-domain-wrong', 'log-tampered', 'The head is signed with another prefix.', withHead(copy(5), headOf(leaves(5), 'caisson log head v2\0')));
vector('head-log-wrong', 'log-tampered', 'The head is signed by the right key for another log.', withHead(copy(5), headOf(leaves(5), undefined, undefined, Buffer.alloc(32, 1))));
vector('head-size-wrong', 'log-tampered', 'The head is of four of the five leaves.', withHead(copy(5), headOf(leaves(4))));
vector('head-order-wrong', 'log-tampered', 'The members of the head are in another order.', withHead(copy(1), headOf(leaves(1)).replace(/("log":"[^"]*"),("root":"[^"]*")/, '$2,$1')));
vector('leaf-not-canonical', 'log-tampered', 'A blank in leaf 0.', copy(1).with(1, leaf(0).replace(':', ': ')));
vector('leaf-number-form', 'log-tampered', 'The time of leaf 0 is written 1.79e12.', copy(1).with(1, leaf(0).replace('1790000000000', '1.79e12')));
vector('leaf-member-twice', 'log-tampered', 'The tenant of leaf 0 is there twice.', copy(1).with(1, leaf(0).replace('"tenant"', '"tenant":"x","tenant"')));
vector('leaf-escape', 'log-tampered', 'An escape that canonical JSON does not have.', copy(1).with(1, leaf(0).replace('main', '\\u006dain')));
vector('leaf-fact-object', 'log-tampered', 'A fact that is an object.', copy(1).with(1, leaf(0).replace('"was":true', '"was":{}')));
vector('header-id-wrong', 'log-tampered', 'The id is not that of the key.', copy(1).with(0, header.replace(/"log":"../, '"log":"00')));
vector('header-missing', 'format-invalid', 'No header.', copy(2).slice(1));
vector('header-version-2', 'format-version', 'A later format.', copy(1).with(0, header.replace('log-1', 'log-2')));
vector('header-upper-case', 'format-invalid', 'The key in capital digits.', copy(1).with(0, header.replace(publicKey.toString('hex'), publicKey.toString('hex').toUpperCase())));
vector('nothing', 'format-invalid', 'No bytes at all.', []);
