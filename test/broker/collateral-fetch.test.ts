/** `caisson broker collateral-fetch` by the real command, from services that only a given authority vouches for. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { decodeBundle } from '../../src/broker/collateral/bundle-format.ts';
import { Home } from '../support/caisson.ts';
import { amdCollateral } from '../support/fake-amd.ts';
import { fakePlatform, intelCollateral } from '../support/fake-intel.ts';
import { makeTlsFiles } from '../support/tls-files.ts';

const { fmspc } = fakePlatform;
const intel = intelCollateral();
const amd = amdCollateral('milan').items;
const intelRoot = '/pccs/sgx/certification/v4';
/** Of TDX there is nothing, as on a platform without it. */
const documents: Readonly<Record<string, Uint8Array>> = {
  [`${intelRoot}/tcb?fmspc=${fmspc}`]: intel.get(`intel/sgx/tcb/${fmspc}`)!.bytes,
  [`${intelRoot}/qe/identity`]: intel.get('intel/sgx/qe-identity')!.bytes,
  [`${intelRoot}/pckcrl?ca=platform&encoding=der`]: intel.get('intel/pck-crl/platform')!.bytes,
  [`${intelRoot}/pckcrl?ca=processor&encoding=der`]: intel.get('intel/pck-crl/processor')!.bytes,
  [`${intelRoot}/rootcacrl`]: intel.get('intel/root-crl')!.bytes,
  '/kds/vcek/v1/Milan/cert_chain': amd.get('amd/milan/cert-chain')!.bytes,
  '/kds/vlek/v1/Milan/cert_chain': amd.get('amd/milan/vlek-chain')!.bytes,
  '/kds/vcek/v1/Milan/crl': amd.get('amd/milan/crl')!.bytes,
  '/kds/vlek/v1/Milan/crl': amd.get('amd/milan/vlek-crl')!.bytes,
};

async function serve(t: TestContext, home: Home): Promise<{ url: string; authority: string; stranger: string }> {
  const files = makeTlsFiles(home.folder);
  const tls = { cert: fs.readFileSync(files.server.certificate), key: fs.readFileSync(files.server.key) };
  const server = createServer(tls, (request, response) => {
    const document = documents[request.url ?? ''];
    if (document === undefined) response.writeHead(404).end();
    else response.end(document);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  return { url, authority: files.authority, stranger: files.stranger.authority };
}

test('both services stand in the vendors’ place, under an authority of one’s own', async (t) => {
  const home = new Home(t);
  const { url, authority, stranger } = await serve(t, home);
  const configured = (name: string, ca: string): string =>
    home.write(name, `collateral:\n  pccs: {url: '${url}/pccs', ca: ${ca}}\n  kds: {url: '${url}/kds', ca: ${ca}}\n`);
  const out = home.path('collateral.json');
  const fetch = ['broker', 'collateral-fetch', '--out', out, '--config'];
  const wish = ['--fmspc', fmspc, '--product', 'milan'];
  const good = configured('good.yaml', authority);
  const report = (await home.json([...fetch, good, ...wish])) as unknown as { names: string[]; missing: string[] };
  assert.deepEqual(report.missing, ['intel/tdx/qe-identity', `intel/tdx/tcb/${fmspc}`]);
  const entries = new Map(decodeBundle(fs.readFileSync(out)).map((entry) => [entry.name, entry.bytes]));
  assert.deepEqual([...entries.keys()], report.names);
  for (const [name, bytes] of entries) assert.deepEqual(bytes, (intel.get(name) ?? amd.get(name))!.bytes, name);
  assert.equal(entries.size, 9);

  const foreign = await home.error([...fetch, configured('foreign.yaml', stranger), '--fmspc', fmspc]);
  assert.deepEqual([foreign.code, foreign.kind], ['collateral-missing', 'transient']);
  const none = await home.error([...fetch, configured('none.yaml', home.path('missing.pem')), '--fmspc', fmspc]);
  assert.deepEqual([none.code, /collateral\.pccs\.ca/.test(none.message)], ['configuration-invalid', true]);
  const notHttp = home.write('not-http.yaml', 'collateral:\n  pccs: {url: "file:///etc/passwd"}\n');
  assert.equal((await home.error([...fetch, notHttp, '--fmspc', fmspc])).code, 'configuration-invalid');
});
