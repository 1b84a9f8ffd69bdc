import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import * as paths from './paths.ts';

const volumeId = Uint8Array.from({ length: 16 }, (_, index) => index);
const id = Uint8Array.from({ length: 16 }, (_, index) => 0xf0 + index);
const digest = new Uint8Array(32).fill(0xab);
const volume = '000102030405060708090a0b0c0d0e0f/';
const prefix = paths.volumePrefix(volumeId);

describe('object names', () => {
  it('are what the specification says', () => {
    assert.equal(prefix, volume);
    assert.equal(paths.headKey(prefix), `${volume}head`);
    assert.equal(paths.manifestKey(prefix, 0x1f, digest), `${volume}manifests/000000000000001f-${'ab'.repeat(16)}`);
    const sharded = 'ff/f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff';
    assert.equal(paths.segmentKey(prefix, id), `${volume}segments/${sharded}`);
    assert.equal(paths.mapObjectKey(prefix, id), `${volume}maps/${sharded}`);
    assert.equal(paths.catalogKey(prefix, id), `${volume}catalog/${sharded}`);
    assert.equal(paths.spoolName(id), 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');
  });

  it('are read back', () => {
    assert.deepEqual(paths.parseKey(paths.headKey(prefix)), { kind: 'head', volumeId });
    assert.deepEqual(paths.parseKey(paths.segmentKey(prefix, id)), { kind: 'segment', volumeId, id });
    assert.deepEqual(paths.parseKey(paths.mapObjectKey(prefix, id)), { kind: 'map', volumeId, id });
    assert.deepEqual(paths.parseKey(paths.catalogKey(prefix, id)), { kind: 'catalog', volumeId, id });
    const manifest = paths.parseKey(paths.manifestKey(prefix, 2 ** 53 - 1, digest));
    assert.ok(manifest?.kind === 'manifest');
    assert.equal(manifest.manifestNumber, 2 ** 53 - 1);
    assert.deepEqual(paths.parseVolumePrefix(prefix), volumeId);
    assert.deepEqual(paths.parseSpoolName(paths.spoolName(id)), id);
  });

  it('of nobody are nothing', () => {
    const segment = paths.segmentKey(prefix, id);
    for (const key of [
      '',
      'head',
      volume,
      `${volume}head/`,
      `${volume}HEAD`,
      `${volume}manifests/1f`,
      `${volume}manifests/ffffffffffffffff-${'ab'.repeat(16)}`,
      `${segment}0`,
      segment.replace('/ff/', '/fe/'),
      segment.replace('segments', 'others'),
      `${segment}/x`,
      segment.substring(1),
    ]) {
      assert.equal(paths.parseKey(key), undefined, key);
    }
    assert.equal(paths.parseVolumePrefix(volume.substring(0, 32)), undefined);
    assert.equal(paths.parseSpoolName('aa'), undefined);
  });

  it('of hashed images are made and read back, and nothing else is taken for one', () => {
    const hex = 'ab'.repeat(32);
    assert.equal(paths.hashedRootKey(digest), `hashed/roots/${hex}`);
    assert.equal(paths.hashedNodeKey(digest), `hashed/nodes/ab/${hex}`);
    assert.equal(paths.hashedSpanKey(digest), `hashed/spans/ab/${hex}`);
    assert.equal(paths.hashedBuildKey(id), 'hashed/builds/f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');
    assert.deepEqual(paths.parseHashedKey(paths.hashedRootKey(digest)), { kind: 'root', digest });
    assert.deepEqual(paths.parseHashedKey(paths.hashedNodeKey(digest)), { kind: 'node', digest });
    assert.deepEqual(paths.parseHashedKey(paths.hashedSpanKey(digest)), { kind: 'span', digest });
    for (const key of [paths.hashedRootKey(digest), paths.hashedSpanKey(digest), paths.hashedRemovalKey]) {
      paths.checkKey(key);
      assert.equal(paths.parseKey(key), undefined);
    }
    for (const key of [
      'hashed',
      paths.hashedRemovalKey,
      paths.hashedBuildKey(id),
      `hashed/roots/${hex}/x`,
      `hashed/roots/${hex}0`,
      `hashed/roots/${hex.toUpperCase()}`,
      `hashed/spans/aa/${hex}`,
      `hashed/spans/${hex}`,
      `hashed/others/ab/${hex}`,
      `other/spans/ab/${hex}`,
    ]) {
      assert.equal(paths.parseHashedKey(key), undefined, key);
    }
  });

  it('that a store accepts cannot leave it or touch what is its own', () => {
    for (const key of [paths.headKey(prefix), paths.segmentKey(prefix, id), paths.manifestKey(prefix, 1, digest)])
      paths.checkKey(key);
    for (const key of [
      '..',
      '../a',
      'a/..',
      '/a/b',
      'a',
      'a//b',
      'a/b.lock',
      'tmp/1',
      'caisson-store/a',
      'a/lock',
      'a/spool/b',
    ]) {
      assert.throws(
        () => paths.checkKey(key),
        (error) => isCaissonError(error, 'argument-invalid'),
        key,
      );
    }
  });
});
