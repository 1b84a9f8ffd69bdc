import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SharedEnvironments } from './shared-environments.ts';

interface Bench {
  readonly shared: SharedEnvironments;
  readonly events: string[];
  /** Ends the closings that are under way. */
  finishClosing(): void;
}

function start(): Bench {
  const events: string[] = [];
  let closing: (() => void)[] = [];
  const shared = new SharedEnvironments(async (storeUrl) => {
    events.push(`open ${storeUrl}`);
    if (storeUrl === 'dir:/missing') throw new Error('there is no such store');
    return {
      environment: { storeUrl } as never,
      close: async () => {
        events.push(`close ${storeUrl}`);
        await new Promise<void>((resolve) => closing.push(resolve));
        events.push(`closed ${storeUrl}`);
      },
    };
  });
  const finishClosing = (): void => {
    for (const finish of closing) finish();
    closing = [];
  };
  return { shared, events, finishClosing };
}

test('a store is opened with its first user and closed with its last', async () => {
  const { shared, events, finishClosing } = start();
  const users = await Promise.all([shared.use('dir:/a'), shared.use('dir:/a'), shared.use('dir:/b')]);
  const [one, two] = users;
  assert.equal(one.environment, two.environment);
  assert.deepEqual(events, ['open dir:/a', 'open dir:/b']);
  await one.close();
  await one.close(); // whoever closes twice has left once
  assert.equal(shared.has('dir:/a'), true);
  const closing = two.close();
  assert.equal(shared.has('dir:/a'), false);
  // A new user waits for the closing: the store may be open only once.
  const third = shared.use('dir:/a');
  await new Promise(setImmediate);
  assert.deepEqual(events.slice(2), ['close dir:/a']);
  finishClosing();
  await closing;
  await third;
  assert.deepEqual(events.slice(2), ['close dir:/a', 'closed dir:/a', 'open dir:/a']);
});

test('a store that cannot be opened fails for everybody who asked, and is tried anew by the next', async () => {
  const { shared, events } = start();
  const asked = [shared.use('dir:/missing'), shared.use('dir:/missing')];
  for (const use of asked) await assert.rejects(use, /no such store/);
  assert.equal(shared.has('dir:/missing'), false);
  await assert.rejects(shared.use('dir:/missing'), /no such store/);
  assert.equal(events.length, 2);
});
