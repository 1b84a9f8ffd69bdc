import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Region } from '../lib/region.ts';
import { native, nativeReason, pin } from './native.ts';

test(
  'pin resolves an address once, and it leads to the bytes',
  { skip: native === undefined ? nativeReason : false },
  () => {
    const region = new Region(10);
    region.bytes[3] = 77;
    const address = pin(region);
    assert.equal(region.address, address);
    assert.equal(pin(region), address);
    assert.equal(native?.getUint8(address, 3), 77);
  },
);
