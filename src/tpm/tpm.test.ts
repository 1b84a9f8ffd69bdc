/** The TPM client against software TPMs: what it does agrees with tpm2-tools, and what a bus or a device may do to it is noticed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { patientClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { requireSwtpm, hasSwtpm, startSwtpm } from '../../test/support/swtpm.ts';
import type { SoftwareTpm } from '../../test/support/swtpm.ts';
import { Algorithm, tpmHash } from '../wire/tpm/algorithms.ts';
import { parseAttest } from '../wire/tpm/attest.ts';
import { pcrDigest } from '../wire/tpm/pcr-selection.ts';
import { encodePublic, publicKeyOf } from '../wire/tpm/public-area.ts';
import { parseSignature, verifySignature } from '../wire/tpm/signature.ts';
import { activateCredential, quote, readFacts, readPcrs } from './tpm-attest.ts';
import { Hierarchy, NvAttribute } from './tpm-constants.ts';
import { openTpmDevice, parseTpmDevice } from './tpm-device.ts';
import { refusalOf, refused } from './tpm-errors.ts';
import { nvCertify, nvDefine, nvIncrement, nvRead, nvReadPublic, nvUndefine, nvWrite } from './tpm-nv.ts';
import { createPrimary, evictControl, getRandom, load, readPublic, seal, startSession, unseal } from './tpm-objects.ts';
import { useOf } from './tpm-session.ts';
import {
  attestationKeyTemplate,
  endorsementEccTemplate,
  endorsementRsaTemplate,
  sealedTemplate,
  storageKeyTemplate,
} from './tpm-templates.ts';
import { openDeviceTransport } from './tpm-transport.ts';
import type { TpmTransport } from './tpm-transport.ts';
import { withTpm } from './tpm.ts';

const bank = { hash: tpmHash(Algorithm.sha256)!, indexes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 16], bitmapBytes: 3 };
const nothing = new Uint8Array(0);
const rewrite = (bytes: Uint8Array, at: number, value: number): Uint8Array => bytes.with(at, value);

test('software TPMs are installed', (t) => void requireSwtpm(t, 'tpm2_checkquote', 'tpm2_makecredential'));

/** Passes on to the simulator; `change` sees every command and answer. */
function through(change: (bytes: Uint8Array, direction: 'command' | 'answer') => Uint8Array) {
  return async (device: ReturnType<typeof parseTpmDevice>, clock: Clock): Promise<TpmTransport> => {
    const inner = await openTpmDevice(device, clock);
    return {
      send: async (command, milliseconds) =>
        change(await inner.send(change(command, 'command'), milliseconds), 'answer'),
      close: () => inner.close(),
    };
  };
}

const commandOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(6);

describe('TPM client', { skip: !hasSwtpm() }, () => {
  let tpm: SoftwareTpm;
  before(async () => {
    tpm = await startSwtpm({ isManufactured: true });
  });
  after(() => tpm.stop());

  test('tells what it is', async () => {
    const facts = await withTpm(tpm.device, readFacts);
    assert.deepEqual([facts.manufacturer, facts.vendor, facts.banks], ['IBM', 'SWTPM', ['sha256', 'sha384']]);
    const [one, other] = await withTpm(tpm.device, async (t) => [await getRandom(t, 32), await getRandom(t, 32)]);
    assert.notDeepEqual(one, other);
  });

  test('primary keys are those of tpm2-tools, and the same on every call', async () => {
    const names = async (): Promise<Uint8Array[]> =>
      withTpm(tpm.device, async (t) => {
        const rsa = await createPrimary(t, Hierarchy.endorsement, endorsementRsaTemplate);
        const ecc = await createPrimary(t, Hierarchy.endorsement, endorsementEccTemplate);
        return [rsa.name, ecc.name];
      });
    const [rsa, ecc] = await names();
    assert.deepEqual(await names(), [rsa, ecc]);
    for (const [kind, name] of [
      ['rsa', rsa],
      ['ecc', ecc],
    ] as const) {
      await tpm.tool('tpm2_createek', '-c', `${kind}.ctx`, '-G', kind, '-u', `${kind}.pub`);
      await tpm.tool('tpm2_readpublic', '-c', `${kind}.ctx`, '-n', `${kind}.name`);
      await tpm.tool('tpm2_flushcontext', '-t');
      assert.deepEqual(new Uint8Array(readFileSync(join(tpm.folder, `${kind}.name`))), name);
    }
  });

  test('quotes pass tpm2_checkquote and our own verification', async () => {
    const nonce = randomBytes(32);
    const made = await withTpm(tpm.device, async (t) => {
      const key = await createPrimary(t, Hierarchy.endorsement, attestationKeyTemplate);
      return { key, values: await readPcrs(t, bank), ...(await quote(t, key, nonce, [bank])) };
    });
    assert.equal(made.values.length, bank.indexes.length);
    const attest = parseAttest(made.attest);
    assert.equal(attest.attested.type, 'quote');
    assert.deepEqual(attest.extraData, new Uint8Array(nonce));
    const digest = pcrDigest(bank.hash, Uint8Array.from(made.values.flatMap((value) => [...value])));
    assert.deepEqual(attest.attested.type === 'quote' && Buffer.from(attest.attested.pcrDigest), digest);
    const publicKey = publicKeyOf(made.key.area);
    assert.equal(verifySignature(publicKey, made.attest, parseSignature(made.signature)), true);
    const file = (name: string, bytes: Uint8Array | string): string => {
      writeFileSync(join(tpm.folder, name), bytes);
      return name;
    };
    const pem = file('ak.pem', publicKey.export({ type: 'spki', format: 'pem' }));
    const [message, signature] = [file('quote.msg', made.attest), file('quote.sig', made.signature)];
    const check = ['-u', pem, '-m', message, '-s', signature, '-g', 'sha256', '-q'];
    await tpm.tool('tpm2_checkquote', ...check, nonce.toString('hex'));
    await assert.rejects(tpm.tool('tpm2_checkquote', ...check, randomBytes(32).toString('hex')));
  });

  test('recovers a credential that tpm2_makecredential made, and no other key does', async () => {
    const secret = randomBytes(32);
    writeFileSync(join(tpm.folder, 'secret'), secret);
    for (const template of [endorsementRsaTemplate, endorsementEccTemplate]) {
      const key = await withTpm(tpm.device, (t) => createPrimary(t, Hierarchy.endorsement, attestationKeyTemplate));
      const endorsement = await withTpm(tpm.device, (t) => createPrimary(t, Hierarchy.endorsement, template));
      writeFileSync(join(tpm.folder, 'ek.pub'), encodePublic(endorsement.area));
      const name = Buffer.from(key.name).toString('hex');
      await tpm.tool(
        'tpm2_makecredential',
        '-T',
        'none',
        '-u',
        'ek.pub',
        '-s',
        'secret',
        '-n',
        name,
        '-o',
        'credential',
      );
      // The file of tpm2-tools has a magic and a version in front.
      const made = new Uint8Array(readFileSync(join(tpm.folder, 'credential'))).subarray(8);
      const blobBytes = 2 + ((made[0]! << 8) | made[1]!);
      const credential = { blob: made.subarray(0, blobBytes), secret: made.subarray(blobBytes) };
      const seen: Uint8Array[] = [];
      const activate = (kind: typeof storageKeyTemplate): Promise<Uint8Array> =>
        withTpm(
          tpm.device,
          async (t) => {
            const attestation = await createPrimary(t, Hierarchy.endorsement, kind);
            return activateCredential(
              t,
              attestation,
              await createPrimary(t, Hierarchy.endorsement, template),
              credential,
            );
          },
          { openTransport: through((bytes) => (seen.push(bytes), bytes)) },
        );
      assert.deepEqual(await activate(attestationKeyTemplate), new Uint8Array(secret));
      assert.equal(
        seen.some((bytes) => Buffer.from(bytes).includes(secret)),
        false,
        'it crossed the bus in the clear',
      );
      await assert.rejects(activate(storageKeyTemplate), { code: 'tpm-failed' });
    }
  });

  test('a sealed secret crosses the bus in neither direction, and a changed answer is noticed', async () => {
    const secret = randomBytes(32);
    const seen: Uint8Array[] = [];
    const roundTrip = (change: (bytes: Uint8Array, direction: 'command' | 'answer') => Uint8Array) =>
      withTpm(
        tpm.device,
        async (t) => {
          const parent = await createPrimary(t, Hierarchy.owner, storageKeyTemplate);
          const session = await startSession(t, 'hmac', parent);
          const template = {
            ...sealedTemplate(nothing, false),
            attributes: sealedTemplate(nothing, false).attributes | 64,
          };
          const blob = await seal(t, parent, useOf(session, { command: true }), { template, secret, pin: nothing });
          const sealed = await load(t, parent, blob);
          return unseal(t, sealed, useOf(session, { answer: true }));
        },
        { openTransport: through(change) },
      );
    assert.deepEqual(await roundTrip((bytes) => (seen.push(bytes), bytes)), new Uint8Array(secret));
    assert.equal(seen.length > 6, true);
    assert.equal(
      seen.some((bytes) => Buffer.from(bytes).includes(secret)),
      false,
    );
    let wasUnseal = false;
    const tampering = roundTrip((bytes, direction) => {
      if (direction === 'command') wasUnseal = commandOf(bytes) === 0x15e;
      return direction === 'answer' && wasUnseal ? rewrite(bytes, 20, bytes[20]! ^ 1) : bytes;
    });
    await assert.rejects(tampering, { code: 'tpm-failed', kind: 'integrity' });
    const sent = roundTrip((bytes, direction) => {
      const isCreate = direction === 'command' && commandOf(bytes) === 0x153;
      return isCreate ? rewrite(bytes, bytes.length - 1, bytes.at(-1)! ^ 1) : bytes;
    });
    await assert.rejects(sent, { code: 'tpm-failed', kind: 'denied', message: /BAD_AUTH in session 1/ });
  });

  test('NV: an ordinary index, a counter, and a signed statement of its content', async () => {
    const access = NvAttribute.authRead | NvAttribute.authWrite | NvAttribute.noDictionaryAttack;
    const ordinary = { handle: 0x0180_1111, attributes: access, policy: nothing, bytes: 900 };
    const counter = { handle: 0x0180_2222, attributes: access | NvAttribute.counter, policy: nothing, bytes: 8 };
    const content = new Uint8Array(randomBytes(900));
    await withTpm(tpm.device, async (t) => {
      assert.equal(await nvReadPublic(t, ordinary.handle), undefined);
      await nvDefine(t, ordinary);
      await assert.rejects(nvDefine(t, ordinary), { code: 'tpm-failed', message: /TPM_RC_NV_DEFINED/ });
      const index = (await nvReadPublic(t, ordinary.handle))!;
      assert.equal(index.isWritten, false);
      await assert.rejects(nvRead(t, index), { message: /NV_UNINITIALIZED/ });
      await nvWrite(t, index, content.subarray(0, 800));
      await assert.rejects(nvWrite(t, index, new Uint8Array(901)), { message: /NV_RANGE/ });
      await nvDefine(t, counter);
      await nvIncrement(t, (await nvReadPublic(t, counter.handle))!);
    });
    await tpm.restart();
    await withTpm(tpm.device, async (t) => {
      const index = (await nvReadPublic(t, ordinary.handle))!;
      assert.equal(index.isWritten, true);
      assert.deepEqual((await nvRead(t, index)).subarray(0, 800), content.subarray(0, 800));
      const counted = (await nvReadPublic(t, counter.handle))!;
      const before = await nvRead(t, counted);
      await nvIncrement(t, counted);
      const now = await nvRead(t, counted);
      assert.equal(Buffer.from(now).readBigUInt64BE(), Buffer.from(before).readBigUInt64BE() + 1n);
      const key = await createPrimary(t, Hierarchy.endorsement, attestationKeyTemplate);
      const { attest, signature } = await nvCertify(t, key, counted, Uint8Array.of(1, 2, 3));
      const { attested, extraData } = parseAttest(attest);
      assert.deepEqual(attested, { type: 'nv-certify', indexName: counted.name, offset: 0, contents: now });
      assert.deepEqual(extraData, Uint8Array.of(1, 2, 3));
      assert.equal(verifySignature(publicKeyOf(key.area), attest, parseSignature(signature)), true);
      await nvUndefine(t, index);
      await nvUndefine(t, counted);
      assert.equal(await nvReadPublic(t, ordinary.handle), undefined);
    });
  });

  test('an index or a key with a name that is not its own is refused', async () => {
    const area = {
      handle: 0x0180_3333,
      attributes: NvAttribute.authRead | NvAttribute.authWrite,
      policy: nothing,
      bytes: 8,
    };
    await withTpm(tpm.device, async (t) => {
      await nvDefine(t, area);
      await evictControl(t, await createPrimary(t, Hierarchy.owner, attestationKeyTemplate), 0x8100_0007);
    });
    const lying = (code: number, at: number) => {
      let isAsked = false;
      return through((bytes, direction) => {
        if (direction === 'command') isAsked = commandOf(bytes) === code;
        return direction === 'answer' && isAsked ? rewrite(bytes, bytes.length + at, bytes.at(at)! ^ 1) : bytes;
      });
    };
    const none = { code: 'tpm-failed', message: /answer that is none/ };
    const index = withTpm(tpm.device, (t) => nvReadPublic(t, area.handle), { openTransport: lying(0x169, -1) });
    await assert.rejects(index, none);
    // The name of a key stands before its qualified name, 36 bytes each.
    const key = withTpm(tpm.device, (t) => readPublic(t, 0x8100_0007), { openTransport: lying(0x173, -37) });
    await assert.rejects(key, none);
    await withTpm(tpm.device, async (t) => {
      await nvUndefine(t, (await nvReadPublic(t, area.handle))!);
      await evictControl(t, await readPublic(t, 0x8100_0007), 0x8100_0007);
    });
  });

  test('keys can be kept, read and removed', async () => {
    await withTpm(tpm.device, async (t) => {
      const key = await createPrimary(t, Hierarchy.owner, attestationKeyTemplate);
      await evictControl(t, key, 0x8100_0003);
      const kept = await readPublic(t, 0x8100_0003);
      assert.deepEqual(kept.name, key.name);
      await evictControl(t, kept, 0x8100_0003);
      await assert.rejects(readPublic(t, 0x8100_0003), { message: /TPM_RC_HANDLE in handle 1/ });
    });
  });

  test('leaves nothing loaded, and clears away what a program that died left', async () => {
    const loaded = (): Promise<number[]> => withTpm(tpm.device, (t) => t.handles(0x8000_0000));
    await assert.rejects(
      withTpm(tpm.device, async (t) => {
        await startSession(t, 'policy', await createPrimary(t, Hierarchy.owner, storageKeyTemplate));
        throw new Error('meanwhile');
      }),
      /meanwhile/,
    );
    assert.deepEqual(await loaded(), []);
    assert.deepEqual(await withTpm(tpm.device, (t) => t.handles(0x0200_0000)), []);
    const dying = through((bytes) => (commandOf(bytes) === 0x165 ? rewrite(bytes, 9, 0xff) : bytes));
    for (let count = 0; count < 3; count++) {
      await withTpm(tpm.device, (t) => createPrimary(t, Hierarchy.owner, storageKeyTemplate), { openTransport: dying });
    }
    assert.equal((await loaded()).length, 3);
    await withTpm(tpm.device, (t) => createPrimary(t, Hierarchy.owner, storageKeyTemplate));
    assert.deepEqual(await loaded(), []);
  });

  test('conversations of one process take turns', async () => {
    const work = Array.from({ length: 6 }, () =>
      withTpm(tpm.device, async (t) => (await createPrimary(t, Hierarchy.owner, storageKeyTemplate)).handle),
    );
    for (const handle of await Promise.all(work)) assert.equal(handle, 0x8000_0000);
  });

  test('a command that the TPM asks to repeat is repeated, within a bound', async () => {
    const again = (times: number) => {
      let left = times;
      return async (device: ReturnType<typeof parseTpmDevice>, clock: Clock): Promise<TpmTransport> => {
        const inner = await openTpmDevice(device, clock);
        const retry = Uint8Array.of(0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x22);
        return {
          send: async (command, milliseconds) =>
            commandOf(command) === 0x17b && left-- > 0 ? retry : inner.send(command, milliseconds),
          close: () => inner.close(),
        };
      };
    };
    const options = { openTransport: again(20), clock: { ...patientClock, after: quickAfter } };
    assert.equal((await withTpm(tpm.device, (t) => getRandom(t, 16), options)).length, 16);
    await assert.rejects(
      withTpm(tpm.device, (t) => getRandom(t, 16), { ...options, openTransport: again(21) }),
      { code: 'tpm-failed', kind: 'transient', message: /TPM_RC_RETRY/ },
    );
  });

  test('a device takes one write and gives one read for each command', async () => {
    const calls: string[] = [];
    const device = parseTpmDevice(tpm.device);
    const openTransport = async (): Promise<TpmTransport> => {
      const inner = await openTpmDevice(device, patientClock);
      let answer: Uint8Array = nothing;
      return openDeviceTransport('/dev/tpmrm0', patientClock, async () => ({
        write: async (bytes: Uint8Array) => {
          calls.push('write');
          answer = await inner.send(Uint8Array.from(bytes), 10_000);
          return { bytesWritten: bytes.length };
        },
        read: async (bytes: Uint8Array) => {
          calls.push('read');
          bytes.set(answer);
          return { bytesRead: answer.length };
        },
        close: async () => {
          calls.push('close');
          await inner.close();
        },
      }));
    };
    assert.equal((await withTpm('/dev/tpmrm0', (t) => getRandom(t, 8), { openTransport })).length, 8);
    assert.deepEqual(calls, ['write', 'read', 'close']);
  });
});

/** Pauses of a test take no time; limits stay what they are. */
function quickAfter(milliseconds: number, callback: () => void): () => void {
  return patientClock.after(milliseconds === 100 ? 0 : milliseconds, callback);
}

describe('a TPM that misbehaves', () => {
  const listen = async (answer: (socket: { write(bytes: Uint8Array): void; destroy(): void }) => void) => {
    const server: Server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => answer(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, device: `swtpm:127.0.0.1:${(server.address() as AddressInfo).port}` };
  };
  const cases: readonly [string, Uint8Array | undefined, RegExp][] = [
    ['closes the connection', undefined, /connection .* (broke|closed)/],
    ['says an endless length', Uint8Array.of(0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), /header says 4294967295/],
    ['says too short a length', Uint8Array.of(0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0), /header says 9 bytes/],
    ['says more than it is asked', new Uint8Array(40).with(5, 12), /more follows/],
    ['has another tag', Uint8Array.of(0x80, 2, 0, 0, 0, 10, 0, 0, 0, 0), /its tag is wrong/],
  ];
  for (const [name, bytes, message] of cases) {
    test(name, async () => {
      const { server, device } = await listen((socket) =>
        bytes === undefined ? socket.destroy() : socket.write(bytes),
      );
      await assert.rejects(
        withTpm(device, (t) => getRandom(t, 8)),
        { code: 'tpm-failed', message },
      );
      server.close();
    });
  }

  test('does not answer: the limit ends it, for a device too', async () => {
    const { server, device } = await listen(() => undefined);
    const clock: Clock = { ...patientClock, after: (_, callback) => patientClock.after(50, callback) };
    const late = { code: 'timeout', kind: 'transient' };
    await assert.rejects(
      withTpm(device, (t) => getRandom(t, 8), { clock }),
      late,
    );
    server.close();
    let isClosed = false;
    const hanging = await openDeviceTransport('/dev/tpmrm0', clock, async () => ({
      write: () => new Promise<never>(() => undefined),
      read: () => new Promise<never>(() => undefined),
      close: async () => void (isClosed = true),
    }));
    await assert.rejects(hanging.send(new Uint8Array(10), 1000), late);
    await assert.rejects(hanging.send(new Uint8Array(10), 1000), { kind: 'closed' });
    assert.equal(isClosed, true);
  });

  test('what opening a device may answer has a name and a remedy each', async () => {
    const expected = [
      ['ENOENT', 'io', /there is no TPM/],
      ['EACCES', 'denied', /may not use/],
      ['EBUSY', 'transient', /another program holds/],
      ['EIO', 'io', /failed/],
    ] as const;
    for (const [code, kind, message] of expected) {
      const opening = openDeviceTransport('/dev/tpm0', patientClock, () =>
        Promise.reject(Object.assign(new Error(code), { code })),
      );
      await assert.rejects(opening, (error) => {
        assert(isCaissonError(error, 'tpm-failed'));
        assert.equal(error.kind, kind);
        assert.match(error.message, message);
        return error.remedy !== undefined;
      });
    }
  });
});

test('refusals have the names of the TPM, and say where the fault lies', () => {
  const expected = [
    [0x99d, 'POLICY_FAIL', /in session 1/, 'denied'],
    [0x98e, 'AUTH_FAIL', /in session 1/, 'denied'],
    [0x18b, 'HANDLE', /in handle 1/, 'io'],
    [0x2d5, 'SIZE', /in parameter 2/, 'io'],
    [0x921, 'LOCKOUT', /TPM_RC_LOCKOUT$/, 'denied'],
    [0x128, 'PCR_CHANGED', /PCR_CHANGED$/, 'io'],
    [0x14b, 'NV_SPACE', /NV_SPACE$/, 'full'],
    [0x922, 'RETRY', /RETRY$/, 'transient'],
    [0x910, 'REFERENCE', /REFERENCE$/, 'io'],
    [0x7f, 'UNKNOWN', /UNKNOWN$/, 'io'],
  ] as const;
  for (const [code, name, message, kind] of expected) {
    assert.equal(refusalOf(code), name);
    const error = refused('Unseal', code);
    assert.match(error.message, message);
    assert.equal(error.kind, kind);
    assert.notEqual(error.remedy, undefined);
  }
});
