/**
 * The tamper sweep: every byte class of every kind of object is flipped, swapped, cut, extended, removed and
 * replayed. All of it must be refused by name or found by verify, and no read may ever show a wrong byte.
 *
 * What may go unseen is said by name in `invisible`; anchor files have vectors and a fuzz target of their own.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { parseKey } from '../../src/store/paths.ts';
import type { Field } from '../support/object-shapes.ts';
import { bytesOf, withObject, type StoreImage } from './store-image.ts';
import { buildSubject, fieldsOf, judge, type TamperSubject } from './tampered-volume.ts';

/**
 * Parts of a spool file that hold nothing that was acknowledged: a reader rebuilds the directory from the
 * records, takes a torn end for what it is, and the zeroes written ahead of the records (room ahead) are no
 * record. The data is whole, so there is nothing to refuse.
 */
const invisible =
  /^(?:room ahead|directory|directory tag|footer.*|directory offset|directory bytes|total bytes|checksum)$/;
const strideBytes = 6007;

let subject: TamperSubject;
before(async () => {
  subject = await buildSubject();
});

const kinds = ['head', 'manifest', 'catalog', 'map', 'segment', 'spool'] as const;
type Kind = (typeof kinds)[number];

/** Only what the newest state needs: older manifests and what they named are checked by their own tests. */
function keysOf(kind: Kind): string[] {
  if (kind === 'spool') return [...subject.image.spool.keys()].sort();
  return [...subject.image.objects.keys()].filter((key) => parseKey(key)?.kind === kind).sort();
}

async function expectSeen(what: string, kind: Kind, image: StoreImage, mayBeInvisible = false): Promise<void> {
  const verdict = await judge(subject, image).catch((error: unknown) => {
    throw new Error(what, { cause: error });
  });
  if (kind !== 'spool') assert.ok(verdict.isFound, what);
  else if (!mayBeInvisible) assert.ok(verdict.isRefused, what);
}

function flipped(bytes: Uint8Array, offset: number, bit: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed[offset]! ^= 1 << bit;
  return changed;
}

/** The first, the middle and the last byte of a field, and more of the long ones. */
function placesOf({ offset, length }: Field): number[] {
  const places = new Set([offset, offset + (length >> 1), offset + length - 1]);
  for (let at = offset; at < offset + length; at += strideBytes) places.add(at);
  return [...places];
}

test('the subject is whole: every field lies where the pages say, and nothing changed is nothing found', async () => {
  for (const kind of kinds) {
    assert.ok(keysOf(kind).length > 0, kind);
    for (const key of keysOf(kind)) {
      const last = fieldsOf(subject, key).at(-1)!;
      assert.equal(last.offset + last.length, bytesOf(subject.image, key).length, key);
    }
  }
  assert.deepEqual(await judge(subject, subject.image), { isFound: false, isRefused: false });
});

for (const kind of kinds) {
  describe(kind, () => {
    test('every field flipped', async () => {
      for (const key of keysOf(kind)) {
        const bytes = bytesOf(subject.image, key);
        for (const [index, field] of fieldsOf(subject, key).entries()) {
          for (const place of placesOf(field)) {
            const what = `${key}: ${field.name} at ${place}`;
            const image = withObject(subject.image, key, flipped(bytes, place, (index + place) % 8));
            await expectSeen(what, kind, image, invisible.test(field.name));
          }
        }
      }
    });

    test('cut at every boundary, extended, emptied, removed', async () => {
      for (const key of keysOf(kind)) {
        const bytes = bytesOf(subject.image, key);
        for (const { offset, name } of fieldsOf(subject, key)) {
          const image = withObject(subject.image, key, bytes.subarray(0, offset));
          await expectSeen(`${key} cut before ${name}`, kind, image, invisible.test(name));
        }
        await expectSeen(
          `${key} less a byte`,
          kind,
          withObject(subject.image, key, bytes.subarray(0, -1)),
          endsInvisibly(key),
        );
        for (const more of [1, 16, 700]) {
          // Behind the last record of a spool file may lie a torn one: bytes that count for nothing.
          await expectSeen(
            `${key} and ${more} bytes more`,
            kind,
            withObject(subject.image, key, extended(bytes, more)),
            true,
          );
        }
        await expectSeen(`${key} removed`, kind, withObject(subject.image, key, undefined));
      }
    });

    test('swapped with each other', async () => {
      const keys = keysOf(kind);
      for (const [index, key] of keys.entries()) {
        const other = keys[(index + 1) % keys.length]!;
        if (other === key) continue;
        const changed = withObject(subject.image, key, bytesOf(subject.image, other));
        await expectSeen(`${key} and ${other}`, kind, withObject(changed, other, bytesOf(subject.image, key)));
        await expectSeen(`${other} as ${key}`, kind, changed);
      }
    });

    test('pieces of one length swapped inside an object and between two', async () => {
      const pieces = keysOf(kind).flatMap((key) => fieldsOf(subject, key).map((field) => ({ key, field })));
      const parts = pieces.filter(({ field }) => field.length >= 16 && !invisible.test(field.name));
      for (const [index, left] of parts.entries()) {
        const right = parts.slice(index + 1).find(({ field }) => field.length === left.field.length);
        if (right === undefined) continue;
        const image = exchanged(subject.image, left, right);
        if (image !== undefined)
          await expectSeen(`${left.key} ${left.field.name} and ${right.key} ${right.field.name}`, kind, image);
      }
    });
  });
}

test('older states in place of the newest', async () => {
  const { image, older, previous } = subject;
  const head = keysOf('head')[0]!;
  const states: readonly (readonly [string, StoreImage])[] = [
    ['an older head', withObject(image, head, older.objects.get(head))],
    ['the whole store of before', older],
    ['the store without the last flush', previous],
    ['the spool without the last flush', { objects: image.objects, spool: previous.spool }],
    ['the spool of before', { objects: image.objects, spool: older.spool }],
    ['no spool at all', { objects: image.objects, spool: new Map() }],
  ];
  for (const [what, state] of states) assert.ok((await judge(subject, state)).isRefused, what);
});

test('an older manifest under the name of the newest', async () => {
  const manifests = keysOf('manifest');
  const newest = manifests.at(-1)!;
  for (const key of manifests.slice(0, -1)) {
    await expectSeen(key, 'manifest', withObject(subject.image, newest, bytesOf(subject.image, key)));
  }
});

test('an anchor that is ahead of the store', async () => {
  const ahead = { ...subject.anchor, epoch: subject.anchor.epoch + 5 };
  assert.ok((await judge(subject, subject.image, ahead)).isRefused);
});

function endsInvisibly(key: string): boolean {
  return invisible.test(fieldsOf(subject, key).at(-1)!.name);
}

function extended(bytes: Uint8Array, more: number): Uint8Array {
  const longer = new Uint8Array(bytes.length + more).fill(0x5a);
  longer.set(bytes);
  return longer;
}

interface Piece {
  readonly key: string;
  readonly field: Field;
}

/** Undefined when the two are equal, so that nothing would change. */
function exchanged(image: StoreImage, left: Piece, right: Piece): StoreImage | undefined {
  const partOf = ({ key, field }: Piece): Uint8Array =>
    bytesOf(image, key).subarray(field.offset, field.offset + field.length);
  if (Buffer.compare(partOf(left), partOf(right)) === 0) return undefined;
  const place = (into: StoreImage, to: Piece, content: Uint8Array): StoreImage => {
    const bytes = Uint8Array.from(bytesOf(into, to.key));
    bytes.set(content, to.field.offset);
    return withObject(into, to.key, bytes);
  };
  return place(place(image, left, partOf(right)), right, partOf(left));
}
