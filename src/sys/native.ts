/**
 * The one entrance to `node:ffi`. It is experimental in Node, absent from some builds and blocked by
 * `--permission` without `--allow-ffi`: so it is taken only after a feature test, and everything that
 * uses it has a fallback. Where the test fails, `native` is undefined and `nativeReason` says why.
 *
 * Loading it makes Node print one ExperimentalWarning; the launcher silences exactly that one with
 * `--disable-warning=ExperimentalWarning`. Nothing here touches the warning machinery.
 *
 * Invariant: a pointer is only ever made from a Region (lib/region.ts), never from a small typed array.
 */
import { messageOf } from '../lib/errors.ts';
import { assert } from '../lib/assert.ts';
import { Region } from '../lib/region.ts';

export type Native = typeof import('node:ffi');

interface Entrance {
  readonly native: Native | undefined;
  readonly reason: string;
}

const entrance = enter();

/** `node:ffi`, or undefined where it cannot be used. */
export const native: Native | undefined = entrance.native;

/** Why `native` is what it is, one clause for `caisson doctor`. */
export const nativeReason: string = entrance.reason;

/** The address of a region's first byte, resolved once and kept in the region. */
export function pin(region: Region): bigint {
  const known = region.address;
  return known === 0n ? resolveAddress(region) : known;
}

function resolveAddress(region: Region): bigint {
  assert(native !== undefined, 'an address is resolved only where node:ffi works');
  const address = native.getRawPointer(region.bytes.buffer);
  assert(address !== 0n, 'a region has an address');
  region.address = address;
  return address;
}

function enter(): Entrance {
  try {
    const candidate: Native | undefined = process.getBuiltinModule('node:ffi');
    if (candidate === undefined) return { native: undefined, reason: 'this Node has no node:ffi' };
    const fault = faultOf(candidate);
    if (fault !== undefined) return { native: undefined, reason: `node:ffi is not usable: ${fault}` };
    return { native: candidate, reason: 'node:ffi works' };
  } catch (error) {
    return { native: undefined, reason: `node:ffi is not usable: ${messageOf(error)}` };
  }
}

/** Reads one known byte through a raw pointer and calls one C function: what all users rely on. */
function faultOf(candidate: Native): string | undefined {
  const probe = new Region(1);
  probe.bytes[0] = 0x5a;
  const address: unknown = candidate.getRawPointer(probe.bytes.buffer);
  if (typeof address !== 'bigint' || address === 0n) return 'pointers are not big integers';
  if (candidate.getUint8(address) !== 0x5a) return 'a pointer does not lead to its buffer';
  const { functions } = candidate.dlopen(null, { abs: { arguments: ['i32'], return: 'i32' } });
  if (functions.abs(-7) !== 7) return 'a C function gives a wrong result';
  return undefined;
}
