/**
 * The Nitro security module, /dev/nsm: one ioctl carries a CBOR request in and an answer out (the kernel's
 * include/uapi/linux/nsm.h). Needs node:ffi; undefined where there is none, or no such device.
 *
 * Invariant: the library object stays referenced as long as its function may be called.
 */
import { closeSync, existsSync, openSync } from 'node:fs';
import { CaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { native, nativeReason, pin } from './native.ts';

export const nsmDevice = '/dev/nsm';
/** NSM_REQUEST_MAX_SIZE and NSM_RESPONSE_MAX_SIZE. */
const requestBytesMax = 0x1000;
const answerBytesMax = 0x3000;
/** _IOWR(0x0a, 0, two struct iovec). */
const NSM_IOCTL_RAW = 0xc020_0a00;

export type AskNsm = (request: Uint8Array) => Uint8Array;

/** Undefined where this machine is no Nitro enclave. */
export function openNsm(path: string = nsmDevice): AskNsm | undefined {
  if (!existsSync(path)) return undefined;
  const entrance = native;
  if (entrance === undefined) {
    throw new CaissonError('io', 'evidence-missing', `${path} cannot be asked: ${nativeReason}`, {
      remedy: 'Use a build of Node with node:ffi.',
    });
  }
  const { lib, functions } = entrance.dlopen(null, {
    ioctl: { arguments: ['i32', 'u64', 'pointer'], return: 'i32' },
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const held = { lib };
  const call = functions as unknown as {
    ioctl(descriptor: number, request: bigint, argument: bigint): number;
    __errno_location(): bigint;
  };
  return (request) => {
    if (request.length > requestBytesMax || held.lib === undefined)
      throw new CaissonError(
        'invalid',
        'argument-invalid',
        `a request to the security module of ${request.length} bytes`,
      );
    const [input, output, message] = [Region.from(request), new Region(answerBytesMax), new Region(32)];
    const vectors = new BigUint64Array(message.bytes.buffer, 0, 4);
    vectors.set([pin(input), BigInt(request.length), pin(output), BigInt(answerBytesMax)]);
    const descriptor = openSync(path, 'r+');
    try {
      if (call.ioctl(descriptor, BigInt(NSM_IOCTL_RAW), pin(message)) !== 0) {
        const errno = entrance.getInt32(call.__errno_location(), 0);
        throw new CaissonError('io', 'evidence-missing', `the Nitro security module failed with errno ${errno}`, {
          remedy: 'Look into the kernel log of the enclave.',
          details: { errno },
        });
      }
    } finally {
      closeSync(descriptor);
    }
    const length = Number(vectors[3]);
    if (length > answerBytesMax)
      throw new CaissonError('io', 'evidence-missing', `the Nitro security module says it gave ${length} bytes`);
    return Uint8Array.from(output.bytes.subarray(0, length));
  };
}
