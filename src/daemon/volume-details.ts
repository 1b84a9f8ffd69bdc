/** What operations on volumes share: their answer about a volume, and closing what they opened. */
import type { EraseReceiptAnswer, VolumeDetails, VolumeSpace } from '../admin/schema.ts';
import type { Store } from '../store/store.ts';
import type { Durability, EraseReceipt, PublicVolumeInfo, Volume, VolumeInfo } from '../volume/volume-types.ts';
import type { VolumeEntry } from './volume-names.ts';

export function detailsOf(
  name: string,
  entry: VolumeEntry,
  info: PublicVolumeInfo | VolumeInfo,
  open: boolean,
): VolumeDetails {
  const {
    volumeId,
    formatVersion,
    protection,
    epoch,
    manifestNumber,
    manifestDigest,
    writerKey,
    objectCount,
    objectBytes,
  } = info;
  return {
    name,
    store: entry.store,
    open,
    public: {
      volumeId,
      formatVersion,
      protection,
      epoch,
      manifestNumber,
      manifestDigest,
      writerKey,
      objectCount,
      objectBytes,
      keySlots: info.keySlots.map(({ slot, kind, description }) => ({ slot, kind, description })),
    },
    sealed: 'size' in info ? sealedDetails(info) : null,
  };
}

function sealedDetails(info: VolumeInfo): NonNullable<VolumeDetails['sealed']> {
  const { size, durability, readOnly, sealer, spoolBytes, anchoredSequence, sequence, keyEpoch, recovery } = info;
  return {
    size,
    durability,
    readOnly,
    latched: info.latched ?? null,
    sealer,
    spoolBytes,
    anchoredSequence,
    sequence,
    keyEpoch,
    recovery: { ...recovery },
  };
}

export function spaceOf(volume: Volume): VolumeSpace {
  const { rekey, ...space } = volume.housekeeping();
  return { ...space, rekey: rekey === undefined ? null : { ...rekey } };
}

/** A failure to close is reported, unless the work itself failed first. */
export async function closing<Value>(close: () => Promise<void>, act: () => Promise<Value>): Promise<Value> {
  let value: Value;
  try {
    value = await act();
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
  await close();
  return value;
}

export function bytesOfId(volumeId: string): Uint8Array {
  return new Uint8Array(Buffer.from(volumeId, 'hex'));
}

/** On a store of another machine nothing counts as written before it is there; on this one `local` means the same. */
export function defaultDurability({ isRemote }: Pick<Store, 'isRemote'>): Durability {
  return isRemote ? 'remote' : 'local';
}

export function receiptAnswer(receipt: EraseReceipt): EraseReceiptAnswer {
  const { volumeId, manifestNumber, manifestDigest, epoch, time, writerKey, manifest } = receipt;
  return {
    ...{ volumeId, manifestNumber, manifestDigest, epoch, time, writerKey },
    manifest: Buffer.from(manifest).toString('base64'),
  };
}
