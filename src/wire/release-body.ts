/** The body digest of a release: the members of the request that no other part of the statement names (spec/broker-http.md). */
import canonicalize from 'canonicalize';
import { sha256 } from '../crypto/digest.ts';
import { toHex } from '../lib/hex.ts';

export interface ReleaseBody {
  readonly volumeId?: Uint8Array | undefined;
  /** The session shall advance anchors, which the policy must allow. */
  readonly anchors?: true | undefined;
  readonly create?: { readonly policy: string } | undefined;
}

export function releaseBodyDigest({ volumeId, anchors, create }: ReleaseBody): Uint8Array {
  const members = {
    ...(anchors === undefined ? {} : { anchors }),
    ...(create === undefined ? {} : { create: { policy: create.policy } }),
    ...(volumeId === undefined ? {} : { volumeId: toHex(volumeId) }),
  };
  return sha256(new TextEncoder().encode(canonicalize(members)));
}
