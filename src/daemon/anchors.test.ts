/** Which anchor a volume gets, and what the texts that name anchors mean. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { stateAt, volumeId } from '../../test/conformance/anchor.ts';
import { toHex } from '../lib/hex.ts';
import { nodeFileSystem } from '../store/node-file-system.ts';
import { anchorChoice, anchorOfEntry, createAnchors, parseAnchorChoice } from './anchors.ts';
import type { VolumeEntry } from './volume-names.ts';

test('texts that name anchors', () => {
  assert.deepEqual(parseAnchorChoice('file'), { kind: 'file' });
  const pace = { intervalMilliseconds: 1_000, restMilliseconds: 600_000 };
  assert.deepEqual(parseAnchorChoice('tpm'), { kind: 'tpm', device: undefined, ...pace });
  assert.deepEqual(parseAnchorChoice('tpm:/dev/tpmrm1'), { kind: 'tpm', device: '/dev/tpmrm1', ...pace });
  assert.deepEqual(parseAnchorChoice('tpm:swtpm:127.0.0.1:2321?rest=5&interval=0'), {
    ...{ kind: 'tpm', device: 'swtpm:127.0.0.1:2321', intervalMilliseconds: 0, restMilliseconds: 5 },
  });
  for (const text of [
    '',
    'disk',
    'tpm?',
    'tpm?x=1',
    'tpm?rest=',
    'tpm?rest=-1',
    'tpm?rest=86400001',
    'tpm?a?b',
    'file?rest=1',
  ])
    assert.throws(() => parseAnchorChoice(text), { code: 'argument-invalid' }, text);
  assert.throws(() => parseAnchorChoice(`tpm:/${'x'.repeat(2048)}`), { code: 'argument-invalid' });
});

test('what is asked for comes before what is configured; an entry keeps only what is not a file', () => {
  const configuration = { anchor: 'tpm' };
  assert.equal(anchorChoice(undefined, { configuration }), 'tpm');
  assert.equal(anchorChoice('file', { configuration }), 'file');
  assert.throws(() => anchorChoice('nothing', { configuration }), { code: 'argument-invalid' });
  assert.deepEqual([anchorOfEntry('file'), anchorOfEntry('tpm')], [{}, { anchor: 'tpm' }]);
});

test('a volume keeps the anchor of its entry, one without an entry gets that of new volumes', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'caisson-anchors-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const entry: VolumeEntry = { store: 'dir:/x', volumeId: toHex(volumeId), key: { kind: 'none' } };
  const open = (entries: readonly VolumeEntry[], choiceOfNew: string) => {
    const names = { list: () => new Map(entries.map((one, index) => [`name${index}`, one])) };
    return createAnchors({ folder, fileSystem: nodeFileSystem, names, choiceOfNew });
  };
  const away = 'tpm:swtpm:127.0.0.1:1?rest=7000';

  const named = open([entry], away);
  await named.advance(stateAt(1, 1, 1));
  assert.deepEqual(await named.read(volumeId), stateAt(1, 1, 1));
  assert.equal(named.restMilliseconds?.(volumeId), 0);
  assert.equal(readdirSync(folder).includes(`${toHex(volumeId)}.anchor`), true);

  const elsewhere = open([{ ...entry, anchor: away }], 'file');
  await assert.rejects(elsewhere.read(volumeId), { code: 'tpm-failed' });
  await assert.rejects(elsewhere.read(volumeId), { code: 'tpm-failed' });
  assert.equal(elsewhere.restMilliseconds?.(volumeId), 7_000);
  await assert.rejects(open([], away).read(volumeId), { code: 'tpm-failed' });
  assert.deepEqual(await open([], 'file').read(volumeId), stateAt(1, 1, 1));

  // A choice that another version of Caisson made is refused when the volume is used, not taken for a file.
  await assert.rejects(open([{ ...entry, anchor: 'moon:1' }], 'file').read(volumeId), { code: 'argument-invalid' });
  await named.forget(volumeId);
  assert.equal(await named.read(volumeId), undefined);
});
