/** Every rule of a store against real servers: Ceph's radosgw and versitygw. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { systemRandom } from '../../src/crypto/random.ts';
import { openStore } from '../../src/store/open-store.ts';
import { storeConformance } from '../conformance/store.ts';
import { serverKeys, startRadosgw, startVersitygw } from '../support/s3-servers.ts';
import type { S3Server } from '../support/s3-servers.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-real-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

suite('radosgw', startRadosgw, true);
// Its posix back end looks at the condition and then writes, without a lock between the two.
suite('versitygw', startVersitygw, false);

function suite(name: string, start: (t: TestContext) => Promise<S3Server | undefined>, isAtomic: boolean): void {
  describe(name, () => {
    let server: S3Server | undefined;
    let prefixCount = 0;
    before(async (t) => {
      server = await start(t as TestContext);
      await server?.makeBucket('bucket');
    });
    after(() => server?.stop());
    test('answers', (t) => {
      if (server === undefined) t.skip('not installed');
    });
    storeConformance(
      name,
      async () => {
        const url = server!.url('bucket', `p${++prefixCount}`);
        const remote = { environment: serverKeys, random: systemRandom, spoolFolder: base };
        return { open: () => openStore(url, { create: true, remote }), dispose: async () => undefined };
      },
      { isAtomic },
    );
  });
}
