import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  amdCollateral,
  amdContext,
  amdCrl,
  authorityCertificate,
  endorsementCertificate,
  fakeChipId,
  fakeTcb,
  snpEvidence,
  snpReport,
  tcbBytesOf,
} from '../../../test/support/fake-amd.ts';
import { pem } from '../../../test/support/fake-x509.ts';
import { JumpClock } from '../../../test/support/jump-clock.ts';
import { systemClock } from '../../lib/clock.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { kdsAttemptsMax, kdsBackoffMillisecondsMax, kdsRestMilliseconds, kdsWaitingMax } from '../../lib/limits.ts';
import { snpVerifier } from '../attest/snp/snp.ts';
import { AmdKds, amdService, isImmutableAmdCollateral } from './amd-kds.ts';
import type { KdsAnswer } from './amd-kds.ts';

interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** What the service answers by path and query: one reply after another, the last one for ever. */
const replies = new Map<string, Reply[]>();
const requests: string[] = [];
let underWay = 0;
let underWayMax = 0;

const server = http.createServer((request, response) => {
  const path = request.url ?? '';
  requests.push(path);
  underWayMax = Math.max(underWayMax, ++underWay);
  const queue = replies.get(path) ?? [{ status: 404 }];
  const reply = (queue.length > 1 ? queue.shift() : queue[0])!;
  setImmediate(() => {
    underWay--;
    response.writeHead(reply.status ?? 200, reply.headers ?? {}).end(reply.body ?? '');
  });
});
let url = '';
let clock: RecordingClock;

/** Waits pass at once; how long they were is kept. */
class RecordingClock extends JumpClock {
  readonly waits: number[] = [];

  override after(milliseconds: number, callback: () => void): () => void {
    this.waits.push(milliseconds);
    return super.after(milliseconds, callback);
  }
}

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());
beforeEach(() => {
  replies.clear();
  requests.length = 0;
  underWayMax = 0;
  clock = new RecordingClock();
});

function kds(ask = askByHttp): AmdKds {
  return new AmdKds({ url, ask, clock });
}

async function askByHttp(address: string): Promise<KdsAnswer> {
  const response = await fetch(address);
  const body = new Uint8Array(await response.arrayBuffer());
  return { status: response.status, retryAfter: response.headers.get('retry-after') ?? undefined, body };
}

const chipText = Buffer.from(fakeChipId).toString('hex');
const milanName = `amd/milan/vcek/${chipText}/${Buffer.from(tcbBytesOf('milan', fakeTcb)).toString('hex')}`;
const milanPath = `/vcek/v1/Milan/${chipText}?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219`;
const turinName = `amd/turin/vcek/${chipText.substring(0, 16)}/${Buffer.from(tcbBytesOf('turin', fakeTcb)).toString('hex')}`;
const turinPath = `/vcek/v1/Turin/${chipText.substring(0, 16)}?fmcSPL=02&blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219`;

function refused(work: Promise<unknown>, kind: string, code: string): Promise<void> {
  return assert.rejects(work, (error) => {
    assert.ok(error instanceof CaissonError, String(error));
    assert.deepEqual([error.kind, error.code], [kind, code], error.message);
    return true;
  });
}

describe('key distribution service of AMD', () => {
  it('asks for each kind at its address', async () => {
    const bodies: readonly (readonly [string, string, Uint8Array])[] = [
      [milanName, milanPath, endorsementCertificate('vcek', 'milan')],
      [turinName, turinPath, endorsementCertificate('vcek', 'turin')],
      ['amd/genoa/cert-chain', '/vcek/v1/Genoa/cert_chain', pem(authorityCertificate('ask', 'genoa'))],
      ['amd/turin/vlek-chain', '/vlek/v1/Turin/cert_chain', pem(authorityCertificate('asvk', 'turin'))],
      ['amd/milan/crl', '/vcek/v1/Milan/crl', amdCrl('milan')],
      ['amd/milan/vlek-crl', '/vlek/v1/Milan/crl', amdCrl('milan')],
    ];
    for (const [name, path, body] of bodies) {
      replies.set(path, [{ body }]);
      const before = Date.now();
      const { bytes, obtainedAt } = await kds().get(name);
      assert.deepEqual(bytes, body);
      assert.ok(obtainedAt >= before && obtainedAt <= Date.now());
      assert.equal(requests.at(-1), path);
    }
  });

  it('is enough for a verifier', async () => {
    const given = amdCollateral('milan');
    const bytes = async (name: string): Promise<Uint8Array> => (await given.get(name)).bytes;
    replies.set(milanPath, [{ body: await bytes(milanName) }]);
    replies.set('/vcek/v1/Milan/cert_chain', [{ body: await bytes('amd/milan/cert-chain') }]);
    replies.set('/vcek/v1/Milan/crl', [{ body: await bytes('amd/milan/crl') }]);
    const { claims } = await snpVerifier.verify(snpEvidence(snpReport()), amdContext('milan', { collateral: kds() }));
    assert.equal(claims.get('snp.product'), 'milan');
    assert.equal(requests.length, 3);
  });

  it('is asked over HTTP, once for each answer', async () => {
    replies.set('/mirror/vcek/v1/Milan/crl', [{ body: amdCrl('milan') }]);
    const source = amdService({ baseUrl: `${url}/mirror/`, clock: systemClock });
    assert.deepEqual((await source.get('amd/milan/crl')).bytes, replies.get('/mirror/vcek/v1/Milan/crl')?.[0]?.body);
    await refused(source.get('amd/genoa/crl'), 'invalid', 'collateral-missing');
    assert.equal(requests.length, 2);
  });

  it('hears over HTTP how long to wait', async () => {
    replies.set('/vcek/v1/Milan/crl', [{ status: 429, headers: { 'retry-after': '9' } }, { body: amdCrl('milan') }]);
    const waits: number[] = [];
    const impatient = {
      ...systemClock,
      after: (milliseconds: number, callback: () => void): (() => void) => {
        if (milliseconds !== 9_000) return systemClock.after(milliseconds, callback);
        waits.push(milliseconds);
        return systemClock.after(0, callback);
      },
    };
    await amdService({ baseUrl: url, clock: impatient }).get('amd/milan/crl');
    assert.deepEqual(waits, [9_000]);
  });

  it('knows what never changes', () => {
    assert.ok(isImmutableAmdCollateral(milanName));
    assert.ok(!isImmutableAmdCollateral('amd/milan/crl') && !isImmutableAmdCollateral('amd/milan/cert-chain'));
  });

  it('asks nobody for names that AMD does not have', async () => {
    const tcb = '04010000000018db';
    for (const name of [
      'intel/root-crl',
      'amd/rome/crl',
      'amd/milan',
      'amd/milan/crl/x',
      'amd/milan/toString',
      'amd/milan/vcek',
      `amd/milan/vcek/${chipText}`,
      `amd/milan/vcek/${chipText.substring(2)}/${tcb}`,
      `amd/milan/vcek/${chipText}/${tcb}00`,
      `amd/milan/vcek/${chipText}/${tcb}/x`,
      `amd/turin/vcek/${chipText}/${tcb}`,
      `amd/milan/vcek/${'../'.repeat(42)}xx/${tcb}`,
    ])
      await refused(kds().get(name), 'invalid', 'collateral-missing');
    await refused(kds().get(`amd/milan/vcek/${chipText}/0401ff00000018db`), 'invalid', 'evidence-invalid');
    assert.deepEqual(requests, []);
  });

  it('says at once what AMD does not have', async () => {
    for (const status of [400, 404]) {
      replies.set('/vcek/v1/Milan/crl', [{ status }]);
      await refused(kds().get('amd/milan/crl'), 'invalid', 'collateral-missing');
    }
    assert.deepEqual([requests.length, clock.waits.length], [2, 0]);
  });

  it('waits as long as it is asked to, and longer each time, within a bound', async () => {
    const crl = { body: amdCrl('milan') };
    const busy = (seconds?: string): Reply => ({
      status: 429,
      ...(seconds === undefined ? {} : { headers: { 'retry-after': seconds } }),
    });
    replies.set('/vcek/v1/Milan/crl', [busy('7'), busy(), busy('100000'), crl]);
    await kds().get('amd/milan/crl');
    assert.deepEqual(clock.waits, [7_000, 4_000, kdsBackoffMillisecondsMax]);
    clock.waits.length = 0;
    replies.set('/vcek/v1/Milan/crl', [busy('Mon, 01 Jan 2029 00:00:00 GMT'), busy('-5'), busy('1'), crl]);
    await kds().get('amd/milan/crl');
    assert.deepEqual(clock.waits, [2_000, 4_000, 8_000]);
  });

  it('gives up after some attempts, and then lets nobody wait for a while', async () => {
    replies.set('/vcek/v1/Milan/crl', [{ status: 429 }]);
    const source = kds();
    await refused(source.get('amd/milan/crl'), 'transient', 'collateral-missing');
    assert.equal(requests.length, kdsAttemptsMax);
    await refused(source.get('amd/genoa/crl'), 'transient', 'collateral-missing');
    assert.equal(requests.length, kdsAttemptsMax);
    await new Promise<void>((resolve) => void clock.after(kdsRestMilliseconds, resolve));
    replies.set('/vcek/v1/Milan/crl', [{ body: amdCrl('milan') }]);
    await source.get('amd/milan/crl');
  });

  it('tries again where there is no answer, or a broken one', async () => {
    replies.set('/vcek/v1/Milan/crl', [{ status: 503 }, { body: amdCrl('milan') }]);
    await kds().get('amd/milan/crl');
    let asked = 0;
    const away = kds(() => Promise.reject(new Error(`no route ${++asked}`)));
    await assert.rejects(away.get('amd/milan/crl'), (error) => isCaissonError(error, 'collateral-missing') && error.kind === 'transient' && /no route 4/.test(error.message)); // prettier-ignore
    assert.equal(asked, kdsAttemptsMax);
    const slow = kds(() => Promise.reject(new CaissonError('transient', 'timeout', `slow ${++asked}`)));
    await refused(slow.get('amd/milan/crl'), 'transient', 'collateral-missing');
    assert.equal(asked, 2 * kdsAttemptsMax);
    const forbidden = kds(() => Promise.reject(new CaissonError('invalid', 'configuration-invalid', 'no')));
    await refused(forbidden.get('amd/milan/crl'), 'invalid', 'configuration-invalid');
  });

  it('takes nothing that is not what it asked for', async () => {
    const page = new TextEncoder().encode('<html>Please log in</html>');
    const other = endorsementCertificate('vcek', 'genoa');
    const wrong: readonly (readonly [string, string, Uint8Array])[] = [
      [milanName, milanPath, page],
      [milanName, milanPath, other],
      [milanName, milanPath, endorsementCertificate('vlek', 'milan')],
      [`amd/milan/vcek/${'00'.repeat(64)}/04010000000018db`, `/vcek/v1/Milan/${'00'.repeat(64)}?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219`, endorsementCertificate('vcek', 'milan')], // prettier-ignore
      [
        `amd/milan/vcek/${chipText}/04010000000018dc`,
        milanPath.replace('219', '220'),
        endorsementCertificate('vcek', 'milan'),
      ],
      ['amd/milan/cert-chain', '/vcek/v1/Milan/cert_chain', page],
      ['amd/milan/crl', '/vcek/v1/Milan/crl', new Uint8Array(0)],
    ];
    for (const [name, path, body] of wrong) {
      replies.set(path, [{ body }]);
      await refused(kds().get(name), 'integrity', 'collateral-untrusted');
    }
  });

  it('asks one thing at a time, and the same thing once', async () => {
    replies.set('/vcek/v1/Milan/crl', [{ body: amdCrl('milan') }]);
    replies.set('/vcek/v1/Genoa/crl', [{ body: amdCrl('genoa') }]);
    const source = kds();
    const names = ['amd/milan/crl', 'amd/genoa/crl', 'amd/milan/crl', 'amd/milan/crl'];
    await Promise.all(names.map(async (name) => await source.get(name)));
    assert.deepEqual([requests.length, underWayMax], [2, 1]);
    await source.get('amd/milan/crl');
    assert.equal(requests.length, 3);
  });

  it('lets others go on after one was refused', async () => {
    replies.set('/vcek/v1/Genoa/crl', [{ body: amdCrl('genoa') }]);
    const source = kds();
    const first = refused(source.get('amd/milan/crl'), 'invalid', 'collateral-missing');
    const second = source.get('amd/genoa/crl');
    await first;
    await second;
  });

  it('bounds those who wait', async () => {
    const answers: (() => void)[] = [];
    const source = kds(
      () =>
        new Promise((resolve) =>
          answers.push(() => resolve({ status: 404, retryAfter: undefined, body: Uint8Array.of() })),
        ),
    );
    const name = (index: number): string =>
      `amd/milan/vcek/${chipText}/${index.toString(16).padStart(2, '0')}010000000018db`;
    const waiting = Array.from({ length: kdsWaitingMax }, (_, index) => assert.rejects(source.get(name(index))));
    await refused(source.get(name(kdsWaitingMax)), 'transient', 'collateral-missing');
    for (let answered = 0; answered < kdsWaitingMax; answered++) {
      while (answers.length <= answered) await new Promise((resolve) => setImmediate(resolve));
      answers[answered]!();
    }
    await Promise.all(waiting);
  });
});
