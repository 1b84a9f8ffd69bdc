import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, it } from 'node:test';
import { CaissonError } from '../lib/errors.ts';
import {
  anchorFileBytes,
  anchorSlotBytes,
  anchorSlotPosition,
  decodeAnchorFile,
  encodeAnchorSlot,
} from './anchor-format.ts';

const folder = new URL('../../test/vectors/anchor/', import.meta.url);
const names = fs.readdirSync(folder).filter((name) => name.endsWith('.json'));

interface Vector {
  readonly comment: string;
  readonly expect: string;
  readonly volumeId: string;
  readonly fileBytes: number;
  readonly slots: readonly ({ readonly body: string; readonly checksum: string } | null)[];
}

describe('anchor format', () => {
  it('has its vectors', () => assert.ok(names.length >= 24));

  for (const name of names) {
    const vector = JSON.parse(fs.readFileSync(new URL(name, folder), 'utf8')) as Vector;
    it(`${name}: ${vector.comment}`, () => {
      const file = fileOf(vector);
      const volumeId = Buffer.from(vector.volumeId, 'hex');
      const counter = /^holds ([0-9]+)$/.exec(vector.expect)?.[1];
      if (counter === undefined) {
        assert.throws(
          () => decodeAnchorFile(file, volumeId),
          (error) => error instanceof CaissonError && error.code === vector.expect,
        );
        return;
      }
      const { held } = decodeAnchorFile(file, volumeId);
      assert.equal(held.counter, Number(counter));
      // There is one encoding: what decodes encodes to the same bytes.
      const position = anchorSlotPosition(held.counter);
      assert.deepEqual(encodeAnchorSlot(held), file.subarray(position, position + anchorSlotBytes));
    });
  }

  it('a file torn anywhere inside an advance holds the state before or after it', () => {
    const vector = JSON.parse(fs.readFileSync(new URL('two-slots.json', folder), 'utf8')) as Vector;
    const before = fileOf(vector);
    const volumeId = Buffer.from(vector.volumeId, 'hex');
    const { state } = decodeAnchorFile(before, volumeId).held;
    const next = encodeAnchorSlot({ counter: 4, state: { ...state, sequence: state.sequence + 1 } });
    for (let cut = 0; cut <= anchorSlotBytes; cut += 8) {
      const torn = new Uint8Array(before);
      torn.set(next.subarray(0, cut), anchorSlotPosition(4));
      const { held } = decodeAnchorFile(torn, volumeId);
      assert.equal(held.counter, cut === anchorSlotBytes ? 4 : 3);
    }
  });
});

function fileOf({ slots, fileBytes }: Vector): Uint8Array {
  const whole = new Uint8Array(Math.max(fileBytes, anchorFileBytes));
  for (const [index, slot] of slots.entries()) {
    if (slot === null) continue;
    whole.set(Buffer.from(slot.body, 'hex'), index * anchorSlotBytes);
    whole.set(Buffer.from(slot.checksum, 'hex'), (index + 1) * anchorSlotBytes - 32);
  }
  return whole.subarray(0, fileBytes);
}
