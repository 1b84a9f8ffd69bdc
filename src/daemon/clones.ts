/** `cloneVolume`: a new volume in the same store that starts from this one or from a snapshot of it, with a name here. */
import type { OperationRequest } from '../admin/operations.ts';
import type { KeyHint, VolumeDetails } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import { anchorOfEntry } from './anchors.ts';
import { credentialOfEntry, hintOf } from './credentials.ts';
import { nameOrRemove } from './name-or-remove.ts';
import type { OperationsContext } from './operations-context.ts';
import { lineageOf } from './relatives.ts';
import type { VolumeAccess } from './volume-access.ts';
import { bytesOfId, detailsOf } from './volume-details.ts';

export async function cloneVolume(
  { parts, names }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, newName, snapshot, newCredential, key }: OperationRequest<'cloneVolume'>,
): Promise<VolumeDetails> {
  const parent = names.find(name);
  names.checkFree(newName);
  const engine = await parts.engine();
  // A parent that is open here needs no key, but a clone does.
  const own = newCredential ?? credential ?? (await credentialOfEntry(parts, name, parent));
  const keySource = await parts.keySource(own);
  return volumes.use(name, credential, async (volume, entry, { environment }) => {
    if (volume.info().protection === 'none' && own.kind !== 'none') throw unprotected(name);
    // In the same hands there is nothing to keep from each other, and the parent's key can stay.
    const isolate = newCredential !== undefined;
    const options = { keySource, isolate, ...(snapshot === undefined ? {} : { snapshot }) };
    const info = await volume.clone(options);
    const volumeId = bytesOfId(info.volumeId);
    const hint: KeyHint = key ?? (newCredential === undefined ? entry.key : hintOf(own));
    // Its first state went where an environment sends volumes that no name leads to.
    const anchor = anchorOfEntry(parts.configuration.anchor);
    const cloneEntry = { store: entry.store, volumeId: info.volumeId, key: hint, ...anchor };
    await nameOrRemove(names, newName, cloneEntry, () => engine.removeVolume(environment, volumeId));
    const lineage = lineageOf(names, await engine.inspectVolume(environment, volumeId));
    return { ...detailsOf(newName, cloneEntry, info, false), lineage };
  });
}

function unprotected(name: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `${name} has no protection, and neither has a clone of it`, {
    remedy: 'Leave the key of the clone out, or make a sealed copy with "caisson volume copy".',
    details: { name },
  });
}
