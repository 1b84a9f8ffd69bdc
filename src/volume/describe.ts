/** What a volume shows about itself to people. */
import { readKeyringSlots } from '../keys/keyring.ts';
import { toHex } from '../lib/hex.ts';
import type { DecodedManifest } from '../manifest/manifest-format.ts';
import { manifestVersion } from '../manifest/manifest-format.ts';
import type { VolumeCore } from './volume-core.ts';
import type { KeySlotInfo, Protection, PublicVolumeInfo } from './volume-types.ts';

export function keySlotsOf(keyring: Uint8Array): KeySlotInfo[] {
  return readKeyringSlots(keyring).map(({ id, kind, cost }) => ({
    slot: id,
    kind,
    description:
      cost === undefined ? kind : `${kind}, Argon2id ${cost.memoryKibibytes / 1024} MiB, ${cost.passes} passes`,
  }));
}

export function publicInfoOf(core: VolumeCore): PublicVolumeInfo {
  const { count, bytes } = core.table.totals();
  return {
    volumeId: toHex(core.volumeId),
    formatVersion: manifestVersion,
    protection: core.protection,
    epoch: core.epoch,
    manifestNumber: core.published.number,
    manifestDigest: toHex(core.published.digest),
    writerKey: toHex(core.signingKey.publicKey),
    objectCount: count,
    objectBytes: bytes,
    keySlots: keySlotsOf(core.keyring.encode()),
  };
}

/** The same from a manifest that was checked, without any key. */
export function publicInfoFrom(
  manifest: DecodedManifest,
  digest: Uint8Array,
  objects: { readonly count: number; readonly bytes: number },
): PublicVolumeInfo {
  return {
    volumeId: toHex(manifest.volumeId),
    formatVersion: manifestVersion,
    protection: protectionOf(manifest),
    epoch: manifest.epoch,
    manifestNumber: manifest.number,
    manifestDigest: toHex(digest),
    writerKey: toHex(manifest.writerKey),
    objectCount: objects.count,
    objectBytes: objects.bytes,
    // An erased volume has no keyring.
    keySlots: manifest.keyring.length === 0 ? [] : keySlotsOf(manifest.keyring),
  };
}

export function protectionOf(manifest: DecodedManifest): Protection {
  return manifest.protection === 1 ? 'sealed' : 'none';
}
