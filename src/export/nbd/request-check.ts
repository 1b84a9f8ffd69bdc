/**
 * Whether a request may reach the device: everything that can be said before anything is done
 * (spec/nbd.md, "Validation"). A request that passes is known, negotiated, allowed and in range.
 */
import { nbdPayloadBytesMax } from '../../lib/limits.ts';
import { Errno, errnoPastEnd } from './nbd-errors.ts';
import { Command, CommandFlag } from './request-format.ts';

/** What the handshake settled for the connection. */
export interface Negotiated {
  readonly structuredReplies: boolean;
  /** base:allocation was selected for the export that is served. */
  readonly baseAllocation: boolean;
  readonly readOnly: boolean;
  readonly resizable: boolean;
}

const { FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO } = CommandFlag;
/** FUA is legal on every command; the rest only where the protocol names it. */
const flagsOfCommand: readonly number[] = [
  FUA | DF,
  FUA,
  0xffff,
  FUA,
  FUA,
  FUA,
  FUA | NO_HOLE | FAST_ZERO,
  FUA | REQ_ONE,
  FUA,
];

/** The error number of a refusal, or Errno.NONE. `size` is the device's size at this moment. */
export function checkRequest(
  negotiated: Negotiated,
  size: number,
  command: number,
  flags: number,
  offset: number,
  length: number,
): number {
  const allowedFlags = flagsOfCommand[command];
  if (allowedFlags === undefined || (flags & ~allowedFlags) !== 0) return Errno.EINVAL;
  switch (command) {
    case Command.READ:
      if ((flags & DF) !== 0 && !negotiated.structuredReplies) return Errno.EINVAL;
      return length > nbdPayloadBytesMax ? Errno.EOVERFLOW : checkRange(size, command, offset, length);
    case Command.CACHE:
      return length > nbdPayloadBytesMax ? Errno.EOVERFLOW : checkRange(size, command, offset, length);
    case Command.WRITE:
    case Command.TRIM:
    case Command.WRITE_ZEROES:
      if (negotiated.readOnly) return Errno.EPERM;
      return checkRange(size, command, offset, length);
    case Command.FLUSH:
      return offset === 0 && length === 0 ? Errno.NONE : Errno.EINVAL;
    case Command.BLOCK_STATUS:
      if (!negotiated.baseAllocation || length === 0) return Errno.EINVAL;
      return checkRange(size, command, offset, length);
    case Command.RESIZE:
      if (!negotiated.resizable || length !== 0) return Errno.EINVAL;
      if (negotiated.readOnly) return Errno.EPERM;
      return offset > 0 && offset <= Number.MAX_SAFE_INTEGER && offset % 512 === 0 ? Errno.NONE : Errno.EINVAL;
    default:
      return Errno.EINVAL;
  }
}

/**
 * FAST_ZERO promises to be quicker than writing. Dropping whole blocks is; zeroing only parts of
 * blocks, or keeping space reserved, is not known to be.
 */
export function zeroesFast(flags: number, offset: number, length: number, blockSize: number): boolean {
  if ((flags & NO_HOLE) !== 0) return false;
  const firstWhole = Math.ceil(offset / blockSize) * blockSize;
  return length === 0 || firstWhole + blockSize <= offset + length;
}

function checkRange(size: number, command: number, offset: number, length: number): number {
  return offset + length > size ? errnoPastEnd(command) : Errno.NONE;
}
