/** Operations on capabilities that take the volume's own key, or the right over all of it: minting and revoking. */
import type { OperationRequest, OperationResponse } from '../admin/operations.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex } from '../lib/hex.ts';
import { capabilityRights, capabilityToText, holderKeyBytes, snapshotIdBytes } from '../wire/capability-format.ts';
import { brokerUrlOf, openEpochs } from './broker-epochs.ts';
import { isHashedEntry } from './hashed-entry.ts';
import type { OperationsContext } from './operations-context.ts';
import { hashedRefusal } from './served-volume.ts';
import type { VolumeAccess } from './volume-access.ts';

export async function mintCapability(
  { folders, names }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, grant }: OperationRequest<'mintCapability'>,
): Promise<OperationResponse<'mintCapability'>> {
  const { length, rights, snapshot, ...rest } = grant;
  const kept = snapshot === undefined ? undefined : fromHex(snapshot, snapshotIdBytes);
  const holder = fromHex(grant.holder, holderKeyBytes);
  if (holder === undefined) throw new CaissonError('invalid', 'argument-invalid', 'the holder is not a public key');
  const epochs = openEpochs(folders, names);
  const wanted = new Set(capabilityRights.filter((right) => rights.includes(right)));
  return volumes.use(
    name,
    credential,
    async (volume) => {
      // Asked now: of an epoch that was raised meanwhile no token would hold.
      await epochs.refresh(volume.id);
      const epoch = epochs.of(volume.id);
      const token = volume.mintCapability(epoch, { ...rest, length, rights: wanted, holder, snapshot: kept });
      return { token: capabilityToText(token) };
    },
    true,
  );
}

export async function revoke(
  { folders, names, daemon }: OperationsContext,
  name: string,
): Promise<OperationResponse<'revokeCapabilities'>> {
  const entry = names.find(name);
  if (isHashedEntry(entry)) throw hashedRefusal(name);
  const { volumeId } = entry;
  const raising = openEpochs(folders, names).raise(volumeId);
  // The file is raised by now: what is served here does not wait for a broker.
  const ended = daemon?.capabilities?.check() ?? 0;
  const { epoch, isTold } = await raising;
  const isOfBroker = brokerUrlOf(entry) !== undefined;
  return { name, volumeId, epoch, ended, ...(isOfBroker ? { brokerTold: isTold } : {}) };
}
