/**
 * Envelope: an answer that only the workload of one request can read, and that only its broker can
 * have written (spec/broker-api.md, "Envelope"). HPKE in base mode to the recipient key that the
 * evidence names, info = label and request digest, then an Ed25519 signature of the broker over both.
 */
import { CipherSuite, KEM_DHKEM_P256_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256, KEM_MLKEM768_X25519 } from 'hpke';
import type { Key } from 'hpke';
import { equalBytes } from '../crypto/digest.ts';
import { publicKeyBytes, verifySignature } from '../crypto/signature.ts';
import type { SigningKey } from '../crypto/signature.ts';
import { assert } from '../lib/assert.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';
import { envelopePlaintextBytesMax } from '../lib/limits.ts';
import { suiteTable } from './envelope-suites.ts';
import type { EnvelopeSuite } from './envelope-suites.ts';
import { aes256Gcm, hkdfSha256 } from './hpke-parts.ts';
import { brokerIdFromPublicKey, requestDigest } from './request-statement.ts';
import type { RequestStatement } from './request-statement.ts';

const encoder = new TextEncoder();
const envelopeLabel = encoder.encode('caisson envelope v1\0');
const answerLabel = encoder.encode('caisson answer v1\0');
const tagBytes = 16;

/** They hold no state of a message, so one of each is enough. */
const hpkeOf: Readonly<Record<EnvelopeSuite, CipherSuite>> = {
  'mlkem768-x25519': new CipherSuite(KEM_MLKEM768_X25519, hkdfSha256, aes256Gcm),
  x25519: new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, hkdfSha256, aes256Gcm),
  p256: new CipherSuite(KEM_DHKEM_P256_HKDF_SHA256, hkdfSha256, aes256Gcm),
};

export interface Envelope {
  readonly suite: EnvelopeSuite;
  readonly encapsulated: Uint8Array;
  readonly ciphertext: Uint8Array;
  /** Of the broker. */
  readonly signature: Uint8Array;
}

/** The private half of a recipient key; it never leaves the object that opens envelopes with it. */
export interface Recipient {
  readonly suite: EnvelopeSuite;
  readonly publicKey: Uint8Array;
  /** `broker-untrusted` unless `brokerPublicKey` has the statement's broker id and made this answer to this request. */
  open(envelope: Envelope, statement: RequestStatement, brokerPublicKey: Uint8Array): Promise<Uint8Array>;
}

export async function generateRecipient(suite: EnvelopeSuite): Promise<Recipient> {
  const hpke = hpkeOf[suite];
  const { publicKey, privateKey } = await hpke.GenerateKeyPair();
  return await recipientOf(suite, hpke, publicKey, privateKey);
}

/** From the serialized private key of HPKE: the seed of the hybrid suite, the scalar of the others. */
export async function recipientFromPrivateKey(
  suite: EnvelopeSuite,
  privateKey: Uint8Array,
  publicKey: Uint8Array,
): Promise<Recipient> {
  const hpke = hpkeOf[suite];
  const keys = [await hpke.DeserializePublicKey(publicKey), await hpke.DeserializePrivateKey(privateKey)] as const;
  return await recipientOf(suite, hpke, ...keys);
}

/** Seals to the recipient key of the statement. `proof-invalid` where that is no key of its suite. */
export async function sealEnvelope(
  plaintext: Uint8Array,
  statement: RequestStatement,
  brokerKey: SigningKey,
): Promise<Envelope> {
  assert(plaintext.length <= envelopePlaintextBytesMax, `an answer of ${plaintext.length} bytes fits no envelope`);
  const digest = requestDigest(statement);
  const sealed = await hpkeSealed(plaintext, statement, digest);
  return { ...sealed, signature: brokerKey.sign(signedBytes(digest, sealed)) };
}

async function hpkeSealed(
  plaintext: Uint8Array,
  { suite, recipientPublicKey }: RequestStatement,
  digest: Uint8Array,
): Promise<Omit<Envelope, 'signature'>> {
  const hpke = hpkeOf[suite];
  try {
    const publicKey = await hpke.DeserializePublicKey(recipientPublicKey);
    const { encapsulatedSecret, ciphertext } = await hpke.Seal(publicKey, plaintext, { info: infoOf(digest) });
    return { suite, encapsulated: encapsulatedSecret, ciphertext };
  } catch (cause) {
    throw new CaissonError('denied', 'proof-invalid', `the recipient public key is no key of suite ${suite}`, {
      cause,
    });
  }
}

async function recipientOf(
  suite: EnvelopeSuite,
  hpke: CipherSuite,
  publicKey: Key,
  privateKey: Key,
): Promise<Recipient> {
  return {
    suite,
    publicKey: await hpke.SerializePublicKey(publicKey),
    async open(envelope, statement, brokerPublicKey) {
      const digest = requestDigest(statement);
      checkAnswer(envelope, statement, digest, brokerPublicKey);
      try {
        return await hpke.Open({ publicKey, privateKey }, envelope.encapsulated, envelope.ciphertext, {
          info: infoOf(digest),
        });
      } catch (cause) {
        throw untrusted('the answer is not sealed to the key of this request', cause);
      }
    },
  };
}

function checkAnswer(
  envelope: Envelope,
  statement: RequestStatement,
  digest: Uint8Array,
  brokerPublicKey: Uint8Array,
): void {
  const isKnown =
    brokerPublicKey.length === publicKeyBytes && equalBytes(brokerIdFromPublicKey(brokerPublicKey), statement.brokerId);
  if (!isKnown) throw untrusted('the answer comes from another broker than the one that was asked');
  if (envelope.suite !== statement.suite) throw untrusted('the answer is of another suite than the request');
  const { encapsulatedBytes } = suiteTable[envelope.suite];
  const lengthMax = envelopePlaintextBytesMax + tagBytes;
  if (envelope.encapsulated.length !== encapsulatedBytes || envelope.ciphertext.length > lengthMax)
    throw untrusted('the answer has lengths that its suite does not have');
  if (!verifySignature(brokerPublicKey, signedBytes(digest, envelope), envelope.signature))
    throw untrusted('the answer is not signed by the broker for this request');
}

function signedBytes(digest: Uint8Array, envelope: Omit<Envelope, 'signature'>): Uint8Array {
  return new ByteWriter()
    .bytes(answerLabel)
    .bytes(digest)
    .u16(suiteTable[envelope.suite].kem)
    .block(envelope.encapsulated)
    .block(envelope.ciphertext)
    .finish();
}

function infoOf(digest: Uint8Array): Uint8Array {
  return new ByteWriter().bytes(envelopeLabel).bytes(digest).finish();
}

function untrusted(message: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'broker-untrusted', message, {
    remedy: 'Ask again; if it stays, somebody on the way answers in place of the broker.',
    ...(cause === undefined ? {} : { cause }),
  });
}
