/** Operations on capabilities that take the volume's own key, or the right over all of it: minting and revoking. */
import type { OperationRequest, OperationResponse } from '../admin/operations.ts';
import { CaissonError } from '../lib/errors.ts';
import { fromHex } from '../lib/hex.ts';
import { capabilityRights, capabilityToText, holderKeyBytes } from '../wire/capability-format.ts';
import { CapabilityEpochs } from './capability-epochs.ts';
import { isHashedEntry } from './hashed-entry.ts';
import type { OperationsContext } from './operations-context.ts';
import { hashedRefusal } from './served-volume.ts';
import type { VolumeAccess } from './volume-access.ts';

export async function mintCapability(
  { folders }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, grant }: OperationRequest<'mintCapability'>,
): Promise<OperationResponse<'mintCapability'>> {
  const { length, rights, ...rest } = grant;
  const holder = fromHex(grant.holder, holderKeyBytes);
  if (holder === undefined) throw new CaissonError('invalid', 'argument-invalid', 'the holder is not a public key');
  const wanted = new Set(capabilityRights.filter((right) => rights.includes(right)));
  return volumes.use(
    name,
    credential,
    async (volume) => {
      const epoch = new CapabilityEpochs(folders).of(volume.id);
      const token = volume.mintCapability(epoch, { ...rest, length, rights: wanted, holder });
      return { token: capabilityToText(token) };
    },
    true,
  );
}

export function revoke(
  { folders, names, daemon }: OperationsContext,
  name: string,
): OperationResponse<'revokeCapabilities'> {
  const entry = names.find(name);
  if (isHashedEntry(entry)) throw hashedRefusal(name);
  const epoch = new CapabilityEpochs(folders).raise(entry.volumeId);
  return { name, volumeId: entry.volumeId, epoch, ended: daemon?.capabilities?.check() ?? 0 };
}
