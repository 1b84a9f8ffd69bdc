/** Every vector of test/vectors/capability/ reaches what it expects; narrowing narrows, whatever is composed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { signingKeyFromSeed, volumeIdFromPublicKey } from '../crypto/signature.ts';
import type { SigningKey } from '../crypto/signature.ts';
import { isCaissonError } from '../lib/errors.ts';
import type { ErrorCode } from '../lib/errors.ts';
import {
  describeGrant,
  inspectCapability,
  mintCapability,
  narrowCapability,
  proveHolder,
  requireRight,
  verifyCapability,
} from './capability.ts';
import type { CapabilityContext, Narrowing } from './capability.ts';
import { capabilityFromText, capabilityRights, capabilityToText, encodeGrant } from './capability-format.ts';
import type { CapabilityGrant, CapabilityRight } from './capability-format.ts';

interface Vector {
  readonly expect: 'good' | 'capability-invalid' | 'capability-refused';
  readonly token: string;
  readonly text: string;
  readonly volumeId: string;
  readonly now: number;
  readonly epoch: number;
  readonly challenge: string;
  readonly proof: string;
  readonly grant: Readonly<Record<'base' | 'length' | 'rights' | 'notBefore' | 'expiresAt', number>> & {
    holder: string;
    snapshot?: string;
  };
}

const folder = new URL('../../test/vectors/capability/', import.meta.url);
const [volumeKey, alice, bob, carol] = [1, 2, 3, 4].map(keyOf) as [SigningKey, SigningKey, SigningKey, SigningKey];
const volumeId = volumeIdFromPublicKey(volumeKey.publicKey);
const challenge = new Uint8Array(16);
const [monday, tuesday] = [new Uint8Array(16).fill(0x11), new Uint8Array(16).fill(0x22)];
const whole: CapabilityGrant = {
  base: 0,
  length: undefined,
  rights: new Set(capabilityRights),
  notBefore: 0,
  expiresAt: 1_000_000,
  holder: alice.publicKey,
};

describe('capability vectors', () => {
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
    it(name, () => {
      const vector = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Vector;
      const token = bytes(vector.token);
      const proof = { challenge: bytes(vector.challenge), signature: bytes(vector.proof) };
      const context = { volumeId: bytes(vector.volumeId), now: vector.now, epoch: vector.epoch, proof };
      if (vector.expect !== 'good') return throws(() => verifyCapability(token, context), vector.expect);
      const found = verifyCapability(token, context);
      const rights = [...found.rights]
        .map((right) => 2 ** capabilityRights.indexOf(right))
        .reduce((sum, bit) => sum + bit);
      const { base, length, notBefore, expiresAt, holder, snapshot } = found;
      assert.deepEqual(
        {
          ...{ base, length: length ?? 0, rights, notBefore, expiresAt, holder: hex(holder) },
          ...(snapshot === undefined ? {} : { snapshot: hex(snapshot) }),
        },
        vector.grant,
      );
      assert.deepEqual(capabilityFromText(vector.text), token);
      assert.equal(capabilityToText(token), vector.text);
    });
  }
});

describe('a capability', () => {
  it('is minted, narrowed and verified', () => {
    const token = mintCapability(volumeKey, 3, whole);
    const part = narrowCapability(token, alice, {
      holder: bob.publicKey,
      base: 8192,
      length: 16_384,
      rights: rights('read', 'delegate'),
    });
    const last = narrowCapability(part, bob, { holder: carol.publicKey, base: 12_288, expiresAt: 500 });
    const found = verifyCapability(last, contextFor(last, carol, { epoch: 3 }));
    assert.deepEqual(
      [found.base, found.length, [...found.rights], found.expiresAt],
      [12_288, 12_288, ['read', 'delegate'], 500],
    );
    assert.equal(inspectCapability(last).grants.length, 3);
    assert.match(describeGrant(found), /^12288-24576 read,delegate until 1970-01-01T00:00:00.500Z for [0-9a-f]{64}$/);
  });

  it('loses resize with the open end, and keeps everything else that is not named', () => {
    const part = narrowCapability(mintCapability(volumeKey, 0, whole), alice, { holder: bob.publicKey, length: 4096 });
    const [, grant] = inspectCapability(part).grants;
    assert.deepEqual([...(grant?.rights ?? [])], ['read', 'write', 'trim', 'snapshot', 'export', 'delegate']);
  });

  it('of a snapshot grants reading, serving and handing on, and stays with that snapshot', () => {
    const token = mintCapability(volumeKey, 0, whole);
    const kept = narrowCapability(token, alice, { holder: bob.publicKey, base: 4096, snapshot: monday });
    const found = verifyCapability(kept, contextFor(kept, bob));
    assert.deepEqual([found.snapshot, [...found.rights]], [monday, ['read', 'export', 'delegate']]);
    assert.match(describeGrant(found), /^4096-end@(?:11){16} read,export,delegate until/);
    const again = narrowCapability(kept, bob, { holder: carol.publicKey });
    assert.deepEqual(inspectCapability(again).grants.at(-1)?.snapshot, monday);
    throws(() => narrowCapability(kept, bob, { holder: carol.publicKey, snapshot: tuesday }), 'capability-refused');
    for (const right of ['write', 'trim', 'snapshot', 'resize'] as const) {
      const wrong = { holder: bob.publicKey, snapshot: monday, rights: rights('read', right) };
      throws(() => narrowCapability(token, alice, wrong), 'capability-invalid');
      throws(() => mintCapability(volumeKey, 0, { ...whole, ...wrong }), 'capability-invalid');
    }
    for (const snapshot of [new Uint8Array(16), new Uint8Array(15).fill(1), new Uint8Array(17).fill(1)])
      throws(() => mintCapability(volumeKey, 0, { ...whole, rights: rights('read'), snapshot }), 'capability-invalid');
    const reader = mintCapability(volumeKey, 0, { ...whole, rights: rights('read', 'delegate') });
    throws(() => narrowCapability(reader, alice, { holder: bob.publicKey, snapshot: monday }), 'capability-refused');
  });

  it('of version 1 is narrowed within its version, and to no snapshot', () => {
    const seed = signingKeyFromSeed(new Uint8Array(32).fill(0x11));
    const vector = JSON.parse(readFileSync(new URL('to-the-end.json', folder), 'utf8')) as Vector;
    const token = bytes(vector.token);
    assert.equal(inspectCapability(token).version, 1);
    assert.equal(inspectCapability(narrowCapability(token, seed, { holder: bob.publicKey })).version, 1);
    throws(() => narrowCapability(token, seed, { holder: bob.publicKey, snapshot: monday }), 'capability-invalid');
  });

  it('names the rule by which it is refused', () => {
    const token = mintCapability(volumeKey, 2, { ...whole, notBefore: 100, rights: rights('read') });
    const rule = (changes: Partial<CapabilityContext>): unknown => {
      try {
        verifyCapability(token, contextFor(token, alice, { epoch: 2, ...changes }));
      } catch (error) {
        return isCaissonError(error, 'capability-refused') && error.details['rule'];
      }
      return undefined;
    };
    assert.deepEqual(
      [rule({}), rule({ now: 99 }), rule({ now: whole.expiresAt }), rule({ epoch: 3 }), rule({ epoch: 1 })],
      [undefined, 'not-before', 'expires', 'epoch', 'epoch'],
    );
    const found = verifyCapability(token, contextFor(token, alice, { epoch: 2 }));
    requireRight(found, 'read');
    assert.throws(() => requireRight(found, 'resize'), {
      code: 'capability-refused',
      details: { rule: 'right', right: 'resize' },
    });
  });

  const wider: readonly (readonly [string, Partial<Narrowing>])[] = [
    ['an earlier base', { base: 0 }],
    ['a later end', { length: 69_632 }],
    ['a right more', { rights: rights('read', 'trim') }],
    ['an earlier beginning', { notBefore: 99 }],
    ['a later end of time', { expiresAt: 1001 }],
  ];
  for (const [name, change] of wider) {
    it(`is not given ${name}`, () => {
      const grant = {
        ...whole,
        base: 4096,
        length: 65_536,
        rights: rights('read', 'write', 'delegate'),
        notBefore: 100,
        expiresAt: 1000,
      };
      const token = mintCapability(volumeKey, 0, grant);
      throws(() => narrowCapability(token, alice, { holder: bob.publicKey, ...change }), 'capability-refused');
    });
  }

  it('is narrowed by its holder alone, and only with delegate', () => {
    const token = mintCapability(volumeKey, 0, whole);
    throws(() => narrowCapability(token, bob, { holder: bob.publicKey }), 'capability-refused');
    const last = narrowCapability(token, alice, { holder: bob.publicKey, rights: rights('read') });
    throws(() => narrowCapability(last, bob, { holder: carol.publicKey }), 'capability-refused');
  });

  it('is narrowed fifteen times and no more', () => {
    let token = mintCapability(volumeKey, 0, whole);
    for (let count = 0; count < 15; count++) token = narrowCapability(token, alice, { holder: alice.publicKey });
    verifyCapability(token, contextFor(token, alice));
    throws(() => narrowCapability(token, alice, { holder: alice.publicKey }), 'capability-refused');
  });

  it('is shown with a challenge of 16 to 1024 bytes', () => {
    const token = mintCapability(volumeKey, 0, whole);
    for (const length of [16, 1024]) {
      const proof = proveHolder(alice, token, new Uint8Array(length));
      verifyCapability(token, { ...contextFor(token, alice), proof });
    }
    for (const length of [15, 1025]) {
      throws(() => proveHolder(alice, token, new Uint8Array(length)), 'assertion-failed');
      const proof = { challenge: new Uint8Array(length), signature: proofSignature(token, length) };
      throws(() => verifyCapability(token, { ...contextFor(token, alice), proof }), 'capability-invalid');
    }
  });

  for (const wrong of [
    { base: -4096 },
    { base: 0.5 },
    { length: 2 ** 53 },
    { notBefore: -1 },
    { expiresAt: 1.5 },
    { length: 0 },
    { base: 2 ** 53 - 4096, length: 4096 },
  ])
    it(`is not minted with ${JSON.stringify(wrong)}`, () => {
      const grant = { ...whole, rights: rights('read'), ...wrong };
      throws(() => mintCapability(volumeKey, 0, grant), 'capability-invalid');
    });

  it('has one text', () => {
    const text = capabilityToText(mintCapability(volumeKey, 0, whole));
    const last = text.at(-1)!;
    // Of the last character four bits stand for nothing, and are zero.
    const other = String.fromCharCode(last.charCodeAt(0) + 1);
    const others = [
      `${text}=`,
      `${text}\n`,
      text.substring(0, text.length - 1) + other,
      text.replace('csn', 'CSN'),
      ` ${text}`,
    ];
    assert.deepEqual(Buffer.from(others[2]!.substring(8), 'base64url'), Buffer.from(text.substring(8), 'base64url'));
    for (const one of others) throws(() => capabilityFromText(one), 'capability-invalid');
    throws(() => capabilityFromText(`csncap1.${'A'.repeat(4092)}`), 'capability-invalid');
    assert.equal(capabilityFromText(`csncap1.${'A'.repeat(4088)}`).length, 3066);
  });

  for (const text of [
    '',
    'csncap1.',
    'csncap2.AAAA',
    'csncap1.AA=',
    'csncap1.AB',
    'csncap1.A A',
    `csncap1.${'A'.repeat(5000)}`,
  ])
    it(`of the text "${text.substring(0, 20)}" is refused`, () =>
      throws(() => inspectCapability(capabilityFromText(text)), 'capability-invalid'));
});

describe('no composition of narrowings widens', () => {
  const right = fc.constantFrom<CapabilityRight>(...capabilityRights);
  const blockNumber = fc.integer({ min: 0, max: 12 }).map((number) => number * 4096);
  const anyFields = fc.record({
    base: blockNumber,
    length: fc.option(
      blockNumber.filter((length) => length > 0),
      { nil: undefined },
    ),
    rights: fc
      .oneof(fc.constant([...capabilityRights]), fc.uniqueArray(right, { minLength: 1 }))
      .map((list) => new Set(list)),
    notBefore: fc.integer({ min: 0, max: 20 }),
    expiresAt: fc.integer({ min: 15, max: 40 }),
    holder: fc.constantFrom(alice, bob, carol).map(({ publicKey }) => publicKey),
    snapshot: fc.option(fc.constantFrom(monday, tuesday), { nil: undefined, freq: 2 }),
  });
  /** Such that it can be written; what cannot is in tests of its own. */
  const anyGrant = anyFields.map((grant): CapabilityGrant => {
    const isPossible = (name: CapabilityRight): boolean =>
      (name !== 'resize' || grant.length === undefined) &&
      (grant.snapshot === undefined || ['read', 'export', 'delegate'].includes(name));
    const possible = [...grant.rights].filter(isPossible);
    return { ...grant, rights: possible.length === 0 ? rights('read') : new Set(possible) };
  });
  const holders = new Map([alice, bob, carol].map((key) => [hex(key.publicKey), key]));
  const holderOf = ({ holder }: CapabilityGrant): SigningKey => holders.get(hex(holder))!;

  it('by holders who use our functions', () => {
    let [accepted, ofSnapshots] = [0, 0];
    fc.assert(
      fc.property(fc.array(anyGrant, { maxLength: 6 }), (steps) => {
        let token = mintCapability(volumeKey, 0, whole);
        for (const step of steps) {
          const before = inspectCapability(token).grants;
          try {
            token = narrowCapability(token, holderOf(before.at(-1)!), narrowingOf(step));
            accepted += 1;
            if (step.snapshot !== undefined) ofSnapshots += 1;
          } catch (error) {
            assert.ok(isCaissonError(error, 'capability-refused') || isCaissonError(error, 'capability-invalid'));
            continue;
          }
          const after = inspectCapability(token).grants;
          assert.equal(after.length, before.length + 1);
          assert.ok(after.every((grant) => isWithin(after.at(-1)!, grant)));
        }
      }),
      { numRuns: 300, seed: 20_261_123 },
    );
    assert.ok(accepted > 100 && ofSnapshots > 20, `${accepted} narrowings were accepted, ${ofSnapshots} to snapshots`);
  });

  it('by holders who sign whatever they like', () => {
    let accepted = 0;
    let refused = 0;
    fc.assert(
      fc.property(fc.array(anyGrant, { minLength: 1, maxLength: 4 }), (steps) => {
        const grants: CapabilityGrant[] = [whole];
        let token = mintCapability(volumeKey, 0, whole);
        for (const step of steps) {
          const forged = forgedBlock(token, holderOf(grants.at(-1)!), step);
          if (forged === undefined) return;
          token = forged;
          grants.push(step);
        }
        const isChain = grants.every((grant, at) => at === 0 || isStep(grants[at - 1]!, grant));
        try {
          const found = inspectCapability(token).grants;
          assert.ok(isChain);
          assert.ok(found.every((grant) => isWithin(found.at(-1)!, grant)));
          accepted += 1;
        } catch (error) {
          assert.ok(isCaissonError(error, 'capability-invalid'), String(error));
          assert.ok(!isChain);
          refused += 1;
        }
      }),
      { numRuns: 1500, seed: 20_261_123 },
    );
    assert.ok(accepted > 20 && refused > 20, `${accepted} accepted, ${refused} refused`);
  });
});

/** Every access that `inner` allows at any time is one that `outer` allows: said anew, without the code under test. */
function isWithin(inner: CapabilityGrant, outer: CapabilityGrant): boolean {
  const isDuring = inner.notBefore >= outer.notBefore && inner.expiresAt <= outer.expiresAt;
  const allowed = accessesOf(outer);
  return isDuring && [...accessesOf(inner)].every((access) => allowed.has(access));
}

/** The rules of the specification, section 3, in the words of the model. */
function isStep(before: CapabilityGrant, after: CapabilityGrant): boolean {
  const same = (one?: Uint8Array, other?: Uint8Array): boolean => (one && hex(one)) === (other && hex(other));
  const isTaking = before.snapshot === undefined && after.snapshot !== undefined && before.rights.has('snapshot');
  const isSubset = [...after.rights].every((right) => before.rights.has(right));
  return (
    before.rights.has('delegate') &&
    isSubset &&
    (same(before.snapshot, after.snapshot) || isTaking) &&
    isWithin({ ...after, rights: rights('read') }, { ...before, rights: rights('read', 'snapshot') })
  );
}

/** What one grant lets its holder do with some blocks, named one by one: a volume of 40 blocks, and two snapshots. */
function accessesOf({ base, length, rights: granted, snapshot }: CapabilityGrant): ReadonlySet<string> {
  const accesses = new Set<string>();
  const blocks = Array.from({ length: 40 }, (_, index) => index).filter(
    (index) => index * 4096 >= base && (length === undefined || (index + 1) * 4096 <= base + length),
  );
  const isOfSnapshots = snapshot === undefined && granted.has('snapshot');
  const readable = [
    ...(snapshot === undefined ? [] : [hex(snapshot)]),
    ...(isOfSnapshots ? [monday, tuesday].map(hex) : []),
  ];
  for (const block of blocks) {
    if (granted.has('read')) for (const kept of readable) accesses.add(`read ${block} of ${kept}`);
    for (const right of ['read', 'write', 'trim'] as const)
      if (snapshot === undefined && granted.has(right)) accesses.add(`${right} ${block}`);
    // Whoever may have a part served shows it to whoever can read it.
    if (granted.has('export'))
      for (const kept of [snapshot === undefined ? 'volume' : hex(snapshot), ...readable])
        accesses.add(`serve ${block} of ${kept}`);
  }
  if (isOfSnapshots) for (const act of ['list', 'take', 'remove']) accesses.add(`${act} snapshots`);
  if (granted.has('resize')) for (const block of blocks) accesses.add(`end the volume behind ${block}`);
  if (granted.has('delegate')) accesses.add('hand on');
  return accesses;
}

function narrowingOf({ length, snapshot, ...rest }: CapabilityGrant): Narrowing {
  return { ...rest, ...(length === undefined ? {} : { length }), ...(snapshot === undefined ? {} : { snapshot }) };
}

/** A block that nobody checked against the one before; undefined for a grant that has no encoding. */
function forgedBlock(token: Uint8Array, signer: SigningKey, grant: CapabilityGrant): Uint8Array | undefined {
  try {
    const signed = Buffer.concat([token, encodeGrant(grant, 2)]);
    return new Uint8Array(
      Buffer.concat([signed, signer.sign(Buffer.concat([Buffer.from('caisson capability v1\0'), signed]))]),
    );
  } catch {
    return undefined;
  }
}

/** By alice, over a challenge of zeros of a length that our own function refuses. */
function proofSignature(token: Uint8Array, length: number): Uint8Array {
  const digest = createHash('sha256').update(token).digest();
  const challengeLength = Buffer.alloc(4);
  challengeLength.writeUInt32LE(length);
  const label = Buffer.from('caisson capability proof v1\0');
  return alice.sign(Buffer.concat([label, digest, challengeLength, Buffer.alloc(length)]));
}

function contextFor(
  token: Uint8Array,
  holder: SigningKey,
  changes: Partial<CapabilityContext> = {},
): CapabilityContext {
  return { volumeId, now: 400, epoch: 0, proof: proveHolder(holder, token, challenge), ...changes };
}

function rights(...names: CapabilityRight[]): ReadonlySet<CapabilityRight> {
  return new Set(names);
}

function keyOf(fill: number): SigningKey {
  return signingKeyFromSeed(new Uint8Array(32).fill(fill));
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString('hex');
}

function throws(action: () => unknown, code: ErrorCode): void {
  assert.throws(action, (error) => isCaissonError(error, code));
}
