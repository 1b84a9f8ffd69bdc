/**
 * Builds the vectors of this folder: `node test/vectors/envelope/build.ts`. They are frozen; run it only
 * to add one. It writes the bytes of spec/broker-api.md and of HPKE by itself, over node:crypto alone, and by
 * default writes them right; each file names the one part that is wrong.
 *
 * Existing files are left alone: encapsulation to ML-KEM draws fresh randomness.
 */
import crypto from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';

type Suite = 'x25519' | 'p256' | 'mlkem768-x25519';
const kemNumbers: Record<Suite, number> = { x25519: 0x20, p256: 0x10, 'mlkem768-x25519': 0x647a };

/** SPKI of ML-KEM-768 up to the 1184 bytes of the key. */
const latticePrefix = '308204b2300b0609608648016503040402038204a100';

interface Parts {
  suite: Suite;
  purpose: string;
  brokerSeed: Buffer;
  /** Whose signature stands in the answer. */
  signerSeed: Buffer;
  tenant: string;
  keyName: string;
  nonce: Buffer;
  sessionSeed: Buffer;
  requestSignerSeed: Buffer;
  evidenceDigest: Buffer;
  bodyDigest: Buffer;
  infoLabel: string;
  answerLabel: string;
  requestLabel: string;
  reportLabel: string;
  sealedDigest: (digest: Buffer) => Buffer;
  signedDigest: (digest: Buffer) => Buffer;
  changeEncapsulated: (bytes: Buffer) => Buffer;
  changeCiphertext: (bytes: Buffer) => Buffer;
  /** Changed when all is signed. */
  late: (json: VectorJson) => void;
}

interface VectorJson {
  statement: Record<string, string>;
  envelope: Record<string, string>;
  brokerPublicKey: string;
  [name: string]: unknown;
}

await vector('x25519', 'opens', 'Everything right.', (parts) => (parts.suite = 'x25519'));
await vector('p256', 'opens', 'Everything right.', (parts) => (parts.suite = 'p256'));
await vector('mlkem768-x25519', 'opens', 'Everything right.', (parts) => (parts.suite = 'mlkem768-x25519'));
await vector('names-empty', 'proof-invalid', 'An empty tenant.', (parts) => (parts.tenant = ''));
await vector('names-long', 'proof-invalid', 'A key name of 65 bytes.', (parts) => (parts.keyName = 'k'.repeat(65)));
await vector('purpose-upper-case', 'proof-invalid', 'A purpose with a capital.', (parts) => (parts.purpose = 'Release'));
await vector('nonce-short', 'proof-invalid', 'A nonce of 31 bytes.', (parts) => (parts.nonce = Buffer.alloc(31, 3)));
await vector('request-other-signer', 'request-refused', 'Another session key signed the request.', (parts) => (parts.requestSignerSeed = Buffer.alloc(32, 0x77)));
await vector('request-label', 'request-refused', 'The request is signed under another label.', (parts) => (parts.requestLabel = 'caisson request v2\0'));
await vector('report-label', 'request-refused', 'The report data has another label.', (parts) => (parts.reportLabel = 'caisson report data v2\0'));
await vector('answer-other-signer', 'broker-untrusted', 'Another broker signed the answer.', (parts) => (parts.signerSeed = Buffer.alloc(32, 0x66)));
await vector('answer-other-broker', 'broker-untrusted', 'The public key is not that of the broker id.', (parts) => (parts.late = (json) => (json.brokerPublicKey = hex(publicOf(Buffer.alloc(32, 0x66))))));
await vector('answer-by-another-broker', 'broker-untrusted', 'Signed by another broker, with the public key of that one.', (parts) => {
  parts.signerSeed = Buffer.alloc(32, 0x66);
  parts.late = (json) => (json.brokerPublicKey = hex(publicOf(Buffer.alloc(32, 0x66))));
});
await vector('names-of-64', 'opens', 'Tenant and key name as long as they may be.', (parts) => (parts.tenant = parts.keyName = 'n'.repeat(64)));
await vector('answer-label', 'broker-untrusted', 'The answer is signed under another label.', (parts) => (parts.answerLabel = 'caisson answer v2\0'));
await vector('answer-other-request-signed', 'broker-untrusted', 'The signature is of an answer to another request.', (parts) => (parts.signedDigest = flipped));
await vector('answer-other-request-sealed', 'broker-untrusted', 'Sealed for another request, and signed as if for this one.', (parts) => (parts.sealedDigest = flipped));
await vector('answer-info-label', 'broker-untrusted', 'Sealed under another label.', (parts) => (parts.infoLabel = 'caisson envelope v2\0'));
await vector('answer-encapsulated', 'broker-untrusted', 'A byte of the encapsulated secret differs.', (parts) => (parts.changeEncapsulated = flipped));
await vector('answer-encapsulated-zero', 'broker-untrusted', 'The point of order one in place of an ephemeral key.', (parts) => (parts.changeEncapsulated = (bytes) => Buffer.alloc(bytes.length)));
await vector('answer-encapsulated-long', 'broker-untrusted', 'One byte more than the suite has.', (parts) => (parts.changeEncapsulated = (bytes) => Buffer.concat([bytes, Buffer.alloc(1)])));
await vector('answer-tag', 'broker-untrusted', 'A byte of the tag differs.', (parts) => (parts.changeCiphertext = flipped));
await vector('answer-cut', 'broker-untrusted', 'A ciphertext shorter than its tag.', (parts) => (parts.changeCiphertext = (bytes) => bytes.subarray(0, 15)));
await vector('answer-cut-late', 'broker-untrusted', 'The last byte of the ciphertext is cut off on the way.', (parts) => (parts.late = (json) => (json.envelope['ciphertext'] = json.envelope['ciphertext']!.substring(2))));
await vector('mlkem-encapsulated', 'broker-untrusted', 'A byte of the post-quantum part differs.', (parts) => {
  parts.suite = 'mlkem768-x25519';
  parts.changeEncapsulated = (bytes) => Buffer.concat([flipped(bytes.subarray(0, 1088)), bytes.subarray(1088)]);
});
await vector('mlkem-classic-part', 'broker-untrusted', 'A byte of the X25519 part differs.', (parts) => {
  parts.suite = 'mlkem768-x25519';
  parts.changeEncapsulated = flipped;
});
for (const field of ['nonce', 'evidenceDigest', 'bodyDigest', 'brokerId', 'sessionPublicKey', 'recipientPublicKey'])
  await vector(`other-${field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`, 'request-refused', `The ${field} of the statement is another one.`, (parts) => (parts.late = (json) => (json.statement[field] = hex(flipped(Buffer.from(json.statement[field]!, 'hex'))))));
for (const field of ['tenant', 'keyName', 'purpose'])
  await vector(`other-${field.replace('N', '-n')}`, 'request-refused', `The ${field} of the statement is another one.`, (parts) => (parts.late = (json) => (json.statement[field] += 'x')));

async function vector(name: string, expect: string, comment: string, change: (parts: Parts) => unknown): Promise<void> {
  const file = new URL(`${name}.json`, import.meta.url);
  if (existsSync(file)) return;
  const parts = rightParts();
  change(parts);
  const recipient = recipientKey(parts.suite);
  const session = publicOf(parts.sessionSeed);
  const brokerPublicKey = publicOf(parts.brokerSeed);
  const suite = u16le(kemNumbers[parts.suite]);
  const reportData = crypto.createHash('sha512').update(Buffer.concat([Buffer.from(parts.reportLabel), block(parts.purpose), block(parts.nonce), suite, block(recipient.publicKey), block(session)])).digest();
  const brokerId = sha256(Buffer.from('caisson broker id v1\0'), brokerPublicKey);
  const statementBytes = Buffer.concat([Buffer.from(parts.requestLabel), block(parts.purpose), brokerId, block(parts.tenant), block(parts.keyName), reportData, parts.evidenceDigest, parts.bodyDigest]);
  const digest = sha256(statementBytes);
  const plaintext = Buffer.from('a key of thirty-two bytes or so!');
  const info = Buffer.concat([Buffer.from(parts.infoLabel), parts.sealedDigest(digest)]);
  const sealed = hpkeSeal(parts.suite, recipient.publicKey, info, plaintext);
  const encapsulated = parts.changeEncapsulated(sealed.encapsulated);
  const ciphertext = parts.changeCiphertext(sealed.ciphertext);
  const signed = Buffer.concat([Buffer.from(parts.answerLabel), parts.signedDigest(digest), suite, block(encapsulated), block(ciphertext)]);
  const json: VectorJson = {
    comment,
    expect,
    statement: {
      purpose: parts.purpose,
      brokerId: hex(brokerId),
      tenant: parts.tenant,
      keyName: parts.keyName,
      nonce: hex(parts.nonce),
      suite: parts.suite,
      recipientPublicKey: hex(recipient.publicKey),
      sessionPublicKey: hex(session),
      evidenceDigest: hex(parts.evidenceDigest),
      bodyDigest: hex(parts.bodyDigest),
    },
    reportData: hex(reportData),
    requestDigest: hex(digest),
    requestSignature: hex(signature(parts.requestSignerSeed, statementBytes)),
    recipientPrivateKey: hex(recipient.privateKey),
    brokerPublicKey: hex(brokerPublicKey),
    envelope: { suite: parts.suite, encapsulated: hex(encapsulated), ciphertext: hex(ciphertext), signature: hex(signature(parts.signerSeed, signed)) },
    plaintext: hex(plaintext),
  };
  parts.late(json);
  writeFileSync(file, `${JSON.stringify(json, null, 2)}\n`);
}

function rightParts(): Parts {
  const same = (bytes: Buffer): Buffer => bytes;
  return {
    suite: 'x25519',
    purpose: 'release',
    brokerSeed: Buffer.alloc(32, 0xb0),
    signerSeed: Buffer.alloc(32, 0xb0),
    tenant: 'acme',
    keyName: 'database',
    nonce: Buffer.alloc(32, 0x0a),
    sessionSeed: Buffer.alloc(32, 0x5e),
    requestSignerSeed: Buffer.alloc(32, 0x5e),
    evidenceDigest: Buffer.alloc(32, 0xe1),
    bodyDigest: Buffer.alloc(32, 0xbd),
    infoLabel: 'caisson envelope v1\0',
    answerLabel: 'caisson answer v1\0',
    requestLabel: 'caisson request v1\0',
    reportLabel: 'caisson report data v1\0',
    sealedDigest: same,
    signedDigest: same,
    changeEncapsulated: same,
    changeCiphertext: same,
    late: () => undefined,
  };
}

// HPKE, base mode, one message

function hpkeSeal(suite: Suite, publicKey: Buffer, info: Buffer, plaintext: Buffer): { encapsulated: Buffer; ciphertext: Buffer } {
  const { encapsulated, secret } = suite === 'mlkem768-x25519' ? encapsulateHybrid(publicKey) : encapsulate(suite, publicKey);
  const id = Buffer.concat([Buffer.from('HPKE'), u16be(kemNumbers[suite]), u16be(1), u16be(2)]);
  const none = Buffer.alloc(0);
  const context = Buffer.concat([Buffer.of(0), labeledExtract(id, none, 'psk_id_hash', none), labeledExtract(id, none, 'info_hash', info)]);
  const prk = labeledExtract(id, secret, 'secret', none);
  const key = labeledExpand(id, prk, 'key', context, 32);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, labeledExpand(id, prk, 'base_nonce', context, 12));
  return { encapsulated, ciphertext: Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]) };
}

function encapsulate(suite: 'x25519' | 'p256', publicKey: Buffer): { encapsulated: Buffer; secret: Buffer } {
  const { encapsulated, shared } = suite === 'x25519' ? agreeX25519(publicKey) : agreeP256(publicKey);
  const id = Buffer.concat([Buffer.from('KEM'), u16be(kemNumbers[suite])]);
  const prk = labeledExtract(id, Buffer.alloc(0), 'eae_prk', shared);
  return { encapsulated, secret: labeledExpand(id, prk, 'shared_secret', Buffer.concat([encapsulated, publicKey]), 32) };
}

function agreeX25519(publicKey: Buffer): { encapsulated: Buffer; shared: Buffer } {
  const ephemeral = x25519Private(Buffer.alloc(32, 0xee));
  return { encapsulated: x25519Raw(ephemeral), shared: crypto.diffieHellman({ privateKey: ephemeral, publicKey: x25519Public(publicKey) }) };
}

function agreeP256(publicKey: Buffer): { encapsulated: Buffer; shared: Buffer } {
  const ephemeral = crypto.createECDH('prime256v1');
  ephemeral.setPrivateKey(Buffer.alloc(32, 0xee));
  return { encapsulated: ephemeral.getPublicKey(), shared: ephemeral.computeSecret(publicKey) };
}

function encapsulateHybrid(publicKey: Buffer): { encapsulated: Buffer; secret: Buffer } {
  const classicPublic = publicKey.subarray(1184);
  const lattice = crypto.createPublicKey({ key: Buffer.concat([Buffer.from(latticePrefix, 'hex'), publicKey.subarray(0, 1184)]), format: 'der', type: 'spki' });
  const { sharedKey, ciphertext } = crypto.encapsulate(lattice);
  const classic = agreeX25519(classicPublic);
  const secret = crypto.createHash('sha3-256').update(Buffer.concat([sharedKey, classic.shared, classic.encapsulated, classicPublic, Buffer.from('\\.//^\\')])).digest();
  return { encapsulated: Buffer.concat([ciphertext, classic.encapsulated]), secret };
}

function recipientKey(suite: Suite): { privateKey: Buffer; publicKey: Buffer } {
  const privateKey = Buffer.alloc(32, 0x1c);
  if (suite === 'x25519') return { privateKey, publicKey: x25519Raw(x25519Private(privateKey)) };
  if (suite === 'p256') {
    const key = crypto.createECDH('prime256v1');
    key.setPrivateKey(privateKey);
    return { privateKey, publicKey: key.getPublicKey() };
  }
  const expanded = crypto.createHash('shake256', { outputLength: 96 }).update(privateKey).digest();
  const lattice = crypto.createPrivateKey({ key: Buffer.concat([Buffer.from('3054020100300b060960864801650304040204428040', 'hex'), expanded.subarray(0, 64)]), format: 'der', type: 'pkcs8' });
  const pub = crypto.createPublicKey(lattice).export({ format: 'der', type: 'spki' }).subarray(latticePrefix.length / 2);
  return { privateKey, publicKey: Buffer.concat([pub, x25519Raw(x25519Private(expanded.subarray(64)))]) };
}

function labeledExtract(id: Buffer, salt: Buffer, label: string, ikm: Buffer): Buffer {
  return crypto.createHmac('sha256', salt).update(Buffer.concat([Buffer.from('HPKE-v1'), id, Buffer.from(label), ikm])).digest();
}

/** At most 32 bytes: one round of HKDF-Expand. */
function labeledExpand(id: Buffer, prk: Buffer, label: string, info: Buffer, length: number): Buffer {
  const input = Buffer.concat([u16be(length), Buffer.from('HPKE-v1'), id, Buffer.from(label), info, Buffer.of(1)]);
  return crypto.createHmac('sha256', prk).update(input).digest().subarray(0, length);
}

function x25519Private(raw: Buffer): crypto.KeyObject {
  return crypto.createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), raw]), format: 'der', type: 'pkcs8' });
}

function x25519Public(raw: Buffer): crypto.KeyObject {
  return crypto.createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), raw]), format: 'der', type: 'spki' });
}

function x25519Raw(key: crypto.KeyObject): Buffer {
  return crypto.createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(12);
}

function signingKey(seed: Buffer): crypto.KeyObject {
  return crypto.createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8' });
}

function publicOf(seed: Buffer): Buffer {
  return crypto.createPublicKey(signingKey(seed)).export({ format: 'der', type: 'spki' }).subarray(12);
}

function signature(seed: Buffer, bytes: Buffer): Buffer {
  return crypto.sign(null, bytes, signingKey(seed));
}

function sha256(...parts: Buffer[]): Buffer {
  return crypto.createHash('sha256').update(Buffer.concat(parts)).digest();
}

function block(value: Buffer | string): Buffer {
  const bytes = Buffer.from(value as string);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function u16le(value: number): Buffer {
  return Buffer.of(value & 255, value >> 8);
}

function u16be(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255);
}

/** The last byte differs in one bit. */
function flipped(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  changed[changed.length - 1]! ^= 1;
  return changed;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
