import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import { FakeS3 } from '../../../test/support/fake-s3.ts';
import { storeConformance } from '../../../test/conformance/store.ts';
import { systemRandom } from '../../crypto/random.ts';
import { openS3Store } from './open-s3-store.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-'));
let server: FakeS3;
let prefixCount = 0;
before(async () => {
  server = await FakeS3.start();
});
after(async () => {
  await server.stop();
  fs.rmSync(base, { recursive: true, force: true });
});

storeConformance('s3 on a server in this process', async () => {
  const url = `//bucket/p${++prefixCount}?endpoint=http://127.0.0.1:${server.port}`;
  return {
    open: () =>
      openS3Store(url, {
        create: true,
        environment: { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' },
        spoolFolder: base,
        random: systemRandom,
      }),
    dispose: async () => server.objects.clear(),
  };
});
