/** Evidence from files, from the Nitro module and from Azure's paravisor: what is asked, what is given on, what is refused. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sha256 } from '../crypto/digest.ts';
import { patientClock } from '../lib/clock.ts';
import { Hierarchy, NvAttribute } from '../tpm/tpm-constants.ts';
import { nvDefine } from '../tpm/tpm-nv.ts';
import { createPrimary, evictControl } from '../tpm/tpm-objects.ts';
import { attestationKeyTemplate } from '../tpm/tpm-templates.ts';
import { withTpm } from '../tpm/tpm.ts';
import { checkEvidence } from '../wire/evidence.ts';
import { parseAttest } from '../wire/tpm/attest.ts';
import { bump, fakeTsm } from '../../test/support/fake-tsm.ts';
import { hasSwtpm, requireSwtpm, startSwtpm } from '../../test/support/swtpm.ts';
import type { SoftwareTpm } from '../../test/support/swtpm.ts';
import { openAzureSource } from './azure-source.ts';
import { detectSource, surveySources } from './detect-source.ts';
import { openGramineSource } from './gramine-source.ts';
import { attestationRequest, documentOf, openNitroSource } from './nitro-source.ts';
import { fileFailed } from './report-files.ts';
import { createPlatformFetch } from './platform-fetch.ts';
import type { PlatformRequest } from './platform-fetch.ts';
import { openTsmSource } from './tsm-source.ts';

const reportData = Uint8Array.from({ length: 64 }, (_, index) => index);
const answerTo = (request: Uint8Array): Uint8Array => Uint8Array.of(0xee, ...request);
const codeError = (code: string): Error => Object.assign(new Error(code), { code });

let scratch: string;
before(() => {
  scratch = mkdtempSync(join(tmpdir(), 'caisson-attester-'));
});
after(() => rmSync(scratch, { recursive: true, force: true }));
test('software TPMs are installed', (t) => void requireSwtpm(t));

describe('kernel reports', () => {
  const fresh = (): string => mkdtempSync(join(scratch, 'tsm-'));
  for (const [provider, technology, part] of [
    ['sev_guest', 'snp', 'report'],
    ['tdx_guest', 'tdx', 'quote'],
    ['arm_cca_guest', 'cca', 'token'],
  ] as const) {
    test(`${provider} gives ${technology}`, async () => {
      const folder = fresh();
      const { files, left } = fakeTsm({ folder, provider, report: answerTo });
      const source = await openTsmSource({ folder, files, eventLog: join(folder, 'none') });
      assert.equal(source?.technology, technology);
      const evidence = await source.gather(reportData);
      checkEvidence(evidence);
      assert.deepEqual(evidence, { technology, parts: { [part]: answerTo(reportData) } });
      assert.deepEqual(left(), []);
    });
  }

  test('certificates of the host come along, and the log of a TD', async () => {
    const folder = fresh();
    const auxiliary = Uint8Array.of(7, 8, 9);
    const snp = fakeTsm({ folder, provider: 'sev_guest', report: answerTo, auxiliary });
    const gathered = await (await openTsmSource({ folder, files: snp.files }))?.gather(reportData);
    assert.deepEqual(gathered?.parts['certificates'], auxiliary);
    const eventLog = join(scratch, 'ccel');
    writeFileSync(eventLog, 'log');
    const tdx = fakeTsm({ folder: fresh(), provider: 'tdx_guest', report: answerTo });
    const source = await openTsmSource({ folder, files: tdx.files, eventLog });
    assert.deepEqual(Buffer.from((await source!.gather(reportData)).parts['eventLog']!), Buffer.from('log'));
  });

  test('a report beside which somebody else wrote is asked for anew, within a bound', async () => {
    const folder = fresh();
    let disturbances = 2;
    const disturbed = fakeTsm({
      ...{ folder, provider: 'sev_guest', report: answerTo },
      meanwhile: (place) => {
        if (disturbances-- > 0) bump(place);
      },
    });
    const source = await openTsmSource({ folder, files: disturbed.files });
    assert.deepEqual((await source!.gather(reportData)).parts['report'], answerTo(reportData));
    disturbances = Infinity;
    await assert.rejects(source!.gather(reportData), { code: 'evidence-missing', kind: 'transient' });
    assert.deepEqual(disturbed.left(), []);
  });

  test('a folder is removed whatever fails, and the reason has a remedy', async () => {
    const folder = fresh();
    let error: Error | undefined;
    let at = 'inblob';
    const { files, left } = fakeTsm({
      ...{ folder, provider: 'sev_guest', report: answerTo },
      failing: (path) => (path.endsWith(at) ? error : undefined),
    });
    const source = await openTsmSource({ folder, files });
    for (const place of ['inblob', 'outblob', 'auxblob', 'generation']) {
      [at, error] = [place, codeError('EIO')];
      await assert.rejects(source!.gather(reportData), /EIO/);
      assert.deepEqual(left(), [], place);
    }
    error = undefined;
    const empty = fakeTsm({ folder, provider: 'sev_guest', report: () => new Uint8Array(0) });
    await assert.rejects((await openTsmSource({ folder, files: empty.files }))!.gather(reportData), {
      code: 'evidence-missing',
      message: /empty report/,
    });
  });

  test('a report larger than any is refused', async () => {
    const folder = fresh();
    const { files, left } = fakeTsm({ folder, provider: 'sev_guest', report: () => new Uint8Array(256 * 1024 + 1) });
    await assert.rejects((await openTsmSource({ folder, files }))!.gather(reportData), { code: 'evidence-missing' });
    assert.deepEqual(left(), []);
  });

  test('faults of the kernel have a kind each', () => {
    for (const [code, kind] of [
      ['EACCES', 'denied'],
      ['EFBIG', 'io'],
      ['EBUSY', 'transient'],
      ['ENODEV', 'io'],
    ] as const) {
      const error = fileFailed('/sys/report', codeError(code));
      assert.deepEqual([error.code, error.kind], ['evidence-missing', kind]);
      assert.notEqual(error.remedy, undefined);
    }
  });

  test('no such folder is no source; a provider that is not known is refused', async () => {
    assert.equal(await openTsmSource({ folder: join(scratch, 'nowhere') }), undefined);
    const folder = fresh();
    const { files } = fakeTsm({ folder, provider: 'other_guest', report: answerTo });
    await assert.rejects(openTsmSource({ folder, files }), { code: 'evidence-missing', message: /other_guest/ });
    await assert.rejects(openTsmSource({ folder: '/dev/null' }), { code: 'evidence-missing' });
  });
});

describe('Gramine', () => {
  test('writes the report data and gives the quote', async () => {
    const folder = mkdtempSync(join(scratch, 'gramine-'));
    assert.equal(await openGramineSource({ folder }), undefined);
    writeFileSync(join(folder, 'attestation_type'), 'dcap\n');
    writeFileSync(join(folder, 'user_report_data'), new Uint8Array(64));
    const source = await openGramineSource({ folder });
    await assert.rejects(source!.gather(reportData), { code: 'evidence-missing', message: /gave no quote/ });
    writeFileSync(join(folder, 'quote'), Uint8Array.of(3, 0, 2, 0));
    assert.deepEqual(await source!.gather(reportData), {
      technology: 'sgx',
      parts: { quote: Uint8Array.of(3, 0, 2, 0) },
    });
    const { readFileSync } = await import('node:fs');
    assert.deepEqual(new Uint8Array(readFileSync(join(folder, 'user_report_data'))), reportData);
    writeFileSync(join(folder, 'attestation_type'), 'none');
    await assert.rejects(openGramineSource({ folder }), { code: 'evidence-missing', message: /attests by "none"/ });
  });
});

describe('Nitro', () => {
  const text = (value: string): number[] => [0x60 | value.length, ...new TextEncoder().encode(value)];
  const bytes = (value: Uint8Array): number[] => [0x59, value.length >> 8, value.length & 0xff, ...value];
  const document = new Uint8Array(4000).fill(0x42);
  const answer = Uint8Array.of(0xa1, ...text('Attestation'), 0xa1, ...text('document'), ...bytes(document));

  test('asks for the report data as user data and gives the document on', async () => {
    const asked: Uint8Array[] = [];
    const source = openNitroSource((request) => (asked.push(request), answer));
    assert.deepEqual(await source!.gather(reportData), { technology: 'nitro', parts: { document } });
    const members = [
      ...text('user_data'),
      0x58,
      64,
      ...reportData,
      ...text('nonce'),
      0xf6,
      ...text('public_key'),
      0xf6,
    ];
    assert.deepEqual(asked, [Uint8Array.of(0xa1, ...text('Attestation'), 0xa3, ...members)]);
    assert.deepEqual(attestationRequest(reportData), asked[0]);
  });

  test('errors of the module are told, and what is no answer is refused', () => {
    const refused = Uint8Array.of(0xa1, ...text('Error'), ...text('InvalidOperation'));
    assert.throws(() => documentOf(refused), { code: 'evidence-missing', message: /refused: InvalidOperation/ });
    for (let length = 0; length < answer.length; length += length < 40 ? 1 : 397)
      assert.throws(() => documentOf(answer.subarray(0, length)), { code: 'evidence-missing' }, `${length} bytes`);
    const empty = Uint8Array.of(0xa1, ...text('Attestation'), 0xa1, ...text('document'), 0x40);
    for (const wrong of [
      Uint8Array.of(...answer, 0),
      answer.with(0, 0xa2),
      answer.with(1, 0x4b),
      answer.with(13, 0xa2),
      empty,
    ])
      assert.throws(() => documentOf(wrong), { code: 'evidence-missing', message: /answer that is none/ });
  });

  test('there is no module on this machine', () => assert.equal(openNitroSource(), undefined));
});

test('the service of a cloud is asked once, within bounds, and followed nowhere', async (context) => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${String(request.headers['metadata'])}`);
    if (request.url === '/away') return void response.writeHead(302, { location: '/good' }).end();
    if (request.url === '/silent') return;
    if (request.url === '/long') return void response.end(new Uint8Array(101));
    request.pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const ask = (path: string, fetch = createPlatformFetch()): Promise<Uint8Array> => {
    const url = `http://127.0.0.1:${port}${path}`;
    return fetch({ url, method: 'POST', headers: { Metadata: 'true' }, body: 'question', bytesMax: 100 });
  };
  assert.equal(Buffer.from(await ask('/good')).toString(), 'question');
  assert.deepEqual(seen, ['POST /good true']);
  await assert.rejects(ask('/away'), { code: 'evidence-missing', message: /status 302/ });
  await assert.rejects(ask('/long'), { code: 'evidence-missing', message: /more than 100 bytes/ });
  const hasty = createPlatformFetch({ ...patientClock, after: (_, callback) => patientClock.after(30, callback) });
  await assert.rejects(ask('/silent', hasty), { code: 'evidence-missing', message: /did not answer in time/ });
});

describe('Azure', { skip: !hasSwtpm() }, () => {
  let tpm: SoftwareTpm;
  const report = new Uint8Array(2600);
  before(async () => {
    tpm = await startSwtpm();
    assert.equal(await openAzureSource({ device: tpm.device }), undefined, 'a TPM without the index is no paravisor');
    report.set(new TextEncoder().encode('HCLA'));
    report.fill(0x5a, 0x20, 0x4c0);
    await withTpm(tpm.device, async (t) => {
      const access = NvAttribute.ownerRead | NvAttribute.ownerWrite | NvAttribute.authRead;
      await nvDefine(t, { handle: 0x0140_0001, attributes: access, policy: new Uint8Array(0), bytes: 1300 });
      const key = await createPrimary(t, Hierarchy.owner, attestationKeyTemplate);
      await evictControl(t, key, 0x8100_0003);
    });
  });
  after(() => tpm.stop());

  /** The simulator takes 1024 bytes at once, which is less than a report: the rest stays as it is defined. */
  const store = async (type: number): Promise<void> => {
    report[0x4c8] = type;
    await tpm.tool('tpm2_startup', '-c').catch(() => '');
    writeFileSync(join(tpm.folder, 'report'), report.subarray(0, 1300));
    await tpm.tool('tpm2_nvwrite', '-C', 'o', '-i', 'report', '0x01400001');
  };

  test('an index that nobody wrote, or that holds something else, is no report', async () => {
    assert.equal(await openAzureSource({ device: tpm.device }), undefined);
    await store(3);
    await assert.rejects(openAzureSource({ device: tpm.device }), { code: 'evidence-missing' });
  });

  test('SNP: report, quote over the report data, certificate by the fetcher', async () => {
    await store(2);
    const requests: PlatformRequest[] = [];
    const fetch = async (request: PlatformRequest): Promise<Uint8Array> => {
      requests.push(request);
      return new TextEncoder().encode(JSON.stringify({ vcekCert: 'PEM', certificateChain: '' }));
    };
    const source = await openAzureSource({ device: tpm.device, fetch });
    const evidence = await source!.gather(reportData);
    checkEvidence(evidence);
    assert.equal(evidence.technology, 'az-snp-vtpm');
    assert.deepEqual(evidence.parts['hclReport'], report.subarray(0, 1300));
    assert.deepEqual(parseAttest(evidence.parts['quote']!).extraData, sha256(reportData));
    assert.equal(Buffer.from(evidence.parts['vcek']!).toString(), 'PEM');
    assert.equal(requests[0]?.headers['Metadata'], 'true');
    const alone = await (await openAzureSource({ device: tpm.device }))!.gather(reportData);
    assert.equal('vcek' in alone.parts, false);
    const away = createPlatformFetch();
    const unreachable = await openAzureSource({
      device: tpm.device,
      fetch: (request) => away({ ...request, url: 'http://127.0.0.1:1/' }),
    });
    assert.equal('vcek' in (await unreachable!.gather(reportData)).parts, false);
    const broken = await openAzureSource({ device: tpm.device, fetch: async () => Uint8Array.of(0x7b) });
    await assert.rejects(broken!.gather(reportData), { code: 'evidence-missing', message: /without vcekCert/ });
  });

  test('TDX: the TD report goes to the platform and comes back as a quote', async () => {
    await store(4);
    const fetch = async ({ body, method }: PlatformRequest): Promise<Uint8Array> => {
      assert.equal(method, 'POST');
      const sent = Buffer.from((JSON.parse(body ?? '') as { report: string }).report, 'base64url');
      assert.deepEqual(new Uint8Array(sent), report.subarray(0x20, 0x20 + 1024));
      return new TextEncoder().encode(JSON.stringify({ quote: Buffer.from('quoted').toString('base64url') }));
    };
    const evidence = await (await openAzureSource({ device: tpm.device, fetch }))!.gather(reportData);
    checkEvidence(evidence);
    assert.equal(Buffer.from(evidence.parts['tdQuote']!).toString(), 'quoted');
    const alone = await openAzureSource({ device: tpm.device });
    await assert.rejects(alone!.gather(reportData), { code: 'evidence-missing' });
  });

  test('the strongest that is there is chosen, or the one that is asked for', async () => {
    const gramineFolder = mkdtempSync(join(scratch, 'detect-'));
    const nowhere = { tsm: { folder: join(scratch, 'nowhere') }, gramine: { folder: gramineFolder } };
    const options = { ...nowhere, tpm: tpm.device };
    assert.equal((await detectSource(options)).technology, 'az-tdx-vtpm');
    assert.equal((await detectSource({ ...options, technology: 'tpm' })).technology, 'tpm');
    writeFileSync(join(gramineFolder, 'attestation_type'), 'dcap');
    assert.equal((await detectSource(options)).technology, 'sgx');
    mkdirSync(join(scratch, 'tsm'));
    const { files } = fakeTsm({ folder: join(scratch, 'tsm'), provider: 'sev_guest', report: answerTo });
    const tsm = { folder: join(scratch, 'tsm'), files };
    assert.equal((await detectSource({ ...options, tsm })).technology, 'snp');
    await assert.rejects(detectSource({ ...options, tsm, technology: 'tdx' }), { message: /it gives snp/ });
    await assert.rejects(detectSource({ technology: 'sev' }), { code: 'argument-invalid' });
    const survey = await surveySources(options);
    assert.deepEqual(
      survey.map(({ technology, isBroken }) => [technology, isBroken]),
      [
        [undefined, false],
        ['sgx', false],
        [undefined, false],
        ['az-tdx-vtpm', false],
        ['tpm', false],
      ],
    );
  });

  test('a machine without anything says what was looked for', async () => {
    const nowhere = { tsm: { folder: join(scratch, 'nowhere') }, gramine: { folder: scratch }, tpm: '/nowhere/tpm0' };
    await assert.rejects(detectSource(nowhere), {
      code: 'evidence-missing',
      message: /configfs-tsm.*Gramine.*Nitro.*Azure.*TPM 2.0: there is no TPM at/,
    });
    assert.equal(
      (await surveySources(nowhere)).some(({ isBroken }) => isBroken),
      false,
    );
    const unreachable = await surveySources({ ...nowhere, tpm: 'swtpm:127.0.0.1:1' });
    assert.equal(unreachable.at(-1)?.isBroken, true);
  });
});
