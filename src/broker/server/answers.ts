/** Answers as JSON: ids, digests and nonces in hexadecimal, other bytes in base64 (spec/broker-http.md). */
import type { AnchorState } from '../../anchor/anchor.ts';
import { toHex } from '../../lib/hex.ts';
import type { BrokerKeys } from '../release/broker-keys.ts';
import type { ReleaseAnswer, ReleaseService } from '../release/release.ts';

export function challengeJson(
  { nonce, expiresAt, credential }: Awaited<ReturnType<ReleaseService['challenge']>>,
  { brokerId, signing }: BrokerKeys,
): object {
  return {
    nonce: toHex(nonce),
    expiresAt,
    brokerId: toHex(brokerId),
    brokerPublicKey: toHex(signing.publicKey),
    ...(credential === undefined
      ? {}
      : { credential: { blob: toBase64(credential.blob), secret: toBase64(credential.secret) } }),
  };
}

export function releaseJson({ envelope, logIndex }: ReleaseAnswer, { signing }: BrokerKeys): object {
  const { suite, encapsulated, ciphertext, signature } = envelope;
  return {
    envelope: {
      suite,
      encapsulated: toBase64(encapsulated),
      ciphertext: toBase64(ciphertext),
      signature: toHex(signature),
    },
    brokerPublicKey: toHex(signing.publicKey),
    logIndex,
  };
}

export function anchorStateJson(state: AnchorState): object {
  const { volumeId, epoch, manifestNumber, manifestDigest, sequence, chain } = state;
  return {
    ...{ epoch, manifestNumber, sequence },
    ...{ volumeId: toHex(volumeId), manifestDigest: toHex(manifestDigest), chain: toHex(chain) },
  };
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
