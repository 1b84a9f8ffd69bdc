/**
 * The head of the log in an NV index of a TPM: it stays with the machine when its disks are put back.
 * Whoever is root on the machine can change it; it tells accidents and storage operators, not root.
 */
import { CaissonError } from '../../lib/errors.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { equalBytes } from '../../crypto/digest.ts';
import { tpmHeadMillisecondsMin } from '../../lib/limits.ts';
import { NvAttribute } from '../../tpm/tpm-constants.ts';
import { nvDefine, nvRead, nvReadPublic, nvWrite } from '../../tpm/tpm-nv.ts';
import { withTpm } from '../../tpm/tpm.ts';
import type { Tpm, TpmOptions } from '../../tpm/tpm.ts';
import { checkHeadAdvance, headTampered } from './log-head-anchor.ts';
import type { LogHead, LogHeadAnchor } from './log-head-anchor.ts';

const magic = new TextEncoder().encode('CSNLOGH1');
const logIdPrefixBytes = 16;
const contentBytes = 64;
const attributes =
  NvAttribute.ownerWrite | NvAttribute.ownerRead | NvAttribute.authRead | NvAttribute.noDictionaryAttack;

export interface TpmHeadOptions {
  /** As tpm/tpm-device.ts reads it; undefined: the TPM of this machine. */
  readonly device: string | undefined;
  /** A number of the range of owners: 0x01800000 to 0x01bfffff. */
  readonly handle: number;
  readonly logId: Uint8Array;
  readonly tpm?: TpmOptions;
}

export function openTpmHeadAnchor({ device, handle, logId, tpm: options }: TpmHeadOptions): LogHeadAnchor {
  const where = `NV index 0x${handle.toString(16).padStart(8, '0')} of the TPM`;
  if (handle < 0x0180_0000 || handle > 0x01bf_ffff) {
    throw new CaissonError('invalid', 'argument-invalid', `${where} is not one that an owner may use`, {
      remedy: 'Choose a number from 0x01800000 to 0x01bfffff.',
    });
  }
  const read = async (tpm: Tpm): Promise<LogHead | undefined> => {
    const index = await nvReadPublic(tpm, handle);
    if (index === undefined || !index.isWritten) return undefined;
    return decodeTpmHead(await nvRead(tpm, index), logId, where);
  };
  const write = async (tpm: Tpm, head: LogHead): Promise<void> => {
    const found = await nvReadPublic(tpm, handle);
    if (found === undefined)
      await nvDefine(tpm, { handle, attributes, policy: new Uint8Array(0), bytes: contentBytes });
    const index = found ?? (await nvReadPublic(tpm, handle));
    if (index === undefined || index.bytes !== contentBytes) throw headTampered(where, 'the index has another size');
    await nvWrite(tpm, index, encodeTpmHead(head, logId));
  };
  const converse = <Result>(work: (tpm: Tpm) => Promise<Result>): Promise<Result> =>
    withTpm(device, work, options ?? {});
  return {
    describe: where,
    millisecondsMin: tpmHeadMillisecondsMin,
    read: () => converse(read),
    replace: (head) => converse((tpm) => write(tpm, head)),
    advance: (head) =>
      converse(async (tpm) => {
        checkHeadAdvance(await read(tpm), head);
        await write(tpm, head);
      }),
  };
}

export function encodeTpmHead({ size, root }: LogHead, logId: Uint8Array): Uint8Array {
  return new ByteWriter()
    .bytes(magic)
    .bytes(logId.subarray(0, logIdPrefixBytes), logIdPrefixBytes)
    .u64(size)
    .bytes(root, 32)
    .finish();
}

export function decodeTpmHead(content: Uint8Array, logId: Uint8Array, where: string): LogHead {
  if (content.length !== contentBytes || !equalBytes(content.subarray(0, magic.length), magic))
    throw headTampered(where, 'something else uses it');
  const reader = new ByteReader(content.subarray(magic.length), 'head');
  if (!equalBytes(Uint8Array.from(reader.bytes(logIdPrefixBytes)), logId.subarray(0, logIdPrefixBytes)))
    throw headTampered(where, 'it is the head of another log');
  try {
    return { size: reader.u64(), root: Uint8Array.from(reader.bytes(32)) };
  } catch (error) {
    throw headTampered(where, 'its size is not a count', error);
  }
}
