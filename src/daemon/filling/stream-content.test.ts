import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import { StreamContent } from './stream-content.ts';

const stopped = new CaissonError('closed', 'cancelled', 'stopped');

test('a stop before the first read ends that read, and not the process', async () => {
  const stream = new PassThrough();
  const controller = new AbortController();
  const content = new StreamContent(stream, undefined, controller.signal);
  const closed = once(stream, 'close').catch(() => undefined);
  controller.abort(stopped);
  await closed; // an error that is nobody's has come by now
  await assert.rejects(content.read(0, 16, new Region(16)), (error) => isCaissonError(error, 'cancelled'));
});

test('a stop before the stream was asked for counts as well', async () => {
  const stream = new PassThrough();
  stream.end(Buffer.alloc(16));
  const content = new StreamContent(stream, undefined, AbortSignal.abort(stopped));
  await assert.rejects(content.read(0, 16, new Region(16)), (error) => isCaissonError(error, 'cancelled'));
});

test('a stop after the last byte changes nothing', async () => {
  const stream = new PassThrough();
  const controller = new AbortController();
  const content = new StreamContent(stream, undefined, controller.signal);
  stream.end(Buffer.from('whole'));
  const target = new Region(16);
  assert.equal(await content.read(0, 16, target), 5);
  controller.abort(stopped);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(Buffer.from(target.bytes.subarray(0, 5)).toString(), 'whole');
});
