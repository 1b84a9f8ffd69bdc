/** A CCA platform and a realm that do not exist, and the tokens that they sign. */
import { createHash, type KeyObject } from 'node:crypto';
import { Tagged } from 'cborg';
import { spkiOf } from '../../src/broker/attest/trusted-roots.ts';
import type { VerifyContext } from '../../src/broker/attest/verifier.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { cbor, fakeSign1, type FakeSign1 } from './fake-cose.ts';
import { emptyContext, keyPair, type KeyPair } from './fake-tpm-evidence.ts';

type Fields = ReadonlyMap<number, unknown>;

export interface FakeCcaOptions {
  /** Fields beside or instead of the right ones; undefined leaves one out. */
  readonly platform: readonly (readonly [number, unknown])[];
  readonly realm: readonly (readonly [number, unknown])[];
  readonly platformSign1: Partial<FakeSign1>;
  readonly realmSign1: Partial<FakeSign1>;
  /** The realm's key as a COSE_Key, with the profile that says so. */
  readonly isCoseKey: boolean;
  readonly coseKey: readonly (readonly [number, unknown])[];
  readonly rak: KeyPair;
  /** Of the outer map, once it is made. */
  readonly outer: (platform: Uint8Array, realm: Uint8Array) => unknown;
}

export interface FakeCcaEvidence {
  readonly evidence: Evidence;
  readonly context: VerifyContext;
}

export function fakeCcaEvidence(changes: Partial<FakeCcaOptions> = {}): FakeCcaEvidence {
  const cpak = keyPair('cpak', 'P-384');
  const rak = changes.rak ?? keyPair('rak', 'P-384');
  const isCoseKey = changes.isCoseKey ?? false;
  const rakBytes = isCoseKey ? coseKey(rak.publicKey, changes.coseKey ?? []) : rawPoint(rak.publicKey);
  const realm = fields(
    [
      ...(isCoseKey ? [[265, 'tag:arm.com,2023:realm#1.0.0'] as const] : []),
      [10, new Uint8Array(64).fill(0xda)],
      [44_235, new Uint8Array(64).fill(5)],
      [44_236, 'sha-256'],
      [44_237, rakBytes],
      [44_238, new Uint8Array(32).fill(0x11)],
      [44_239, [0, 1, 2, 3].map((index) => new Uint8Array(32).fill(0x20 + index))],
      [44_240, 'sha-256'],
    ],
    changes.realm,
  );
  const platform = fields(
    [
      [10, Uint8Array.from(createHash('sha256').update(rakBytes).digest())],
      [256, Uint8Array.of(1, ...new Uint8Array(32).fill(0x77))],
      [265, 'tag:arm.com,2023:cca_platform#1.0.0'],
      [2395, 0x3003],
      [2396, new Uint8Array(32).fill(0x66)],
      [2399, [component('RMM', 0x31), component('AP_BL31', 0x32)]],
      [2400, 'https://example.com/verify'],
      [2401, Uint8Array.of(0xcf, 0xcf)],
      [2402, 'sha-256'],
    ],
    changes.platform,
  );
  const platformToken = fakeSign1({ payload: platform, key: cpak.privateKey, tag: 18, ...changes.platformSign1 });
  const realmToken = fakeSign1({ payload: realm, key: rak.privateKey, tag: 18, ...changes.realmSign1 });
  const outer = changes.outer ?? ((first, second) => new Tagged(399, tokens(first, second)));
  return {
    evidence: { technology: 'cca', parts: { token: cbor(outer(platformToken, realmToken)) } },
    context: {
      ...emptyContext,
      extraRoots: [{ technology: 'cca', name: 'Fake Platform', der: spkiOf(cpak.publicKey) }],
    },
  };
}

export function tokens(platform: Uint8Array, realm: Uint8Array): Map<number, unknown> {
  return new Map<number, unknown>([
    [44_234, platform],
    [44_241, realm],
  ]);
}

export function component(type: string, fill: number): Map<number, unknown> {
  return new Map<number, unknown>([
    [1, type],
    [2, new Uint8Array(32).fill(fill)],
    [5, new Uint8Array(32).fill(0x99)],
    [6, 'sha-256'],
  ]);
}

function fields(right: readonly (readonly [number, unknown])[], changes: FakeCcaOptions['realm'] = []): Fields {
  return new Map([...new Map([...right, ...changes])].filter(([, value]) => value !== undefined));
}

function coordinates(key: KeyObject): { readonly x: Uint8Array; readonly y: Uint8Array } {
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  return { x: Uint8Array.from(Buffer.from(x, 'base64url')), y: Uint8Array.from(Buffer.from(y, 'base64url')) };
}

export function rawPoint(key: KeyObject): Uint8Array {
  const { x, y } = coordinates(key);
  return Uint8Array.of(4, ...x, ...y);
}

const curveNumbers: Readonly<Record<string, number>> = { prime256v1: 1, secp384r1: 2, secp521r1: 3 };

function coseKey(key: KeyObject, changes: readonly (readonly [number, unknown])[]): Uint8Array {
  const { x, y } = coordinates(key);
  const curve = curveNumbers[key.asymmetricKeyDetails?.namedCurve ?? ''];
  return cbor(
    fields(
      [
        [1, 2],
        [-1, curve],
        [-2, x],
        [-3, y],
      ],
      changes,
    ),
  );
}
