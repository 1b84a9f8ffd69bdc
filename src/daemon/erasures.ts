/**
 * `eraseVolume` and `checkReceipt`. A receipt on disk is JSON; what counts in it is the signed manifest, and the
 * other fields must say the same (docs/erase.md).
 */
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { EraseReceiptAnswer } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import { receiptFileBytesMax } from '../lib/limits.ts';
import type { OperationsContext } from './operations-context.ts';
import { readSmallFile } from './small-files.ts';
import type { VolumeAccess } from './volume-access.ts';
import { bytesOfId, receiptAnswer } from './volume-details.ts';

const noKey = { kind: 'none' } as const;
const receiptFormat = 'caisson-erase-receipt';
const receiptVersion = 1;

export async function eraseVolume(
  { parts }: OperationsContext,
  volumes: VolumeAccess,
  request: OperationRequest<'eraseVolume'>,
  onProgress: OperationProgress | undefined,
): Promise<OperationResponse<'eraseVolume'>> {
  const { name, credential, keepObjects, acceptMissingAnchor } = request;
  volumes.refuseHeld(name, 'erased');
  const options = { keepObjects, acceptMissingAnchor, ...(onProgress === undefined ? {} : { onProgress }) };
  const receipt = await volumes.withStore(name, async ({ engine, environment, volumeId }) => {
    // What an interrupted erasure left over is removed without a key: none opens it any more.
    const begun = await engine.readReceipt(environment, volumeId);
    const keySource = begun === undefined ? await volumes.keySource(name, credential) : await parts.keySource(noKey);
    return engine.eraseVolume(environment, { ...options, volumeId, keySource });
  });
  return { ...receiptAnswer(receipt), removedObjects: receipt.removedObjects };
}

/** Needs neither store nor key nor anchor. */
export async function checkReceipt(
  { parts }: OperationsContext,
  { file, volumeId }: OperationRequest<'checkReceipt'>,
): Promise<EraseReceiptAnswer> {
  const stated = readReceiptFile(file);
  const engine = await parts.engine();
  const proved = receiptAnswer(
    engine.checkReceipt(new Uint8Array(Buffer.from(stated.manifest, 'base64')), bytesOfId(stated.volumeId)),
  );
  for (const [field, value] of Object.entries(proved)) {
    if (stated[field] === value) continue;
    throw new CaissonError(
      'integrity',
      'manifest-tampered',
      `${file}: its ${field} is not what the signed manifest in it says`,
      { remedy: 'Somebody changed it: do not rely on it. Take the receipt from the store again.', details: { field } },
    );
  }
  if (volumeId === undefined || volumeId === proved.volumeId) return proved;
  throw new CaissonError('integrity', 'manifest-tampered', `${file} is the receipt of another volume`, {
    remedy: `It is the receipt of volume ${proved.volumeId}.`,
    details: { volumeId: proved.volumeId },
  });
}

function readReceiptFile(file: string): { volumeId: string; manifest: string; [field: string]: unknown } {
  const text = readSmallFile(file, receiptFileBytesMax);
  if (text === undefined) {
    throw new CaissonError('invalid', 'object-missing', `there is no ${file}`, {
      remedy: 'Check the path given with --receipt.',
      details: { path: file },
    });
  }
  const receipt = parseJson(text);
  const { format, version, volumeId, manifest } = receipt ?? {};
  if (format !== receiptFormat || typeof volumeId !== 'string' || typeof manifest !== 'string') throw noReceipt(file);
  if (version !== receiptVersion) {
    throw new CaissonError('invalid', 'format-version', `${file} is a receipt of another version of Caisson`);
  }
  if (!/^[0-9a-f]{32}$/.test(volumeId)) throw noReceipt(file);
  return { ...receipt, volumeId, manifest };
}

function parseJson(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function noReceipt(file: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `${file} is not the receipt of an erasure`, {
    remedy: 'Give the file that "caisson volume erase --receipt FILE" wrote.',
    details: { path: file },
  });
}
