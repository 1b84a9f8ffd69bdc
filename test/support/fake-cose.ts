/** COSE_Sign1 by keys of tests. Headers, shape and signature can be made wrong. */
import { sign, type KeyObject } from 'node:crypto';
import { encode, Tagged } from 'cborg';

export interface FakeSign1 {
  readonly payload: unknown;
  readonly key: KeyObject;
  readonly algorithm?: number;
  readonly hash?: string;
  /** undefined: no tag. */
  readonly tag?: number | undefined;
  readonly protectedHeader?: Uint8Array;
  readonly unprotectedHeader?: unknown;
  /** Of the list, once it is made. */
  readonly change?: (items: unknown[]) => unknown;
}

/** Keys of maps are integers, so that plain objects will not do. */
export function cbor(value: unknown): Uint8Array {
  return Uint8Array.from(encode(value));
}

export function fakeSign1(options: FakeSign1): Uint8Array {
  const protectedHeader = options.protectedHeader ?? cbor(new Map([[1, options.algorithm ?? -35]]));
  const payload = options.payload instanceof Uint8Array ? options.payload : cbor(options.payload);
  const signedBytes = encode(['Signature1', protectedHeader, new Uint8Array(0), payload]);
  const signature = sign(options.hash ?? 'sha384', signedBytes, { key: options.key, dsaEncoding: 'ieee-p1363' });
  const items: unknown[] = [protectedHeader, options.unprotectedHeader ?? new Map(), payload, signature];
  const whole = options.change === undefined ? items : options.change(items);
  return cbor(options.tag === undefined ? whole : new Tagged(options.tag, whole));
}
