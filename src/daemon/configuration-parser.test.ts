import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { parseConfiguration } from './configuration-parser.ts';
import { configurationDefaults, loadConfiguration } from './configuration.ts';

const file = '/etc/caisson/config.yaml';

function lineOfError(text: string): number {
  try {
    parseConfiguration(text, file);
  } catch (error) {
    assert.ok(isCaissonError(error, 'configuration-invalid'), String(error));
    assert.match(error.message, new RegExp(`^${file}:\\d+: `));
    assert.notEqual(error.remedy, undefined);
    return Number(error.details['line']);
  }
  assert.fail(`accepted: ${text}`);
}

test('an empty file means the defaults', () => {
  for (const text of ['', '# nothing yet\n', '---\n']) {
    assert.deepEqual(parseConfiguration(text, file), configurationDefaults);
  }
});

test('a missing file means the same', async () => {
  assert.deepEqual(await loadConfiguration('/nowhere/config.yaml'), configurationDefaults);
});

test('a full file', () => {
  const configuration = parseConfiguration(
    [
      'store: dir:/srv/volumes',
      'logLevel: debug',
      'volumes:',
      '  - data',
      '  - data@monday',
      '  - name: logs',
      '    readOnly: true',
      '    socket: /run/logs.sock',
      'tcp:',
      '  listen: 0.0.0.0:10809',
      '  tlsCertificate: /etc/c.pem',
      '  tlsKey: /etc/k.pem',
      'tuning:',
      '  mapBytesMax: 512MiB',
      '  checkpointMilliseconds: 5000',
      'remote:',
      '  spoolFolder: /srv/spools',
      '  cacheBytesMax: 64MiB',
    ].join('\n'),
    file,
  );
  assert.deepEqual(configuration.remote, { spoolFolder: '/srv/spools', cacheBytesMax: 2 ** 26 });
  assert.deepEqual(configuration.volumes, [
    { name: 'data', readOnly: false },
    { name: 'data@monday', readOnly: false },
    { name: 'logs', readOnly: true, socket: '/run/logs.sock' },
  ]);
  assert.equal(configuration.tcp?.insecureNoTls, false);
  assert.equal(configuration.tuning.mapBytesMax, 512 * 2 ** 20);
});

test('each fault is named with its line', () => {
  assert.equal(lineOfError('logLevel: info\nlogLevl: debug\n'), 2);
  assert.equal(lineOfError('logLevel: loud\n'), 1);
  assert.equal(lineOfError('store: dir:/a\ntcp:\n  listen: here\n'), 3);
  assert.equal(lineOfError('tcp:\n  listen: a:1\n  tlsKey: relative.pem\n'), 3);
  assert.equal(lineOfError('volumes:\n  - data\n  - Data\n'), 3);
  assert.equal(lineOfError('volumes:\n  - data\n  - data@\n'), 3);
  assert.equal(lineOfError('volumes:\n  - data\n  - name: logs\n    colour: red\n'), 4);
  assert.equal(lineOfError('tuning:\n  mapBytesMax: much\n'), 2);
  assert.equal(lineOfError('a: [1, 2\nb: 3\n'), 2);
  assert.equal(lineOfError('logLevel: info\nlogLevel: debug\n'), 2);
  assert.equal(lineOfError('- a\n- b\n'), 1);
});

test('aliases cannot blow up', () => {
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x]',
    ...['b', 'c', 'd', 'e'].map((key, index) => `${key}: &${key} [${`*${'abcd'[index]},`.repeat(8)}]`),
  ];
  assert.ok(lineOfError(bomb.join('\n')) >= 1);
});

test('a read cache that could hold next to nothing, and a relative folder, are refused', () => {
  assert.equal(lineOfError('remote:\n  cacheBytesMax: 1MiB'), 2);
  assert.equal(lineOfError('remote:\n  spoolFolder: spools'), 2);
});
