/** A security module that does not exist, its chain, and the documents that it signs. */
import type { VerifyContext } from '../../src/broker/attest/verifier.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { fakeSign1, type FakeSign1 } from './fake-cose.ts';
import { dates, emptyContext, keyPair, now } from './fake-tpm-evidence.ts';
import { authorityExtensions, fakeCertificate } from './fake-x509.ts';

export interface FakeNitroOptions {
  /** Fields beside or instead of the right ones; undefined leaves one out. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly sign1: Partial<FakeSign1>;
  readonly leafCurve: 'P-256' | 'P-384';
  /** Changes what the document lists: root, zone, instance. */
  readonly cabundle: (authorities: readonly Uint8Array[]) => readonly Uint8Array[];
}

export interface FakeNitroEvidence {
  readonly evidence: Evidence;
  readonly context: VerifyContext;
  readonly root: Uint8Array;
}

export function fakeNitroEvidence(changes: Partial<FakeNitroOptions> = {}): FakeNitroEvidence {
  const leaf = keyPair('nitro leaf', changes.leafCurve ?? 'P-384');
  cachedAuthorities ??= makeAuthorities();
  const authorities = cachedAuthorities;
  const root = authorities[0]!;
  const certificate = signedBy('nitro instance', 'instance', {
    ...{ subject: { CN: 'module' }, publicKey: leaf.publicKey },
  });
  const fields: Record<string, unknown> = {
    ...{ module_id: 'i-0123456789abcdef0-enc0123', digest: 'SHA384', timestamp: now },
    pcrs: registers(16),
    certificate,
    cabundle: (changes.cabundle ?? ((all) => all))(authorities),
    ...{ public_key: null, user_data: new Uint8Array(64).fill(0xda), nonce: null },
    ...changes.fields,
  };
  const payload = new Map(Object.entries(fields).filter(([, value]) => value !== undefined));
  const document = fakeSign1({ payload, key: leaf.privateKey, ...changes.sign1 });
  return {
    evidence: { technology: 'nitro', parts: { document } },
    context: { ...emptyContext, extraRoots: [{ technology: 'nitro', name: 'Fake Nitro Root', der: root }] },
    root,
  };
}

/** Register N holds bytes N + 1. */
export function registers(count: number, bytes = 48): Map<number, Uint8Array> {
  return new Map(Array.from({ length: count }, (_, index) => [index, new Uint8Array(bytes).fill(index + 1)]));
}

/** Made once: a root is trusted as bytes, and each signature of it would have others. */
let cachedAuthorities: readonly Uint8Array[] | undefined;

function makeAuthorities(): readonly Uint8Array[] {
  const authority = { extensions: authorityExtensions(undefined, false) };
  const publicKey = (use: string) => keyPair(use, 'P-384').publicKey;
  return [
    signedBy('nitro root', 'root', { subject: { CN: 'root' }, publicKey: publicKey('nitro root'), ...authority }),
    signedBy('nitro root', 'root', { subject: { CN: 'zone' }, publicKey: publicKey('nitro zone'), ...authority }),
    signedBy('nitro zone', 'zone', {
      ...{ subject: { CN: 'instance' }, publicKey: publicKey('nitro instance'), ...authority },
    }),
  ];
}

function signedBy(
  use: string,
  issuer: string,
  rest: Pick<Parameters<typeof fakeCertificate>[0], 'subject' | 'publicKey' | 'extensions'>,
): Uint8Array {
  const signingKey = keyPair(use, 'P-384').privateKey;
  return fakeCertificate({ issuer: { CN: issuer }, signingKey, scheme: 'ecdsa-sha384', ...dates, ...rest });
}
