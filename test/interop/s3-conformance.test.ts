/** Every rule of a store against real servers: Ceph's radosgw and versitygw. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemRandom } from '../../src/crypto/random.ts';
import { openStore } from '../../src/store/open-store.ts';
import { storeConformance } from '../conformance/store.ts';
import { launchRadosgw, launchVersitygw, serverKeys, serverTools } from '../support/s3-servers.ts';
import type { S3Server } from '../support/s3-servers.ts';
import { hasTools, requireTool } from '../support/tools.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-real-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

suite('radosgw', launchRadosgw, true);
// Its posix back end looks at the condition and then writes, without a lock between the two.
suite('versitygw', launchVersitygw, false);

function suite(name: keyof typeof serverTools, launch: () => Promise<S3Server>, isAtomic: boolean): void {
  const tools = serverTools[name];
  if (!hasTools(...tools)) {
    test(name, (t) => void requireTool(t, ...tools));
    return;
  }
  describe(name, () => {
    let server: S3Server;
    let prefixCount = 0;
    before(async () => {
      server = await launch();
      await server.makeBucket('bucket');
    });
    after(() => server.stop());
    storeConformance(
      name,
      async () => {
        const url = server.url('bucket', `p${++prefixCount}`);
        const remote = { environment: serverKeys, random: systemRandom, spoolFolder: base };
        return { open: () => openStore(url, { create: true, remote }), dispose: async () => undefined };
      },
      { isAtomic },
    );
  });
}
