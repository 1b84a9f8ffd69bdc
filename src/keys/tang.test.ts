import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { keySourceConformance } from '../../test/conformance/key-source.ts';
import { FakeTang, newKey } from '../../test/support/fake-tang.ts';
import { hurriedContext, keyRefusal, otherUse, use } from '../../test/support/key-services.ts';
import { parseKeyUrl } from './key-url.ts';
import { createTangSource } from './tang.ts';

const tang = await new FakeTang().start();
const other = await new FakeTang().start();
after(() => {
  tang.stop();
  other.stop();
});

const source = (url = tang.url) => createTangSource(parseKeyUrl(url), hurriedContext);

keySourceConformance('tang', {
  make: () => source(),
  makeOther: () => source(other.url),
  bindsVolume: true,
});

describe('tang', () => {
  before(() => {
    tang.faults.clear();
    tang.tamper = (whole) => whole;
  });

  test('the server sees neither the points of the slot nor the same point twice', async () => {
    const { parameters } = await source().enroll(use);
    tang.asked.length = 0;
    await source().derive(parameters, use);
    await source().derive(parameters, use);
    const [first, second] = tang.asked.map((line) => JSON.parse(line.replace(/^\S+ \S+ /, '')) as { x: string });
    assert.notEqual(first?.x, second?.x);
    assert.equal(Buffer.from(parameters).includes(Buffer.from(first?.x ?? '', 'base64url')), false);
  });

  test('the box of one volume opens for no other', async () => {
    const { parameters } = await source().enroll(use);
    const refusal = await keyRefusal(source().derive(parameters, otherUse), 'key-wrong');
    assert.match(refusal.message, /does not fit this slot/);
  });

  test('an advertisement is believed only by the signature of the pinned key', async () => {
    const forger = newKey();
    for (const tamper of [
      () => other.advertisement(),
      () => tang.advertisement(undefined, 'ES256'),
      () => ({ ...tang.advertisement(forger) }),
      (whole: { payload: string }) => ({ ...whole, payload: other.advertisement().payload }),
      (whole: object) => ({ ...whole, signature: '' }),
      (whole: object) => ({ ...whole, protected: Buffer.from('{"alg":"none"}').toString('base64url') }),
      ({ payload }: { payload: string }) => ({ payload, signatures: [] }),
      () => ({ payload: 5 }),
      () => [],
    ] as const) {
      tang.tamper = tamper;
      await keyRefusal(source().enroll(use), 'key-source-unavailable');
    }
    tang.tamper = ({ payload, ...signature }) => ({ payload, signatures: [{ protected: 'x' }, signature] });
    assert.equal((await source().enroll(use)).key.length, 32);
    tang.tamper = (whole) => whole;
  });

  test('hidden old keys still open, deleted ones do not, and a new slot needs the new thumbprint', async (t) => {
    const rotating = await new FakeTang().start();
    t.after(() => rotating.stop());
    const old = rotating.url;
    const { parameters, key } = await source(old).enroll(use);
    rotating.rotate();
    assert.deepEqual(await source(old).derive(parameters, use), key);
    const refusal = await keyRefusal(source(old).enroll(use), 'key-source-unavailable');
    assert.match(refusal.remedy ?? '', /thumbprint/);
    rotating.dropOldKeys();
    await keyRefusal(source(old).derive(parameters, use), 'key-wrong');
  });

  test('answers that are garbage, too long, an error or none at all are named', async () => {
    const { parameters } = await source().enroll(use);
    const foreign = (await source(other.url).enroll(use)).parameters;
    await keyRefusal(source().derive(foreign, use), 'key-wrong');
    const cases: [(response: import('node:http').ServerResponse) => void, string][] = [
      [(response) => response.end('garbage'), 'key-source-unavailable'],
      [(response) => response.end('{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}'), 'key-source-unavailable'],
      [
        (response) => response.end(JSON.stringify({ kty: 'EC', crv: 'P-521', x: newKey().jwk.x, y: newKey().jwk.y })),
        'key-source-unavailable',
      ],
      [(response) => response.end(JSON.stringify(newKey().jwk)), 'key-wrong'],
      [(response) => response.end('x'.repeat(70_000)), 'key-source-unavailable'],
      [(response) => response.writeHead(500).end(), 'key-source-unavailable'],
      [(response) => response.writeHead(302, { location: other.origin }).end(), 'key-source-unavailable'],
      [(response) => response.socket?.destroy(), 'key-source-unavailable'],
      [() => undefined, 'key-source-unavailable'],
    ];
    for (const [fault, code] of cases) {
      tang.faults.set('/rec/', fault);
      await keyRefusal(source().derive(parameters, use), code);
    }
    tang.faults.clear();
    await keyRefusal(
      source('tang:http://127.0.0.1:1?thumbprint=' + tang.thumbprint).derive(parameters, use),
      'key-source-unavailable',
    );
  });

  test('points that lie on no curve are refused before anybody is asked', async () => {
    const { parameters } = await source().enroll(use);
    const broken = Uint8Array.from(parameters);
    broken.fill(0xff, 34, 34 + 66);
    tang.asked.length = 0;
    await keyRefusal(source().derive(broken, use), 'format-invalid');
    assert.equal(tang.asked.length, 0);
  });

  test('the URL must pin a key', () => {
    for (const text of ['tang:http://x', 'tang:http://x?thumbprint=short', 'tang:x?thumbprint=a', 'tang:ftp://x'])
      assert.throws(() => source(text), { code: 'argument-invalid' });
  });
});
